"""What a lab's own log tells of backups: when each was at work, and how many were at once."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from vbm.clock import parse_rfc3339


@dataclass(frozen=True, slots=True)
class Place:
    """Where a VM belongs. ``moref`` and ``directory`` are what the log calls it."""

    vm: str
    vcenter: str
    datastore: str
    repository: str
    moref: str
    directory: str


@dataclass(frozen=True, slots=True)
class Span:
    """One backup as vSphere saw it: from the creation of its snapshot to the last read of it, in seconds.

    ``gone``: when the snapshot was removed; None while it is there.
    """

    place: Place
    snapshot: str
    begin: float
    end: float
    gone: float | None = None
    reads: int = 0


def spans(folder: Path, places: Iterable[Place]) -> list[Span]:
    """All backups in the log of the lab in ``folder``."""
    known = list(places)
    by_moref = {place.moref: place for place in known}
    by_directory = {place.directory: place for place in known}
    open_ones: dict[str, Span] = {}
    done: list[Span] = []
    for line in (folder / "events.jsonl").read_text().splitlines():
        entry = json.loads(line)
        when = parse_rfc3339(entry["time"]).timestamp()
        match entry["event"]:
            case "snapshot-created":
                place = by_moref[entry["vm"]]
                assert place.vm not in open_ones, f"two snapshots of {place.vm} at once"
                open_ones[place.vm] = Span(place, entry["name"], when, when)
            case "snapshot-removed":
                done.append(replace(open_ones.pop(by_moref[entry["vm"]].vm), gone=when))
            case "get-start" | "get-end":
                span = open_ones.get(_owner(entry, by_directory))
                if span is not None:
                    reads = span.reads + (entry["event"] == "get-start")
                    open_ones[span.place.vm] = replace(span, end=when, reads=reads)
    return [*done, *open_ones.values()]


def most_at_once(of: Iterable[Span], group: Callable[[Place], Hashable]) -> Mapping[Hashable, int]:
    """By group: how many of its backups were at work at the same instant, at most."""
    edges = []
    for span in of:
        key = group(span.place)
        edges += [(span.begin, 1, key), (span.end, -1, key)]
    now: Counter[Hashable] = Counter()
    most: Counter[Hashable] = Counter()
    for _, change, key in sorted(edges, key=lambda edge: (edge[0], edge[1])):
        now[key] += change
        most[key] = max(most[key], now[key])
    return most


def _owner(entry: Mapping[str, str], by_directory: Mapping[str, Place]) -> str:
    directory = entry["path"].partition("] ")[2].partition("/")[0]
    place = by_directory.get(directory)
    return place.vm if place else ""
