"""What is remembered of how full repositories are: a worker looks, pages and metrics do not."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from vbm.catalog.repository_usage import UsageRecord, all_usage
from vbm.clock import VirtualClock
from vbm.repository.format import RepositoryOptions
from vbm.repository.keys import NoKey
from vbm.services import overview, repositories
from vbm.services.doors import WorkspaceDoors
from vbm.services.repositories import Key
from vbm.services.workspace import Workspace
from vbm.settings import Settings
from vbm.workflows.maintenance import maintain


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


@pytest.fixture
def space(tmp_path: Path, clock: VirtualClock) -> Iterator[Workspace]:
    home = tmp_path / "home"
    with Workspace(Settings(home, f"sqlite:///{home}/vbm.db"), clock=clock) as made:
        store = (tmp_path / "store").as_uri()
        repositories.create(made, "main", store, Key(NoKey()), RepositoryOptions(256 * 1024))
        yield made


def usage(space: Workspace) -> UsageRecord:
    with space.catalog.reading() as session:
        (found,) = all_usage(session).values()
    return found


def test_a_worker_remembers_how_full_a_store_is_and_what_a_repository_holds(
    space: Workspace, clock: VirtualClock
) -> None:
    maintain(WorkspaceDoors(space), "w")
    first = usage(space)
    assert (first.looked, first.stored_bytes, first.problem) == (clock.now(), 0, "")
    assert 0 < first.free_bytes < first.total_bytes
    clock.advance(240)
    maintain(WorkspaceDoors(space), "w")
    assert usage(space).looked == first.looked
    clock.advance(120)
    maintain(WorkspaceDoors(space), "w")
    assert usage(space).looked == first.looked + timedelta(minutes=6)


def test_pages_read_what_is_remembered_and_look_only_where_nobody_else_does(
    space: Workspace, clock: VirtualClock, tmp_path: Path
) -> None:
    (new,) = overview.spaces(space)
    assert (new.name, new.problem) == ("main", "")
    assert new.total_bytes > 0
    (tmp_path / "store").rename(tmp_path / "unplugged")
    clock.advance(14 * 60)
    assert overview.spaces(space) == (new,)
    clock.advance(2 * 60)
    (lost,) = overview.spaces(space)
    assert lost.problem
    assert (lost.free_bytes, lost.total_bytes) == (0, 0)
    maintain(WorkspaceDoors(space), "w")
    assert usage(space).problem == lost.problem
    (tmp_path / "unplugged").rename(tmp_path / "store")
    clock.advance(6 * 60)
    maintain(WorkspaceDoors(space), "w")
    assert overview.spaces(space)[0].problem == ""
