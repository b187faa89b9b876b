"""How verifications found each restore point: the last quick and the last full one are remembered beside it.

``verified/<restore point>/<time>-<mode>-<good|bad>``, without content: one listing tells all. It is information for
people; nothing relies on it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, Literal

from vbm.ids import RestorePointId
from vbm.objectstore.base import ObjectExistsError, ObjectStore
from vbm.repository.format import SAFE_SEGMENT

Mode = Literal["quick", "full"]
VERDICTS_PREFIX: Final = "verified/"
_NAME: Final = re.compile(r"(\d{8}T\d{12})-(quick|full)-(good|bad)")
_STAMP: Final = "%Y%m%dT%H%M%S%f"
_THREADS: Final = 8  # a store answers slowly, not seldom


@dataclass(frozen=True, slots=True)
class Verdict:
    """``good``: the restore point was found whole."""

    time: datetime
    mode: Mode
    good: bool

    @property
    def name(self) -> str:
        stamp = self.time.astimezone(UTC).strftime(_STAMP)
        return f"{stamp}-{self.mode}-{'good' if self.good else 'bad'}"


def remember(
    store: ObjectStore, found: Mapping[RestorePointId, bool], mode: Mode, now: datetime
) -> dict[RestorePointId, Verdict]:
    """Durable when this returns; what is to be said of each of them from now on."""
    before = _all(store)

    def one(point: RestorePointId) -> None:
        new = Verdict(now, mode, found[point])
        with suppress(ObjectExistsError):
            store.put(f"{VERDICTS_PREFIX}{point}/{new.name}", [b"verified"])
        for old in before.get(point, ()):
            if old.mode == mode and old.time < now:
                store.delete(f"{VERDICTS_PREFIX}{point}/{old.name}")
        before.setdefault(point, []).append(new)

    with ThreadPoolExecutor(_THREADS, "verdicts") as pool:
        list(pool.map(one, found))
    return {point: weightiest(before[point]) for point in found}


def verdicts(store: ObjectStore) -> dict[RestorePointId, Verdict]:
    """Of every restore point that was ever verified."""
    return {point: weightiest(known) for point, known in _all(store).items()}


def forget_verdicts(store: ObjectStore, point: RestorePointId) -> None:
    """The restore point is deleted."""
    for info in list(store.list(f"{VERDICTS_PREFIX}{point}/")):
        store.delete(info.key)


def weightiest(known: Iterable[Verdict]) -> Verdict:
    """The last full one, unless a quick one after it found damage: a quick one that finds none has read nothing."""
    ordered = sorted(known, key=lambda verdict: verdict.time)
    full = next((v for v in reversed(ordered) if v.mode == "full"), None)
    last = ordered[-1]
    return last if full is None or not last.good else full


def _all(store: ObjectStore) -> dict[RestorePointId, list[Verdict]]:
    found: dict[RestorePointId, list[Verdict]] = {}
    for info in store.list(VERDICTS_PREFIX):
        point, _, name = info.key.removeprefix(VERDICTS_PREFIX).partition("/")
        parts = _NAME.fullmatch(name)
        if parts is None or not SAFE_SEGMENT.fullmatch(point):
            continue
        with suppress(ValueError):
            time = datetime.strptime(parts[1], _STAMP).replace(tzinfo=UTC)
            mode: Mode = "full" if parts[2] == "full" else "quick"
            found.setdefault(RestorePointId(point), []).append(Verdict(time, mode, parts[3] == "good"))
    return found
