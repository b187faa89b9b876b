"""A file of a datastore as a ByteSource: ranged GETs straight into the caller's buffer.

Every answer must be 206 with exactly the Content-Range that was asked for; nothing else is believed. A range
that breaks off is asked for again from the byte reached. ``Accept-Ranges`` is not looked at: ESXi leaves it out.
"""

from __future__ import annotations

import email.utils
import http.client
import re
import threading
from dataclasses import dataclass, field
from typing import Final

from vbm.cancel import CancelToken
from vbm.clock import Clock, SystemClock
from vbm.disk.byte_source import SourceCutShortError
from vbm.disk.reader import Buffer
from vbm.errors import VbmError
from vbm.retry import RetryPolicy
from vbm.units import KIB
from vbm.vsphere.datastore_path import DatastorePath
from vbm.vsphere.faults import ConnectionLostError, translate
from vbm.vsphere.transports.connections import Connection, ConnectionPool
from vbm.vsphere.transports.errors import (
    FileAccessRefusedError,
    FileChangedError,
    FileMissingError,
    HostTooBusyError,
    RangeNotHonouredError,
    ReadBrokenOffError,
    WrongRangeError,
)
from vbm.vsphere.transports.host_gate import LONGEST_RETRY_AFTER, HostGate
from vbm.vsphere.transports.patience import Patience, ask

_STEP_BYTES: Final = 256 * KIB  # at most this much of what arrived is lost where a connection breaks
_PROGRESS_BYTES: Final = 64 * KIB  # with less than that a try counts as failed
_BUSY: Final = frozenset({429, 502, 503, 504})
_CONTENT_RANGE: Final = re.compile(r"bytes (\d{1,19})-(\d{1,19})/(\d{1,19}|\*)")


@dataclass(frozen=True, slots=True)
class ReadPolicy:
    """``broken``: tries, and waits between them, for connections that break; ``busy_tries`` for 503 in a row.

    ``idle_seconds`` without a byte count as broken.
    """

    broken: RetryPolicy = field(
        default_factory=lambda: RetryPolicy(attempts=6, first_seconds=0.5, longest_seconds=30)
    )
    busy_tries: int = 12
    login_tries: int = 3
    idle_seconds: float = 90.0


@dataclass(frozen=True, slots=True)
class Web:
    """What the sources of one transport share."""

    pool: ConnectionPool
    gate: HostGate
    cancel: CancelToken
    policy: ReadPolicy = field(default_factory=ReadPolicy)
    clock: Clock = field(default_factory=SystemClock)
    where: str = ""  # how messages name the endpoint

    @property
    def patience(self) -> Patience:
        return Patience(self.cancel, self.clock, self.policy.idle_seconds)


class RangedHttpSource:
    """A ByteSource. Thread-safe; holds nothing of its own: its connections belong to the pool."""

    def __init__(self, web: Web, path: DatastorePath) -> None:
        self._web = web
        self._path = path
        self._lock = threading.Lock()
        self._size: int | None = None
        self.requests = 0  # sent so far

    @property
    def size_bytes(self) -> int:
        """By one HEAD, asked at first use. Raises FileMissingError, FileAccessRefusedError and others."""
        with self._lock:
            if self._size is None:
                self._size = self._run(_Head())
            return self._size

    def read_at(self, offset: int, length: int) -> bytes:
        data = bytearray(length)
        self.readinto_at(offset, data)
        return bytes(data)

    def readinto_at(self, offset: int, buffer: Buffer) -> None:
        """One range however large, in as many requests as it takes. Raises CancelledError soon after a cancel."""
        view = memoryview(buffer).cast("B")
        if offset < 0 or offset + len(view) > self.size_bytes:
            raise SourceCutShortError(f"{self._path} has {self._size} bytes, none at {offset}+{len(view)}")
        if view:
            self._run(_Range(view, offset, self.size_bytes))

    def close(self) -> None:
        """Nothing is held."""

    def _run(self, job: _Head | _Range) -> int:
        tries = _Tries(self._web.policy, str(self._path), self._web.where)
        while True:
            self._web.cancel.check()
            before = job.done
            problem = self._attempt(job, tries)
            if problem is None and job.finished:
                return job.done
            wait_seconds = tries.after(problem, job.done - before)
            if wait_seconds:
                self._web.cancel.wait(wait_seconds)

    def _attempt(self, job: _Head | _Range, tries: _Tries) -> VbmError | None:
        """One request. Answers why it did not do all that it should have, where another try may."""
        gate = self._web.gate
        with gate.slot(self._web.cancel) as epoch:
            connection, used_before = self._web.pool.take()
            try:
                return self._exchange(job, connection, epoch, tries)
            except (OSError, http.client.HTTPException) as error:
                connection.close()
                if used_before and job.untouched:
                    tries.stale()
                return translate(error, self._web.where)
            except BaseException:
                connection.close()
                raise

    def _exchange(
        self, job: _Head | _Range, connection: Connection, epoch: int, tries: _Tries
    ) -> VbmError | None:
        url, headers = self._web.pool.route.request(job.method, self._path)
        job.untouched = True
        self.requests += 1
        answer = ask(connection, job.method, url, headers | job.headers(), self._web.patience)
        job.untouched = False
        if answer.status == job.status:
            problem = job.take(answer, self._path)
        else:
            problem = self._refusal(answer, epoch, headers, tries)
        if answer.isclosed() and problem is None:
            self._web.pool.give_back(connection)
            self._web.gate.went_well()
        else:
            connection.close()
        return problem

    def _refusal(
        self, answer: http.client.HTTPResponse, epoch: int, headers: dict[str, str], tries: _Tries
    ) -> VbmError | None:
        """Raises where asking again is of no use."""
        where, status = self._web.where, answer.status
        if status in _BUSY:
            self._web.gate.overloaded(epoch, _retry_after(answer, self._web.clock))
            return HostTooBusyError(f"{where} is too busy to give out {self._path} (HTTP {status})")
        if status == 401:
            tries.login()
            self._web.pool.route.refused(headers)
            return None
        raise _final(status, self._path, where)


class _Head:
    """Asks for the size; ``done`` is the answer."""

    method: Final = "HEAD"
    status: Final = 200

    def __init__(self) -> None:
        self.done = 0
        self.finished = False
        self.untouched = True

    def headers(self) -> dict[str, str]:
        return {}

    def take(self, answer: http.client.HTTPResponse, path: DatastorePath) -> VbmError | None:
        text = answer.getheader("Content-Length") or ""
        answer.close()
        if not (text.isascii() and text.isdigit() and len(text) <= 19):
            return ConnectionLostError(f"no size came with {path}")
        self.done = int(text)
        self.finished = True
        return None


class _Range:
    """Fills the view from ``offset`` on; ``done`` bytes of it are there."""

    method: Final = "GET"
    status: Final = 206

    def __init__(self, view: memoryview, offset: int, size: int) -> None:
        self._view = view
        self._offset = offset
        self._size = size
        self.done = 0
        self.untouched = True

    @property
    def finished(self) -> bool:
        return self.done == len(self._view)

    def headers(self) -> dict[str, str]:
        first, last = self._span()
        return {"Range": f"bytes={first}-{last}"}

    def _span(self) -> tuple[int, int]:
        return self._offset + self.done, self._offset + len(self._view) - 1

    def take(self, answer: http.client.HTTPResponse, path: DatastorePath) -> VbmError | None:
        first, last = self._span()
        said = answer.getheader("Content-Range") or ""
        match = _CONTENT_RANGE.fullmatch(said)
        if match is None or (int(match[1]), int(match[2])) != (first, last):
            return WrongRangeError(f"asked for bytes {first}-{last} of {path}, got {said[:80]!r}")
        if match[3] not in {"*", str(self._size)}:
            raise FileChangedError(
                f"{path} had {self._size} bytes and has {match[3]} now",
                hint="was the VM moved, or its snapshot removed, during the backup?",
            )
        if answer.length not in {None, last - first + 1}:
            return WrongRangeError(f"asked for {last - first + 1} bytes of {path}, got {answer.length}")
        while not self.finished:
            step = self._view[self.done : self.done + _STEP_BYTES]
            count = answer.readinto(step)
            if count == 0:
                return ConnectionLostError(f"{path} broke off at byte {self._offset + self.done}")
            self.done += count
        return None


class _Tries:
    """Counts what goes wrong in one read; progress makes it forget."""

    def __init__(self, policy: ReadPolicy, path: str, where: str) -> None:
        self._policy = policy
        self._path = path
        self._where = where
        self._broken = self._busy = self._logins = 0
        self._stale = False

    def stale(self) -> None:
        """The try failed on a kept connection that the server had closed: no reason to wait, or to count."""
        self._stale = True

    def login(self) -> None:
        self._logins += 1
        if self._logins >= self._policy.login_tries:
            raise FileAccessRefusedError(
                f"{self._where} does not accept our session for {self._path} (HTTP 401)",
                hint="the account needs Datastore.Browse and Datastore.FileManagement on the datastore",
            )

    def after(self, problem: VbmError | None, progress_bytes: int) -> float:
        """How long to wait before the next try. Raises once there were too many."""
        if progress_bytes >= _PROGRESS_BYTES:
            self._broken = self._busy = self._logins = 0
        if problem is None:
            return 0.0
        if isinstance(problem, HostTooBusyError):
            self._busy += 1
            if self._busy >= self._policy.busy_tries:
                raise problem
            return 0.0  # the gate makes everybody wait
        if problem.permanent:
            raise problem
        if self._stale:
            self._stale = False
            return 0.0
        self._broken += 1
        if self._broken >= self._policy.broken.attempts:
            raise self._given_up(problem)
        return self._policy.broken.wait_seconds(self._broken)

    def _given_up(self, problem: VbmError) -> VbmError:
        if isinstance(problem, ConnectionLostError):
            return ReadBrokenOffError(
                f"reading {self._path} broke off {self._broken} times: {problem.message}",
                hint="check the network between here and the host, and the host's log (rhttpproxy, hostd)",
            )
        return problem


def _final(status: int, path: DatastorePath, where: str) -> VbmError:
    if status == 200:
        return RangeNotHonouredError(
            f"{where} ignores ranges: it sends all of {path} where a part was wanted"
        )
    if status == 404:
        return FileMissingError(f"there is no file {path} in {where}")
    if status == 416:
        return FileChangedError(f"{path} is shorter than it was (HTTP 416)")
    if status == 403:
        return FileAccessRefusedError(
            f"{where} does not give out {path} (HTTP 403)",
            hint="the account needs Datastore.Browse and Datastore.FileManagement on the datastore",
        )
    hint = "a running VM may hold the file, which happens where it has no snapshot" if status == 500 else ""
    return FileAccessRefusedError(f"{where} does not give out {path} (HTTP {status})", hint=hint)


def _retry_after(answer: http.client.HTTPResponse, clock: Clock) -> float | None:
    """Seconds, from a number or a date; None where the server names no time."""
    text = (answer.getheader("Retry-After") or "").strip()
    if text.isascii() and text.isdigit():
        return float(min(int(text[:9]), int(LONGEST_RETRY_AFTER)))
    try:
        moment = email.utils.parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError):
        return None
    if moment.tzinfo is None:
        return None
    return max(0.0, (moment - clock.now()).total_seconds())
