"""The ledger: written before, crossed out after, and never mistaken about who lives."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from vbm.engine.ledger import Ledger, LedgerEntry
from vbm.engine.process import ProcessIdentity
from vbm.engine.run_state import ExcludedDisk, FrozenDisk, RunState
from vbm.errors import InputError
from vbm.ids import DiskKey, MoRef, RestorePointId, RunId, VmUuid

DEAD = ProcessIdentity(2**22 + 1, 12345, ProcessIdentity.own().boot_id)


def _entry(snapshot: str = "vbm-1", vcenter: str = "lab") -> LedgerEntry:
    return LedgerEntry(
        snapshot=snapshot,
        vcenter=vcenter,
        vcenter_uuid="uuid-of-lab",
        vm=MoRef("vm-1"),
        vm_uuid=VmUuid("503c"),
        vm_name="web 01 [x]",
        run_id=RunId("run-1"),
        repository="repo",
        created="2026-01-01T00:00:00Z",
        process=DEAD,
    )


def test_what_is_recorded_is_read_back_by_another_process(tmp_path: Path) -> None:
    Ledger(tmp_path).record(_entry())
    found = Ledger(tmp_path).find("vbm-1")
    assert found == replace(_entry(), process=ProcessIdentity.own())


def test_a_live_process_leaves_nothing_over(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    ledger.record(_entry())
    assert ledger.leftovers("lab") == []
    assert Ledger(tmp_path).leftovers("lab") == []
    assert Ledger(tmp_path).claim(_entry()) is None


def test_a_dead_process_leaves_its_entry_and_one_claims_it(tmp_path: Path) -> None:
    ledger = _recorded_by_a_dead_process(tmp_path)
    (left,) = ledger.leftovers("lab")
    assert left.snapshot == "vbm-1"
    claimed = ledger.claim(left)
    assert claimed is not None
    assert claimed.process == ProcessIdentity.own()
    assert Ledger(tmp_path).claim(left) is None
    assert ledger.leftovers("lab") == []


def test_leftovers_are_told_by_vcenter(tmp_path: Path) -> None:
    ledger = _recorded_by_a_dead_process(tmp_path)
    assert ledger.leftovers("other") == []
    assert len(ledger.leftovers("renamed", "uuid-of-lab")) == 1


def test_a_released_entry_is_a_leftover_although_its_process_lives(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    ledger.record(_entry())
    ledger.release("vbm-1")
    assert len(ledger.leftovers("lab")) == 1


def test_what_is_forgotten_is_gone_with_its_lock(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    ledger.record(_entry())
    ledger.forget("vbm-1")
    ledger.forget("vbm-1")
    assert ledger.entries() == []
    assert [p.name for p in (tmp_path / "ledger").iterdir()] == []


def test_a_process_seen_only_by_its_lock_is_alive(tmp_path: Path) -> None:
    """As in another container: its pid means nothing here."""
    program = f"""
import sys
from pathlib import Path
from vbm.engine.ledger import Ledger, LedgerEntry
from vbm.engine.process import ProcessIdentity
ledger = Ledger(Path({str(tmp_path)!r}), ProcessIdentity({DEAD.pid}, {DEAD.started}, "another boot"))
entry = LedgerEntry("vbm-1", "lab", "", "vm-1", "503c", "web", "run-1", "repo", "2026", ledger.process)
ledger.record(entry)
print("ready", flush=True)
sys.stdin.read()
"""
    child = subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert child.stdout is not None
        assert child.stdin is not None
        assert child.stdout.readline() == b"ready\n"
        assert Ledger(tmp_path).leftovers("lab") == []
        child.kill()
        child.wait()
        assert len(Ledger(tmp_path).leftovers("lab")) == 1
    finally:
        child.kill()
        child.wait()
        child.stdin.close()
        child.stdout.close()


def test_the_process_of_today_is_running_and_its_look_alikes_are_not() -> None:
    own = ProcessIdentity.own()
    assert own.is_running()
    assert not replace(own, started=own.started + 1).is_running()
    assert not replace(own, boot_id="yesterday").is_running()
    assert not DEAD.is_running()


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"format": 1}', b"\xff\xfe"])
def test_a_file_that_is_no_entry_is_passed_over(tmp_path: Path, content: bytes) -> None:
    ledger = Ledger(tmp_path)
    ledger.record(_entry())
    (tmp_path / "ledger/vbm-2.json").write_bytes(content)
    assert [e.snapshot for e in ledger.entries()] == ["vbm-1"]


@pytest.mark.parametrize("name", ["", "../x", "a/b", ".hidden"])
def test_a_name_that_leads_elsewhere_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError):
        Ledger(tmp_path).find(name)


def _recorded_by_a_dead_process(home: Path) -> Ledger:
    dead = Ledger(home, DEAD)
    dead.record(_entry())
    dead._files.let_go("vbm-1")  # what the kernel does when a process dies
    return Ledger(home)


def test_the_state_of_a_run_survives_json() -> None:
    state = RunState(
        run_id=RunId("r"),
        restore_point=RestorePointId("p"),
        started="2026-01-01T00:00:00Z",
        job_id="",
        mode="auto",
        quiesce=True,
        vcenter="lab",
        vcenter_uuid="u",
        vm=MoRef("vm-1"),
        vm_uuid=VmUuid("x"),
        vm_name="ü %2f",
        repository="repo",
        snapshot="vbm-r",
        included=(DiskKey(2000),),
        excluded=(ExcludedDisk(DiskKey(2001), "Hard disk 2", "independent", 5),),
        frozen=(FrozenDisk(DiskKey(2000), "u", 1, "[ds] a/a.vmdk"),),
    )
    assert RunState.from_json(state.to_json()) == state
    for bad in (b"", b"{}", b'{"format": 2}', b"[]"):
        with pytest.raises(ValueError):
            RunState.from_json(bad)
