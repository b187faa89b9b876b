"""What every part of one running lab shares."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from vbm.clock import Clock
from vbm.lab.event_log import EventLog
from vbm.lab.events import Events
from vbm.lab.faults import Rules
from vbm.lab.leases import Leases
from vbm.lab.machine import Machine
from vbm.lab.sessions import Sessions, Users, UserSession
from vbm.lab.state import LabState
from vbm.lab.tasks import Tasks
from vbm.lab.views import Views

if TYPE_CHECKING:
    from vbm.lab.property_filters import Collectors
    from vbm.lab.property_specs import Texts


class Changes:
    """Lets waiters sleep until something may have changed. Thread-safe."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._count = 0

    @property
    def count(self) -> int:
        return self._count

    def notify(self) -> None:
        with self._condition:
            self._count += 1
            self._condition.notify_all()

    def wait(self, seen: int, seconds: float) -> int:
        """The new count, once it differs from ``seen`` or the time is over."""
        with self._condition:
            self._condition.wait_for(lambda: self._count != seen, seconds)
            return self._count


@dataclass(slots=True)
class Options:
    """How strict or odd this lab is. Changed by tests and by ``serve``."""

    licence: str = "full"  # "free": every write is refused, as by a free ESXi licence
    lease_timeout_seconds: int = 300
    lease_host_star: bool = False  # device URLs say "*" for the host, as ESXi does
    folder_max_requests: int = 0  # beyond that many GETs of /folder at once: 503; 0 = no limit
    task_delay_seconds: float = 0.0
    keep_alive_seconds: float = 120.0


@dataclass(slots=True)
class Context:
    """One lab's state and everything that lives only as long as its process."""

    state: LabState
    event_log: EventLog
    clock: Clock
    rules: Rules
    users: Users
    sessions: Sessions
    tasks: Tasks
    changes: Changes
    leases: Leases
    views: Views
    options: Options
    collectors: Collectors
    texts: Texts
    find: Callable[[Any, UserSession | None], Any]  # (reference, session) -> the managed object, or WireFault
    folder_requests: int = 0
    stopping: threading.Event = field(default_factory=threading.Event)
    events: Events = field(default_factory=Events)
    sha1_thumbprint: Callable[[], str] = str
    actions: dict[str, Any] = field(default_factory=dict)

    def record_event(self, kind: str, machine: Machine) -> None:
        """Something happened to a machine that clients may ask the EventManager about."""
        self.events.add(kind, machine, self.clock.now())

    def log(self, event: str, **fields: object) -> None:
        """One line in ``events.jsonl``."""
        self.event_log.write(event, fields)


def who(session: UserSession | None) -> str:
    return session.user.name if session else ""
