"""Images into a real repository and back: full, incremental, audited, healed, restored."""

from __future__ import annotations

import random
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from vbm.disk.extents import Extent
from vbm.disk.raw import RawDisk
from vbm.engine.errors import OutputExistsError, OutputWriteError
from vbm.engine.image import FIRST_DISK, ImageOptions, backup_image
from vbm.engine.restore import restore_disk
from vbm.engine.result import BackupResult
from vbm.errors import DamagedError, NotFoundError
from vbm.objectstore.local import LocalStore
from vbm.repository.format import RepositoryOptions
from vbm.repository.keys import NoKey
from vbm.repository.repository import Repository
from vbm.repository.verify import execute_verify, plan_verify

KIB, MIB = 1024, 1024**2
CHUNK = 256 * KIB
SIZE = 12 * MIB + 1536


@pytest.fixture
def repo(tmp_path: Path) -> Iterator[Repository]:
    store = LocalStore(tmp_path / "repo")
    with Repository.create(store, NoKey(), RepositoryOptions(chunk_size_bytes=CHUNK)) as made:
        yield made


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """Data in the first, the fourth and the last MiB; holes and written zeros elsewhere."""
    path, source = tmp_path / "disk.img", random.Random(1)
    with path.open("wb") as file:
        file.truncate(SIZE)
        for start in (0, 3 * MIB, 11 * MIB):
            file.seek(start)
            file.write(source.randbytes(MIB))
        file.seek(5 * MIB)
        file.write(bytes(MIB))
    return path


def _write(image: Path, offset: int, data: bytes) -> Extent:
    with image.open("r+b") as file:
        file.seek(offset)
        file.write(data)
    return Extent(offset, len(data))


def _backup(image: Path, repo: Repository, **arguments: object) -> BackupResult:
    disk = RawDisk(image)
    try:
        return backup_image(disk, repo, **arguments)  # type: ignore[arg-type]
    finally:
        disk.close()


def _same(repo: Repository, result: BackupResult, image: Path, tmp_path: Path) -> bool:
    output = tmp_path / f"{result.restore_point}.raw"
    restore_disk(repo, result.restore_point, FIRST_DISK, output)
    return output.read_bytes() == image.read_bytes()


def test_a_full_reads_what_is_allocated_and_restores_to_the_same(
    repo: Repository, image: Path, tmp_path: Path
) -> None:
    result = _backup(image, repo)
    assert result.read_mode == "full"
    assert result.bytes_read <= 4 * MIB + 2 * CHUNK
    assert result.capacity_bytes == SIZE
    assert _same(repo, result, image, tmp_path)


def test_the_same_image_again_adds_nothing(repo: Repository, image: Path) -> None:
    _backup(image, repo)
    assert _backup(image, repo).bytes_new == 0


def test_an_incremental_reads_little_more_than_what_changed(
    repo: Repository, image: Path, tmp_path: Path
) -> None:
    first = _backup(image, repo)
    source = random.Random(2)
    changed = [_write(image, n * 640 * KIB, source.randbytes(64 * KIB)) for n in range(15)]
    second = _backup(image, repo, parent=first.restore_point, changed=changed)
    assert second.read_mode == "incremental"
    assert second.bytes_changed == 15 * 64 * KIB
    assert second.bytes_read <= 1.1 * second.bytes_changed
    assert _same(repo, second, image, tmp_path)


def test_the_audit_finds_a_change_that_tracking_missed(repo: Repository, image: Path, tmp_path: Path) -> None:
    first = _backup(image, repo)
    _write(image, 3 * MIB, bytes(range(256)) * 4096)
    lying = _backup(
        image, repo, options=ImageOptions(audit_chunks=1000), parent=first.restore_point, changed=[]
    )
    assert lying.read_mode == "full"
    assert "audit" in lying.disks[0].reason
    assert any("missed" in warning for warning in lying.warnings)
    assert lying.bytes_audited > 0
    assert _same(repo, lying, image, tmp_path)


def test_an_audit_of_an_honest_incremental_counts_its_bytes_apart(repo: Repository, image: Path) -> None:
    first = _backup(image, repo)
    second = _backup(
        image, repo, options=ImageOptions(audit_chunks=4), parent=first.restore_point, changed=[]
    )
    assert (second.read_mode, second.bytes_read) == ("incremental", 0)
    assert 0 < second.bytes_audited <= 4 * CHUNK
    assert second.bytes_new == 0


def test_an_incremental_heals_what_the_repository_has_lost(
    repo: Repository, image: Path, tmp_path: Path
) -> None:
    first = _backup(image, repo)
    for pack in (tmp_path / "repo/packs").rglob("*"):
        if pack.is_file():
            pack.unlink()
    second = _backup(image, repo, parent=first.restore_point, changed=[Extent(0, 64 * KIB)])
    assert second.read_mode == "incremental"
    assert second.bytes_read >= 3 * MIB
    assert _same(repo, second, image, tmp_path)
    assert _same(repo, first, image, tmp_path)  # it has the same chunks


@pytest.mark.parametrize("incremental", [True, False])
def test_any_backup_heals_a_flipped_bit_that_verify_has_found(
    repo: Repository, image: Path, tmp_path: Path, incremental: bool
) -> None:
    first = _backup(image, repo)
    pack = max(
        (p for p in (tmp_path / "repo/packs").rglob("*") if p.is_file()), key=lambda p: p.stat().st_size
    )
    content = bytearray(pack.read_bytes())
    content[1000] ^= 1
    pack.chmod(0o600)
    pack.write_bytes(content)
    assert _damages(repo) == 1
    basis = {"parent": first.restore_point, "changed": []} if incremental else {}
    second = _backup(image, repo, **basis)
    assert second.read_mode == ("incremental" if incremental else "full")
    assert 0 < second.bytes_new <= len(content)  # nothing in a pack that holds damage is relied on anew
    assert _damages(repo) == 0
    assert _same(repo, first, image, tmp_path)
    assert _same(repo, second, image, tmp_path)


def _damages(repo: Repository) -> int:
    return len(execute_verify(repo, plan_verify(repo)).damages)


def test_a_parent_that_does_not_exist_is_named(repo: Repository, image: Path) -> None:
    with pytest.raises(NotFoundError):
        _backup(image, repo, parent="20260101T000000000-0000000000", changed=[])


@pytest.mark.parametrize("image_format", ["raw", "qcow2", "vmdk"])
def test_every_format_holds_the_disk(
    repo: Repository, image: Path, tmp_path: Path, image_format: str
) -> None:
    if shutil.which("qemu-img") is None:
        pytest.skip("qemu-img is not installed")
    result = _backup(image, repo)
    output = tmp_path / f"out.{image_format}"
    restore_disk(repo, result.restore_point, FIRST_DISK, output, image_format=image_format)  # type: ignore[arg-type]
    subprocess.run(
        ["qemu-img", "compare", "-f", "raw", "-F", image_format, image, output],
        check=True,
        capture_output=True,
    )
    assert not list(tmp_path.glob(".*part"))


def test_a_raw_restore_leaves_holes(repo: Repository, image: Path, tmp_path: Path) -> None:
    result = _backup(image, repo)
    output = tmp_path / "out.raw"
    restored = restore_disk(repo, result.restore_point, FIRST_DISK, output)
    assert output.stat().st_blocks * 512 <= 4 * MIB
    assert restored.bytes_written <= 3 * MIB + 2 * CHUNK


def test_a_restore_overwrites_only_when_told_to(repo: Repository, image: Path, tmp_path: Path) -> None:
    point = _backup(image, repo).restore_point
    output = tmp_path / "precious"
    output.write_text("mine")
    with pytest.raises(OutputExistsError):
        restore_disk(repo, point, FIRST_DISK, output)
    assert output.read_text() == "mine"
    restore_disk(repo, point, FIRST_DISK, output, force=True)
    assert output.read_bytes() == image.read_bytes()


def test_a_vmdk_does_not_overwrite_the_data_file_beside_it(
    repo: Repository, image: Path, tmp_path: Path
) -> None:
    point = _backup(image, repo).restore_point
    (tmp_path / "x-flat.vmdk").write_text("mine")
    with pytest.raises(OutputExistsError):
        restore_disk(repo, point, FIRST_DISK, tmp_path / "x.vmdk", image_format="vmdk")
    assert (tmp_path / "x-flat.vmdk").read_text() == "mine"


def test_a_restore_into_a_folder_that_is_not_there_says_so(
    repo: Repository, image: Path, tmp_path: Path
) -> None:
    point = _backup(image, repo).restore_point
    with pytest.raises(OutputWriteError, match="not a folder"):
        restore_disk(repo, point, FIRST_DISK, tmp_path / "no/where.raw")


def test_a_damaged_chunk_stops_the_restore_and_leaves_nothing(
    repo: Repository, image: Path, tmp_path: Path
) -> None:
    point = _backup(image, repo).restore_point
    for pack in (tmp_path / "repo/packs").rglob("*"):
        if pack.is_file():
            data = bytearray(pack.read_bytes())
            data[len(data) // 2] ^= 1
            pack.chmod(0o600)
            pack.write_bytes(data)
    with pytest.raises(DamagedError):
        restore_disk(repo, point, FIRST_DISK, tmp_path / "out.raw")
    assert not list(tmp_path.glob("*out.raw*"))
