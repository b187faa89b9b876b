"""Repositories on one file system have its space once."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from types import SimpleNamespace

import pytest

from vbm.objectstore.registry import open_store
from vbm.repository.format import RepositoryOptions
from vbm.repository.keys import NoKey
from vbm.services import growth, overview, repositories
from vbm.services.forecast import forecast
from vbm.services.repositories import Key
from vbm.services.workspace import Workspace
from vbm.settings import Settings


def test_two_on_one_file_system_are_counted_once(tmp_path: Path) -> None:
    with Workspace(Settings(tmp_path, f"sqlite:///{tmp_path}/vbm.db")) as space:
        for name in ("one", "two"):
            options = RepositoryOptions(256 * 1024)
            repositories.create(space, name, (tmp_path / name).as_uri(), Key(NoKey()), options)
        first, second = overview.spaces(space)
        assert first.volume == second.volume != ""
        found = forecast(growth.document(space, 30), date(2026, 11, 24), 30)
        assert found.total_bytes == first.total_bytes


def test_file_systems_are_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By their own id, or by the mount where they have none, as over NFS."""

    def volume(fsid: int) -> str:
        found = SimpleNamespace(f_blocks=10, f_frsize=4096, f_bavail=5, f_fsid=fsid)
        monkeypatch.setattr("vbm.objectstore.local.os.statvfs", lambda _path: found)
        store = open_store(tmp_path.as_uri())
        space = store.space()
        store.close()
        assert space is not None
        return space.volume

    assert volume(1) != volume(2)
    assert volume(0) == f"device {tmp_path.stat().st_dev:x}"
