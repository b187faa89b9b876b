"""How the work under way stands, in short: what tells an open page that something it shows has changed."""

from __future__ import annotations

import hashlib
from collections.abc import Hashable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from vbm.catalog.runs import RunFilter, RunRecord, list_runs_briefly, live_groups
from vbm.services import runs
from vbm.services.workspace import Workspace

_BRIEF: Final = timedelta(hours=1)  # a run may come and end between two looks


@dataclass(frozen=True, slots=True)
class Live:
    """Of the runs that somebody may see. The bytes are those of runs under way.

    ``mark`` is another one after each change; its first half, up to the dot, only after a run came, began or ended.
    """

    queued: int
    running: int
    bytes_total: int
    bytes_done: int
    mark: str

    def has_same_runs(self, mark: str) -> bool:
        """Whether since that mark runs have at most gone on."""
        return mark.partition(".")[0] == self.mark.partition(".")[0]


def live(workspace: Workspace) -> Live:
    """As who asks may see it."""
    groups = runs.live(workspace)
    lately = RunFilter(since=workspace.clock.now().replace(minute=0) - _BRIEF, limit=1)
    newest = [run.id for run in runs.visible_briefly(workspace, lately)]
    running = [group for group in groups if group[0] == "running"]
    return Live(
        queued=sum(group[1] for group in groups if group[0] == "queued"),
        running=sum(group[1] for group in running),
        bytes_total=sum(int(group[7]) for group in running),
        bytes_done=sum(int(group[8]) for group in running),
        mark=f"{_hash([_set_of(groups), newest])}.{_hash(groups)}",
    )


def _set_of(groups: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """Which runs they are, whatever phase each is in."""
    return [
        (
            state,
            sum(group[1] for group in groups if group[0] == state),
            min(group[2] for group in groups if group[0] == state),
            max(group[3] for group in groups if group[0] == state),
            sum(int(group[4]) for group in groups if group[0] == state),
            sum(int(group[5]) for group in groups if group[0] == state),
        )
        for state in sorted({group[0] for group in groups})
    ]


def _hash(known: object) -> str:
    return hashlib.sha256(repr(known).encode()).hexdigest()[:16]


def stir(workspace: Workspace) -> Hashable:
    """Another value whenever ``live`` has changed for anybody. For the server itself: nobody is shown it."""
    with workspace.catalog.reading() as session:
        newest = [run.id for run in list_runs_briefly(session, RunFilter(limit=1))]
        return (*live_groups(session, RunFilter()), *newest)


def under_way(workspace: Workspace, limit: int) -> list[RunRecord]:
    """What runs and, as far as there is room, what waits: the newest first of each, briefly."""
    found = runs.visible_briefly(workspace, RunFilter(states=("running",), limit=limit))
    room = limit - len(found)
    return found + (
        runs.visible_briefly(workspace, RunFilter(states=("queued",), limit=room)) if room else []
    )
