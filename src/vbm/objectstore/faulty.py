"""A store that fails when told to: wraps another, for tests of everything that stands on a store.

``store.on("put", "packs/*").skip(2).once().fail()``: the third put of a pack fails, the fourth does not. Rules are
asked in the order they were made; the first that matches and is not used up decides. What was called is in ``calls``.

    fail(error)        nothing happens, the error is raised
    fail_after(error)  it happens, the error is raised nevertheless: an answer that was lost
    full()             a put raises StoreFullError and leaves nothing
    short(n)           n bytes fewer are read; a listing misses its last n objects; a put stores n bytes fewer
    flip(at)           the byte ``at`` of what is read has a bit flipped
    call(f) after(f)   ``f()`` runs before it, or after it: another party acts at exactly this moment
    crash()            nothing happens, now or later: every call raises Crashed until ``revive``
    crash_after()      the same, after it happened
    kill()             this process dies by SIGKILL
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Self, TypeVar

from vbm.errors import DamagedError, TransientError
from vbm.objectstore.base import Data, ObjectInfo, ObjectStore, Space, StoreFullError

T = TypeVar("T")
_MANY = 1 << 62


class Crashed(BaseException):
    """The process that used the store is as good as dead: what catches errors to clean up must not catch this."""


@dataclass(frozen=True, slots=True)
class Call:
    """One call as it was made; ``key`` is the prefix of a listing, or empty."""

    method: str
    key: str


def _nothing() -> None:
    pass


class FaultRule:
    """Which calls, how many of them, and what happens to them. Made by ``FaultyStore.on``."""

    def __init__(self, methods: str, pattern: str) -> None:
        self._methods = methods.split("|")
        self._pattern = pattern
        self._skip = 0
        self._left = _MANY
        self.hits = 0
        self.before: Callable[[], None] = _nothing
        self.afterwards: Callable[[], None] = _nothing
        self.altered: Callable[[bytes], bytes] = bytes
        self.missing = 0

    def skip(self, calls: int) -> Self:
        """Let that many matching calls pass first."""
        self._skip = calls
        return self

    def times(self, calls: int) -> Self:
        """Hold for that many calls, then no more. Without it: for ever."""
        self._left = calls
        return self

    def once(self) -> Self:
        return self.times(1)

    def fail(self, error: Exception | None = None) -> Self:
        self.before = _raising(error or TransientError("the store does not answer"))
        return self

    def fail_after(self, error: Exception | None = None) -> Self:
        self.afterwards = _raising(error or TransientError("the answer of the store was lost"))
        return self

    def full(self) -> Self:
        return self.fail(StoreFullError("no space left", hint="free space, or run garbage collection"))

    def short(self, missing: int = 1) -> Self:
        self.missing = missing
        return self

    def flip(self, at: int = 0) -> Self:
        def flipped(data: bytes) -> bytes:
            altered = bytearray(data)
            altered[at] ^= 1
            return bytes(altered)

        self.altered = flipped
        return self

    def call(self, action: Callable[[], object]) -> Self:
        self.before = lambda: (action(), None)[1]
        return self

    def after(self, action: Callable[[], object]) -> Self:
        self.afterwards = lambda: (action(), None)[1]
        return self

    def crash(self) -> Self:
        self.before = _raising(Crashed())
        return self

    def crash_after(self) -> Self:
        self.afterwards = _raising(Crashed())
        return self

    def kill(self) -> Self:
        self.before = lambda: os.kill(os.getpid(), signal.SIGKILL)
        return self

    def takes(self, method: str, key: str) -> bool:
        """Whether the rule decides this call; counts it if so. Called under the store's lock."""
        if not (method in self._methods or "*" in self._methods) or not fnmatchcase(key, self._pattern):
            return False
        if self._skip:
            self._skip -= 1
            return False
        if not self._left:
            return False
        self._left -= 1
        self.hits += 1
        return True


def _raising(error: BaseException) -> Callable[[], None]:
    def act() -> None:
        raise error

    return act


class FaultyStore:
    """Everything of ``ObjectStore``, passed on to ``inner`` unless a rule says otherwise. Thread-safe."""

    def __init__(self, inner: ObjectStore) -> None:
        self.inner = inner
        self.url = inner.url
        self.calls: list[Call] = []
        self._rules: list[FaultRule] = []
        self._crashed = False
        self._lock = threading.Lock()

    def on(self, methods: str, pattern: str = "*") -> FaultRule:
        """A rule for calls such as ``put`` or ``get|get_range`` (``*``: all) of keys like ``packs/*``."""
        rule = FaultRule(methods, pattern)
        with self._lock:
            self._rules.append(rule)
        return rule

    def clear(self) -> None:
        """Forget all rules and calls."""
        with self._lock:
            self._rules.clear()
            self.calls.clear()

    def revive(self) -> None:
        """Work again after a crash, as a new process would."""
        self._crashed = False

    def keys_of(self, method: str) -> list[str]:
        """The keys of all calls of one method so far, in order."""
        with self._lock:
            return [call.key for call in self.calls if call.method == method]

    def put(self, key: str, parts: Sequence[Data]) -> None:
        rule = self._rule("put", key)
        if rule.missing:
            whole = b"".join(parts)
            parts = [whole[: max(0, len(whole) - rule.missing)]]
        self._guarded(rule, lambda: self.inner.put(key, parts))

    def get(self, key: str) -> bytes:
        rule = self._rule("get", key)
        data = self._guarded(rule, lambda: self.inner.get(key))
        return rule.altered(data[: len(data) - rule.missing])

    def get_range(self, key: str, offset: int, length: int) -> bytes:
        rule = self._rule("get_range", key)
        data = self._guarded(rule, lambda: self.inner.get_range(key, offset, length))
        if rule.missing:
            raise DamagedError(f"{self.url}: {key} ends before byte {offset + length}", key=key)
        return rule.altered(data)

    def size(self, key: str) -> int:
        rule = self._rule("size", key)
        return self._guarded(rule, lambda: self.inner.size(key)) - rule.missing

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        rule = self._rule("list", prefix)
        found = self._guarded(rule, lambda: [*self.inner.list(prefix)])
        return iter(found[: len(found) - rule.missing])

    def delete(self, key: str) -> None:
        rule = self._rule("delete", key)
        self._guarded(rule, lambda: self.inner.delete(key))

    def space(self) -> Space | None:
        rule = self._rule("space", "")
        return self._guarded(rule, self.inner.space)

    def close(self) -> None:
        self.inner.close()

    def _rule(self, method: str, key: str) -> FaultRule:
        with self._lock:
            if self._crashed:
                raise Crashed
            self.calls.append(Call(method, key))
            return next((rule for rule in self._rules if rule.takes(method, key)), FaultRule(method, key))

    def _guarded(self, rule: FaultRule, act: Callable[[], T]) -> T:
        try:
            rule.before()
            result = act()
            rule.afterwards()
        except Crashed:
            self._crashed = True
            raise
        return result
