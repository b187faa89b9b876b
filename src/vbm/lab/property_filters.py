"""Property filters and the waiting for their updates, per session and collector."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from vbm.clock import Clock
from vbm.lab.context import Changes, Context
from vbm.lab.errors import WireFault, refusal
from vbm.lab.model import LabFault
from vbm.lab.property_specs import Content, Evaluation, escape_text
from vbm.lab.vmodl import type_name

PAGE_OBJECTS = 1000  # where the client names no limit
LONGEST_WAIT_SECONDS = 600.0

Key = tuple[str, str]


@dataclass(slots=True, eq=False)
class Filter:
    moid: str
    spec: Any
    partial: bool
    reported: dict[Key, Content] = field(default_factory=dict)


@dataclass(slots=True, eq=False)
class Collector:
    """One PropertyCollector of a session."""

    moid: str
    session: Any
    filters: dict[str, Filter] = field(default_factory=dict)
    pages: dict[str, Iterator[Content]] = field(default_factory=dict)
    version: int = 0
    cancelled: bool = False
    lock: threading.Lock = field(default_factory=threading.Lock)

    def forget(self) -> None:
        for one in self.filters.values():
            one.reported.clear()


class Collectors:
    """All collectors of all sessions. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._collectors: dict[Key, Collector] = {}
        self._numbers = itertools.count(1)

    def number(self) -> int:
        return next(self._numbers)

    def find(self, moid: str, session: Any, *, create: bool = False) -> Collector | None:
        """A session's collector of that id; the default one of each session is always there."""
        key = (session.key if session else "", moid)
        with self._lock:
            if key not in self._collectors and (create or moid == "propertyCollector"):
                self._collectors[key] = Collector(moid, session)
            return self._collectors.get(key)

    def remove(self, collector: Collector) -> None:
        with self._lock:
            self._collectors = {k: c for k, c in self._collectors.items() if c is not collector}

    def drop_session(self, key: str) -> None:
        with self._lock:
            self._collectors = {k: c for k, c in self._collectors.items() if k[0] != key}

    def find_filter(self, moid: str) -> tuple[Collector, Filter] | None:
        with self._lock:
            collectors = [*self._collectors.values()]
        for collector in collectors:
            if moid in collector.filters:
                return collector, collector.filters[moid]
        return None


def wait_for_updates(
    context: Context, collector: Collector, version: str, api: str, options: tuple[float | None, int]
) -> str | None:
    """The XML inside an UpdateSet, once there is news; None where the time is over. ``options``: seconds, objects."""
    seconds, limit = options
    _check_version(collector, version)
    deadline = _deadline(context.clock, seconds)
    collector.cancelled = False
    while True:
        seen = context.changes.count
        with collector.lock:
            text = _updates(context, collector, api, limit)
        if text is not None:
            return text
        if not _wait(context, collector, seen, deadline):
            return None


def _check_version(collector: Collector, version: str) -> None:
    if not version:
        collector.forget()
    elif version != str(collector.version):
        raise refusal("InvalidCollectorVersion", f"not the latest version: {version!r}")


def _deadline(clock: Clock, seconds: float | None) -> float:
    return clock.monotonic() + min(LONGEST_WAIT_SECONDS if seconds is None else seconds, LONGEST_WAIT_SECONDS)


def _wait(context: Context, collector: Collector, seen: int, deadline: float) -> bool:
    """True: look again. False: the time is over."""
    changes: Changes = context.changes
    while True:
        left = deadline - context.clock.monotonic()
        if left <= 0 or context.stopping.is_set():
            return False
        if changes.wait(seen, min(left, 1.0)) != seen:
            return True
        if collector.cancelled:
            raise refusal("RequestCanceled", "The request was canceled.")


def _updates(context: Context, collector: Collector, api: str, limit: int) -> str | None:
    texts = []
    truncated = False
    left = limit
    for one in [*collector.filters.values()]:
        updates, more = _filter_updates(context, collector, one, api, left)
        left -= len(updates)
        truncated = truncated or more
        if updates:
            head = f'<filterSet><filter type="PropertyFilter">{escape_text(one.moid)}</filter>'
            texts.append(head + "".join(updates) + "</filterSet>")
    if not texts:
        return None
    collector.version += 1
    tail = "<truncated>true</truncated>" if truncated else ""
    return f"<version>{collector.version}</version>{''.join(texts)}{tail}"


def _filter_updates(
    context: Context, collector: Collector, one: Filter, api: str, limit: int
) -> tuple[list[str], bool]:
    present: dict[Key, Content] = {}
    try:
        for content in Evaluation(context, collector.session, one.spec, api).contents():
            present[(type_name(content.ref), content.ref._moId)] = content
    except (LabFault, WireFault):
        if not one.reported:
            raise
    updates: list[str] = []
    for key in [*one.reported]:
        if key not in present:
            if len(updates) >= limit:
                return updates, True
            del one.reported[key]
            updates.append(_object_update("leave", key, ""))
    for key, content in present.items():
        old = one.reported.get(key)
        changes = _changes(old, content)
        if old is not None and not changes:
            continue
        if len(updates) >= limit:
            return updates, True
        one.reported[key] = content
        updates.append(_object_update("modify" if old else "enter", key, changes))
    return updates, False


def _object_update(kind: str, key: Key, inner: str) -> str:
    return (
        f'<objectSet><kind>{kind}</kind><obj type="{key[0]}">{escape_text(key[1])}</obj>{inner}</objectSet>'
    )


def _changes(old: Content | None, new: Content) -> str:
    before = old.values if old else {}
    parts = [
        f"<changeSet><name>{path}</name><op>assign</op>{text}</changeSet>"
        for path, text in new.values.items()
        if before.get(path) != text
    ]
    parts += [
        f"<changeSet><name>{path}</name><op>assign</op></changeSet>"
        for path in before
        if path not in new.values
    ]
    if old is None or old.missing != new.missing:
        parts += [f"<missingSet><path>{p}</path>{text}</missingSet>" for p, text in new.missing.items()]
    return "".join(parts)
