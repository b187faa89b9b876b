"""The demo tells differences, cleans up only after itself, and is not good unless all is."""

from pathlib import Path

import pytest

from vbm.engine.result import BackupResult
from vbm.errors import InputError
from vbm.ids import RestorePointId, RunId
from vbm.services.demo import MARKER, BackupRow, Comparison, DemoReport, prepare_home
from vbm.services.demo_lab import copy_sparse, identical


def test_one_different_byte_is_seen_anywhere(tmp_path: Path) -> None:
    size = 9 << 20
    (tmp_path / "a").write_bytes(bytes(size))
    for offset in (0, (4 << 20) - 1, 4 << 20, size - 1):
        other = bytearray(size)
        other[offset] = 1
        (tmp_path / "b").write_bytes(other)
        assert not identical(tmp_path / "a", tmp_path / "b")


def test_a_shorter_file_is_another_file(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(bytes(4096))
    (tmp_path / "b").write_bytes(bytes(4095))
    assert not identical(tmp_path / "a", tmp_path / "b")
    assert not identical(tmp_path / "b", tmp_path / "a")


def test_a_sparse_copy_is_identical(tmp_path: Path) -> None:
    with (tmp_path / "a").open("wb") as file:
        file.seek(5 << 20)
        file.write(b"data")
        file.truncate(8 << 20)
    copy_sparse(tmp_path / "a", tmp_path / "b")
    assert identical(tmp_path / "a", tmp_path / "b")


def test_a_folder_that_no_demo_made_is_never_emptied(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("x")
    with pytest.raises(InputError, match="holds other things"):
        prepare_home(tmp_path)
    assert (tmp_path / "precious").read_text() == "x"


def test_an_earlier_demos_folder_is_begun_anew(tmp_path: Path) -> None:
    home = tmp_path / "demo"
    prepare_home(home)
    (home / "old").write_text("x")
    prepare_home(home)
    assert [p.name for p in home.iterdir()] == [MARKER]


def result(*, removed: bool = True) -> BackupResult:
    return BackupResult(
        run_id=RunId("r"),
        restore_point=RestorePointId("p"),
        read_mode="full",
        transport="t",
        duration_seconds=1.0,
        snapshot_removed=removed,
        vm_name="web01",
        consistency="crash",
        resumed=False,
        disks=(),
    )


def report(**changes: object) -> DemoReport:
    good = DemoReport(
        home=Path("/x"),
        rows=[BackupRow("a", result())],
        comparisons=[Comparison("file", True, True), Comparison("vm", True, None)],
        verified=True,
    )
    for name, value in changes.items():
        setattr(good, name, value)
    return good


def test_a_demo_is_good_only_if_everything_is() -> None:
    assert report().good
    assert not report(verified=False).good
    assert not report(snapshots_left=1).good
    assert not report(comparisons=[Comparison("file", True, True)]).good
    assert not report(comparisons=[Comparison("file", True, True), Comparison("vm", False, True)]).good
    assert not report(comparisons=[Comparison("file", True, False), Comparison("vm", True, True)]).good
    assert not report(rows=[BackupRow("a", result(removed=False))]).good
