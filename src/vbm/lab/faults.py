"""Faults on demand: rules that make the lab misbehave, kept in ``DIR/faults.json`` so any process can set them.

A rule is one line of text::

    METHOD-or-path [object=NAME] EFFECT [count=N] [skip=N] [probability=P] [seed=N] [when=…] [after=BYTES]

The target is a SOAP method (``CreateSnapshot_Task``), a path (``/folder``, ``/nfc``), both with ``*``,
``login`` for the TLS handshake's end, or ``now``: act at once. Effects::

    fault=TYPE      that SOAP fault; of a …_Task method the task ends so (when=call: the call itself)
    delay=S         answers S seconds later          hang       never answers
    reset           resets the connection; of a body after ``after=BYTES``
    short           ends a body early and closes     status=N   that HTTP status (retry-after=S adds the header)
    wrong-range     a wrong Content-Range            whole      status 200 and the whole file to a ranged GET
    corrupt         flips one byte of a body         never-ends the task never ends
    leave-consolidation  the snapshot goes, its deltas stay: consolidation is needed
    rate=BYTES      removal and consolidation move so many bytes a second
    action=NAME     something happens to the world, then the call goes on (see ``actions.py``)

``when=after`` lets the method do its work first and spoils only the answer.
"""

from __future__ import annotations

import fcntl
import json
import os
import random
import shlex
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path

from vbm.errors import InputError

_FLAGS = ("hang", "reset", "short", "wrong-range", "whole", "never-ends", "corrupt", "leave-consolidation")
_VALUED = ("fault", "delay", "status", "action", "rate")


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule; ``count`` None means for ever, ``skip`` how many matches pass unharmed first."""

    target: str
    effect: str
    value: str = ""
    object_name: str = ""
    count: int | None = None
    skip: int = 0
    probability: float = 1.0
    when: str = ""
    after_bytes: int = 0
    retry_after: int | None = None
    seed: int = 0
    draws: int = 0
    id: int = 0

    @property
    def seconds(self) -> float:
        return float(self.value)

    def matches(self, target: str, names: Iterable[str]) -> bool:
        """Whether it is about this method or path and one of these object names."""
        mine = self.target.casefold()
        given = target.casefold()
        below = mine.startswith("/") and given.startswith(mine)
        if not below and not fnmatchcase(given, mine):
            return False
        wanted = self.object_name.casefold()
        return not wanted or any(fnmatchcase(name.casefold(), wanted) for name in names)


def parse_rule(spec: str) -> Rule:
    """The rule of one line. Raises InputError that says what is wrong with it."""
    try:
        words = shlex.split(spec)
    except ValueError as error:
        raise InputError(f"not a fault rule: {spec!r}: {error}") from None
    if len(words) < 2:
        raise InputError(f"not a fault rule: {spec!r}", hint="write METHOD-or-path and an effect")
    options: dict[str, str] = {}
    effects: list[tuple[str, str]] = []
    for word in words[1:]:
        key, equals, value = word.partition("=")
        if key in _FLAGS and not equals:
            effects.append((key, ""))
        elif key in _VALUED and value:
            effects.append((key, value))
        elif equals and value:
            options[key] = value
        else:
            raise InputError(f"not understood in a fault rule: {word!r}")
    if len(effects) != 1:
        raise InputError(f"a fault rule has exactly one effect: {spec!r}")
    return _build(words[0], effects[0], options, spec)


def _build(target: str, effect: tuple[str, str], options: dict[str, str], spec: str) -> Rule:
    known = {"object", "count", "skip", "probability", "seed", "when", "after", "retry-after"}
    unknown = sorted(set(options) - known)
    if unknown:
        raise InputError(
            f"unknown in a fault rule: {', '.join(unknown)}", hint=f"known: {', '.join(sorted(known))}"
        )
    try:
        if effect[0] in ("delay", "status", "rate"):
            float(effect[1])
        rule = Rule(
            target=target,
            effect=effect[0],
            value=effect[1],
            object_name=options.get("object", ""),
            count=int(options["count"]) if "count" in options else None,
            skip=int(options.get("skip", 0)),
            probability=float(options.get("probability", 1)),
            when=options.get("when", ""),
            after_bytes=int(options.get("after", 0)),
            retry_after=int(options["retry-after"]) if "retry-after" in options else None,
            seed=int(options.get("seed", 0)),
        )
    except ValueError as error:
        raise InputError(f"not a number in the fault rule {spec!r}: {error}") from None
    if not 0 <= rule.probability <= 1 or (rule.count is not None and rule.count < 1) or rule.skip < 0:
        raise InputError(f"out of range in the fault rule {spec!r}")
    return rule


class Rules:
    """The rules in force. Thread-safe; the file is read again whenever another process has changed it."""

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._lock = threading.RLock()
        self._stamp: tuple[int, int] | None = None
        self._rules: list[Rule] = []
        self._next_id = 1

    def add(self, spec: str) -> Rule:
        """Put a rule in force; it is asked after those that are there already."""
        rule = parse_rule(spec)
        with self._exclusive():
            rule = replace(rule, id=self._next_id)
            self._next_id += 1
            self._rules.append(rule)
            self._save()
        return rule

    def list(self) -> list[Rule]:
        """The rules in force, with what is left of their counts."""
        with self._lock:
            self._load()
            return [*self._rules]

    def any(self) -> bool:
        """Whether any rule is in force at all: a cheap question, asked at every call."""
        with self._lock:
            self._load()
            return bool(self._rules)

    def clear(self) -> None:
        with self._exclusive():
            self._rules = []
            self._save()

    def remove(self, rule_id: int) -> None:
        with self._exclusive():
            self._rules = [rule for rule in self._rules if rule.id != rule_id]
            self._save()

    def match(self, target: str, names: Iterable[str] = ()) -> tuple[Rule, ...]:
        """The rules that strike this call, in order; their counts are used up by it."""
        with self._lock:
            self._load()
            names = tuple(names)
            if not any(rule.matches(target, names) for rule in self._rules):
                return ()
        with self._exclusive():
            hits = [self._draw(rule) for rule in [*self._rules] if rule.matches(target, names)]
            self._save()
        return tuple(rule for rule in hits if rule is not None)

    def _draw(self, rule: Rule) -> Rule | None:
        index = next(i for i, other in enumerate(self._rules) if other.id == rule.id)
        strikes = rule.draws >= rule.skip and (
            rule.probability >= 1
            or random.Random(f"{rule.seed}/{rule.id}/{rule.draws}").random() < rule.probability  # noqa: S311
        )
        left = rule.count - 1 if strikes and rule.count is not None else rule.count
        if left == 0:
            del self._rules[index]
        else:
            self._rules[index] = replace(rule, draws=rule.draws + 1, count=left)
        return rule if strikes else None

    @contextmanager
    def _exclusive(self) -> Iterator[None]:
        with self._lock:
            if self._path is None:
                yield
                return
            lock = os.open(self._path.with_suffix(".lock"), os.O_CREAT | os.O_RDWR, 0o600)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX)
                self._load()
                yield
            finally:
                os.close(lock)

    def _load(self) -> None:
        if self._path is None:
            return
        try:
            status = self._path.stat()
        except FileNotFoundError:
            self._rules, self._stamp = [], None
            return
        stamp = (status.st_mtime_ns, status.st_ino)
        if stamp == self._stamp:
            return
        document = json.loads(self._path.read_text())
        self._rules = [Rule(**entry) for entry in document["rules"]]
        self._next_id = document["next_id"]
        self._stamp = stamp

    def _save(self) -> None:
        if self._path is None:
            return
        document = {"next_id": self._next_id, "rules": [asdict(rule) for rule in self._rules]}
        temporary = self._path.with_suffix(".tmp")
        temporary.write_text(json.dumps(document, indent=1))
        temporary.replace(self._path)
        status = self._path.stat()
        self._stamp = (status.st_mtime_ns, status.st_ino)
