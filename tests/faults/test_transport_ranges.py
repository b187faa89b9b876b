"""Ranged reads from a server that breaks off, lies, is busy or forgets who asks."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from fixtures_transport import QUICK, Fault, Reading, reading
from vbm.disk.byte_source import SourceCutShortError
from vbm.errors import CancelledError
from vbm.retry import RetryPolicy
from vbm.vsphere.faults import WrongThumbprintError
from vbm.vsphere.transports.base import TransportUnsuitableError
from vbm.vsphere.transports.errors import (
    FileAccessRefusedError,
    FileChangedError,
    FileMissingError,
    HostTooBusyError,
    RangeNotHonouredError,
    ReadBrokenOffError,
    WrongRangeError,
)
from vbm.vsphere.transports.http_range import ReadPolicy

MIB = 1 << 20
DATA = random.Random(5).randbytes(4 * MIB + 333)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Reading]:
    with reading(tmp_path) as made:
        made.server.files["web/web-flat.vmdk"] = DATA
        yield made


def test_any_range_is_exact_and_the_size_is_asked_once(disk: Reading) -> None:
    source = disk.source()
    assert source.size_bytes == len(DATA)
    for offset, length in ((0, 1), (511, 2), (MIB, 2 * MIB), (len(DATA) - 7, 7), (5, 0), (0, len(DATA))):
        assert source.read_at(offset, length) == DATA[offset : offset + length]
    assert [r.method for r in disk.server.requests].count("HEAD") == 1
    assert disk.server.connections == 1


def test_it_reads_into_the_callers_own_buffer(disk: Reading) -> None:
    buffer = bytearray(b"\xee" * (MIB + 20))
    disk.source().readinto_at(77, memoryview(buffer)[10 : MIB + 10])
    assert buffer == b"\xee" * 10 + DATA[77 : MIB + 77] + b"\xee" * 10


def test_beyond_the_end_nothing_is_asked(disk: Reading) -> None:
    with pytest.raises(SourceCutShortError):
        disk.source().read_at(len(DATA) - 1, 2)
    assert disk.server.gets() == []


@pytest.mark.parametrize("kind", ["reset", "short"])
def test_a_broken_range_goes_on_from_the_byte_reached(disk: Reading, kind: str) -> None:
    disk.server.faults += [Fault(kind, after=3 * MIB), Fault(kind, after=MIB)]
    assert disk.source().read_at(0, len(DATA)) == DATA
    starts = [int(text[6:].split("-")[0]) for text in disk.server.gets()]
    assert starts[0] == 0
    assert starts == sorted(starts)
    if kind == "short":  # a reset may throw away what lay unread in the client's own buffers
        assert starts == [0, 3 * MIB, 4 * MIB]


def test_many_breaks_are_survived_while_there_is_progress(disk: Reading) -> None:
    disk.server.faults += [Fault("short", after=300_000)] * 12
    assert disk.source().read_at(0, len(DATA)) == DATA


def test_breaks_without_progress_end_it(disk: Reading) -> None:
    disk.server.faults += [Fault("reset", after=10)] * 50
    with pytest.raises(ReadBrokenOffError) as caught:
        disk.source().read_at(0, MIB)
    assert caught.value.hint
    assert len(disk.server.gets()) == QUICK.broken.attempts


@pytest.mark.parametrize("text", ["bytes 1-1048576/4194637", "bytes 0-1048575", "nonsense", ""])
def test_another_range_than_asked_is_not_believed(disk: Reading, text: str) -> None:
    disk.server.faults += [Fault("range", text=text)]
    assert disk.source().read_at(0, MIB) == DATA[:MIB]
    disk.server.faults += [Fault("range", text=text)] * 10
    with pytest.raises(WrongRangeError):
        disk.source().read_at(0, MIB)


def test_another_size_than_before_ends_it(disk: Reading) -> None:
    disk.server.faults += [Fault("range", text=f"bytes 0-1048575/{len(DATA) + 512}")]
    with pytest.raises(FileChangedError):
        disk.source().read_at(0, MIB)


def test_a_file_that_shrank_is_said(disk: Reading) -> None:
    source = disk.source()
    assert source.size_bytes == len(DATA)
    disk.server.files["web/web-flat.vmdk"] = DATA[:MIB]
    with pytest.raises(FileChangedError):
        source.read_at(2 * MIB, MIB)


def test_a_server_that_sends_the_whole_file_is_left(disk: Reading) -> None:
    disk.server.faults += [Fault("whole")]
    with pytest.raises(RangeNotHonouredError) as caught:
        disk.source().read_at(0, MIB)
    assert isinstance(caught.value, TransportUnsuitableError)
    assert len(disk.server.gets()) == 1


@pytest.mark.parametrize(
    "headers", [(), (("Retry-After", "0"),), (("Retry-After", "Mon, 01 Jan 2024 00:00:00 GMT"),)]
)
def test_a_busy_host_is_asked_less(disk: Reading, headers: tuple[tuple[str, str], ...]) -> None:
    disk.server.faults += [Fault("status", status=503, headers=headers)] * 3
    source = disk.source()
    assert source.read_at(0, 100) == DATA[:100]
    assert disk.gate.allowed == 1
    for _ in range(20):
        source.read_at(0, 100)
    assert disk.gate.allowed == 4


def test_a_storm_without_end_ends(disk: Reading) -> None:
    disk.server.faults += [Fault("status", status=503)] * 50
    with pytest.raises(HostTooBusyError):
        disk.source().read_at(0, 100)


def test_a_lost_session_is_renewed_once_for_all_threads(disk: Reading) -> None:
    source = disk.source()
    assert source.size_bytes == len(DATA)
    disk.server.cookie = disk.login.fresh = 'vmware_soap_session="new"'
    with ThreadPoolExecutor(4) as threads:
        parts = list(threads.map(lambda i: source.read_at(i * MIB, MIB), range(4)))
    assert b"".join(parts) == DATA[: 4 * MIB]
    assert disk.login.renewed == 1


def test_a_login_that_does_not_help_is_said(disk: Reading) -> None:
    disk.server.cookie = "never"
    with pytest.raises(FileAccessRefusedError, match="401"):
        disk.source().read_at(0, 1)


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (403, FileAccessRefusedError),
        (404, FileMissingError),
        (416, FileChangedError),
        (500, FileAccessRefusedError),
    ],
)
def test_refusals_are_not_asked_again(disk: Reading, status: int, error: type[Exception]) -> None:
    disk.server.faults += [Fault("status", status=status)]
    with pytest.raises(error):
        disk.source().read_at(0, 1)
    assert len(disk.server.gets()) == 1


def test_a_missing_file_is_said(disk: Reading) -> None:
    with pytest.raises(FileMissingError, match="nothing-flat"):
        _ = disk.source("[ds] web/nothing-flat.vmdk").size_bytes


def test_no_more_requests_at_once_than_the_host_bears(disk: Reading) -> None:
    sources = [disk.source() for _ in range(3)]
    with ThreadPoolExecutor(12) as threads:
        parts = list(threads.map(lambda i: sources[i % 3].read_at(i * 1000, 300_000), range(60)))
    assert parts == [DATA[i * 1000 : i * 1000 + 300_000] for i in range(60)]
    assert disk.server.most_inside <= 4
    assert disk.server.connections <= 4


def test_a_cancel_ends_a_read_that_hangs(disk: Reading) -> None:
    disk.server.faults += [Fault("hang", after=100)]
    threading.Thread(target=lambda: (disk.server.hanging.wait(20), disk.cancel.cancel("enough"))).start()
    with pytest.raises(CancelledError):
        disk.source().read_at(0, MIB)
    assert not disk.server.released.is_set()


def test_a_hanging_read_is_broken_off_and_asked_again(tmp_path: Path) -> None:
    policy = ReadPolicy(broken=RetryPolicy(attempts=3, first_seconds=0.001), idle_seconds=0.1)
    with reading(tmp_path, policy) as slow:
        slow.server.files["web/web-flat.vmdk"] = DATA
        slow.server.faults += [Fault("hang", after=MIB)]
        assert slow.source().read_at(0, 2 * MIB) == DATA[: 2 * MIB]
        assert len(slow.server.gets()) == 2


def test_another_certificate_gets_no_request(disk: Reading, tmp_path: Path) -> None:
    from fixtures_vsphere import make_certificate

    disk.server._server.context.load_cert_chain(make_certificate(tmp_path, "attacker").pem)
    with pytest.raises(WrongThumbprintError):
        disk.source().read_at(0, 1)
    assert disk.server.requests == []


def test_a_connection_that_the_server_closed_meanwhile_costs_nothing(disk: Reading) -> None:
    source = disk.source()
    source.read_at(0, 10)
    connection, used = disk.pool.take()
    assert used
    connection.sock.shutdown(2)
    disk.pool.give_back(connection)
    assert source.read_at(0, 10) == DATA[:10]


def test_awkward_names_are_encoded(disk: Reading) -> None:
    name = "wéb [1]/100% a?b#c&d+e-flat.vmdk"
    disk.server.files[name] = b"here"
    assert disk.source(f"[d&s %] {name}").read_at(0, 4) == b"here"
    assert disk.server.requests[-1].query == {"dcPath": ["DC0"], "dsName": ["d&s %"]}
