"""What verification says of repositories at the edges: with nothing to look at, and with packs that nobody needs."""

from __future__ import annotations

from pathlib import Path

import pytest

from fixtures_repo_core import CHUNK, back_up, chunks_of, new_repository, noise
from vbm.objectstore.local import LocalStore
from vbm.repository.repository import Repository
from vbm.repository.verify import execute_verify, plan_verify


def leave_behind(repo: Repository, data: bytes) -> None:
    """Chunks in packs and index of which no restore point knows."""
    writer = repo.writer(owner="left")
    for piece in chunks_of(data):
        writer.put_chunk(piece)
    writer.checkpoint()
    writer.abort()


@pytest.mark.parametrize("read_data", [False, True])
def test_an_empty_repository_is_whole(tmp_path: Path, read_data: bool) -> None:
    with new_repository(LocalStore(tmp_path)) as repo:
        found = execute_verify(repo, plan_verify(repo, read_data=read_data))
    assert found.good
    assert (found.restore_points, found.chunks_checked) == (0, 0)


def test_packs_that_no_restore_point_needs_are_not_read(tmp_path: Path) -> None:
    with new_repository(LocalStore(tmp_path)) as repo:
        leave_behind(repo, noise(1, 3))
        repo.reload()
        assert repo.index.packs()
        found = execute_verify(repo, plan_verify(repo))
        assert (found.good, found.chunks_checked, found.bytes_checked) == (True, 0, 0)
        back_up(repo, "rp-1", bytes(4 * CHUNK))
        found = execute_verify(repo, plan_verify(repo))
        assert (found.good, found.restore_points, found.chunks_checked) == (True, 1, 0)
        back_up(repo, "rp-2", noise(2, 2))
        found = execute_verify(repo, plan_verify(repo))
    assert (found.good, found.restore_points, found.chunks_checked) == (True, 2, 2)
