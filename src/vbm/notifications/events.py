"""What can be told: one event, the same for every channel."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import Enum

from vbm.clock import rfc3339


class EventKind(Enum):
    """The names are a contract: filters of channels and receivers of webhooks use them."""

    SUCCESS = "success"
    WARNING = "warning"
    FAILURE = "failure"
    SNAPSHOT_LEFT = "snapshot_left"
    SNAPSHOT_GONE = "snapshot_gone"
    REPOSITORY_FULL = "repository_full"
    REPLICATION_FAILED = "replication_failed"
    VERIFY_FAILED = "verify_failed"
    SCHEDULE_MISSED = "schedule_missed"
    DIGEST = "digest"
    TEST = "test"

    @property
    def alarming(self) -> bool:
        """Whether somebody should act."""
        return self not in {EventKind.SUCCESS, EventKind.SNAPSHOT_GONE, EventKind.DIGEST, EventKind.TEST}


@dataclass(frozen=True, slots=True)
class Event:
    """``message`` is one sentence for people; ``facts`` are label and value in order; ``remedy`` is what to do.

    ``about`` names the thing itself (a snapshot, a repository) where job and VM do not tell two events apart.
    """

    kind: EventKind
    message: str
    time: datetime
    job: str = ""
    vm: str = ""
    run_id: str = ""
    about: str = ""
    remedy: str = ""
    facts: tuple[tuple[str, str], ...] = ()

    @property
    def key(self) -> tuple[str, str, str, str]:
        """Two events of one key say the same thing again."""
        return (self.kind.value, self.job, self.vm, self.about)

    def to_json(self) -> dict[str, object]:
        """The body of a webhook."""
        return {
            "event": self.kind.value,
            "job": self.job,
            "vm": self.vm,
            "run_id": self.run_id,
            "message": self.message,
            "time": rfc3339(self.time),
            "about": self.about,
            "remedy": self.remedy,
            "facts": dict(self.facts),
        }
