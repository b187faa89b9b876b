"""What repositories need now and then: garbage collection on its own schedule, a copy of the catalog,
and a look at how full they are.
"""

from __future__ import annotations

import logging
from contextlib import closing
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

from vbm.catalog.catalog import Catalog
from vbm.catalog.preferences import preferences
from vbm.catalog.repositories import RepositoryRecord, all_repositories
from vbm.catalog.repository_usage import UsageRecord, put_usage
from vbm.catalog.workers import take_turn
from vbm.errors import VbmError
from vbm.notifications.events import Event, EventKind
from vbm.objectstore.base import Space
from vbm.objectstore.registry import open_store
from vbm.repository.gc import execute_gc, plan_gc
from vbm.repository.repository import Repository
from vbm.units import format_size
from vbm.workflows.catalog_copy import copy_catalog, copy_is_due
from vbm.workflows.doors import Doors
from vbm.workflows.outbox import emit

FULL_PERCENT: Final = 80
_ATTEND_EVERY: Final = timedelta(hours=1)
_LOOK_EVERY: Final = timedelta(minutes=5)
_log = logging.getLogger(__name__)


def maintain(doors: Doors, worker_id: str) -> None:
    """Look after each repository whose turn it is; of several workers one does. Raises the catalog's errors only."""
    now = doors.clock.now()
    with doors.catalog.reading() as session:
        known, hours = all_repositories(session), preferences(session).gc_every_hours
    for record in known:
        with doors.catalog.writing() as session:
            look = take_turn(session, f"look-{record.id}", worker_id, now, _LOOK_EVERY)
            attend = take_turn(session, f"space-{record.id}", worker_id, now, _ATTEND_EVERY)
        with doors.catalog.writing() as session:
            # The first pass waits a whole interval too: a service that has just started has better things to do.
            collect = hours > 0 and take_turn(
                session, f"gc-{record.id}", worker_id, now, timedelta(hours=hours), first_waits=True
            )
        copy = copy_is_due(doors, record.id, worker_id)
        if attend or collect or copy:
            _attend(doors, record, collect=collect, copy=copy)
        elif look:
            look_at(doors.catalog, record, now)


def look_at(catalog: Catalog, record: RepositoryRecord, now: datetime) -> UsageRecord:
    """Remember how full its store is, or why it can't be looked at. The repository itself is not opened."""
    try:
        with closing(open_store(record.url)) as store:
            space = store.space()
        found = _usage(record, space, now)
    except VbmError as error:
        found = UsageRecord(record.id, now, problem=error.message)
    with catalog.writing() as session:
        put_usage(session, found)
    return found


def _usage(record: RepositoryRecord, space: Space | None, now: datetime) -> UsageRecord:
    return UsageRecord(
        record.id,
        now,
        free_bytes=space.free_bytes if space else 0,
        total_bytes=space.total_bytes if space else 0,
        volume=space.volume if space else "",
    )


def _attend(doors: Doors, record: RepositoryRecord, *, collect: bool, copy: bool) -> None:
    try:
        with closing(doors.open_repository(record.id)) as repository:
            if copy:
                copy_catalog(doors, repository)
            if collect:
                plan = plan_gc(repository)
                if plan.has_work:
                    execute_gc(repository, plan)
            space = repository.store.space()
            usage = replace(_usage(record, space, doors.clock.now()), stored_bytes=_stored_bytes(repository))
    except VbmError as error:
        _log.warning("repository %s: %s", record.name, error.message)
        _tell(doors, record, error)
        look_at(doors.catalog, record, doors.clock.now())
        return
    with doors.catalog.writing() as session:
        put_usage(session, usage)
    if (
        space is not None
        and space.total_bytes
        and space.free_bytes * 100 < space.total_bytes * (100 - FULL_PERCENT)
    ):
        now = doors.clock.now()
        with doors.catalog.writing() as session:
            emit(session, _full(record, space.free_bytes, space.total_bytes, now))


def _stored_bytes(repository: Repository) -> int:
    """Of all chunks in its packs, as the index knows them."""
    return sum(int(lengths.sum(dtype="u8")) for *_, lengths in repository.index.columns())


def _full(record: RepositoryRecord, free_bytes: int, total_bytes: int, now: datetime) -> Event:
    used = 100 - 100 * free_bytes // total_bytes
    return Event(
        kind=EventKind.REPOSITORY_FULL,
        message=f"The repository {record.name} is {used} % full: {format_size(free_bytes)} are free.",
        time=now,
        about=record.name,
        remedy="Add space, keep fewer restore points, or delete some; space comes back with garbage collection.",
        facts=(("Free", format_size(free_bytes)), ("Size", format_size(total_bytes))),
    )


def _tell(doors: Doors, record: RepositoryRecord, error: VbmError) -> None:
    event = Event(
        kind=EventKind.WARNING,
        message=f"The repository {record.name} can't be looked after: {error.message}",
        time=doors.clock.now(),
        about=record.name,
        remedy=error.hint,
    )
    with doors.catalog.writing() as session:
        emit(session, event)
