"""Whatever a server does to ranged reads: the right bytes, or an error; never other bytes."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fixtures_transport import Fault, Reading, reading
from vbm.errors import VbmError

SIZE = 1_500_001
DATA = random.Random(11).randbytes(SIZE)
_AFTER = st.integers(0, 600_000)
_FAULTS = st.one_of(
    st.builds(Fault, st.sampled_from(["reset", "short"]), after=_AFTER),
    st.builds(
        Fault, st.just("status"), status=st.sampled_from([503, 503, 502, 429, 404, 403, 416, 500, 302, 204])
    ),
    st.builds(
        Fault,
        st.just("range"),
        text=st.one_of(
            st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=40),
            st.builds(
                "bytes {}-{}/{}".format, st.integers(0, SIZE), st.integers(0, SIZE), st.integers(0, 2 * SIZE)
            ),
        ),
    ),
    st.just(Fault("whole")),
    st.just(Fault("none")),
)


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reading]:
    with reading(tmp_path_factory.mktemp("server")) as made:
        made.server.files["web/web-flat.vmdk"] = DATA
        yield made


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    faults=st.lists(_FAULTS, max_size=5),
    reads=st.lists(st.tuples(st.integers(0, SIZE - 1), _AFTER), min_size=1, max_size=3),
)
def test_right_bytes_or_an_error(disk: Reading, faults: list[Fault], reads: list[tuple[int, int]]) -> None:
    disk.server.faults.clear()
    disk.server.faults.extend(faults)
    source = disk.source()
    for offset, wanted in reads:
        length = min(wanted, SIZE - offset)
        try:
            assert source.read_at(offset, length) == DATA[offset : offset + length]
        except VbmError as error:
            assert error.message  # noqa: PT017 - either is right
