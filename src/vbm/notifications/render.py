"""An event in words: subject, plain text and HTML."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

from vbm.clock import rfc3339
from vbm.notifications.events import Event, EventKind

_MARKS: Final = {
    EventKind.SUCCESS: ("OK", "#2f7d32"),
    EventKind.WARNING: ("Warning", "#9a5b00"),
    EventKind.FAILURE: ("Failed", "#b3261e"),
    EventKind.SNAPSHOT_LEFT: ("Snapshot left behind", "#b3261e"),
    EventKind.SNAPSHOT_GONE: ("Snapshot gone", "#2f7d32"),
    EventKind.REPOSITORY_FULL: ("Repository nearly full", "#9a5b00"),
    EventKind.REPLICATION_FAILED: ("Replication failed", "#b3261e"),
    EventKind.VERIFY_FAILED: ("Verification failed", "#b3261e"),
    EventKind.SCHEDULE_MISSED: ("Schedule missed", "#9a5b00"),
    EventKind.DIGEST: ("Daily report", "#3a5a8c"),
    EventKind.TEST: ("Test", "#3a5a8c"),
}

_environment = Environment(
    loader=PackageLoader("vbm.notifications"),
    autoescape=select_autoescape(("html",)),
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


@dataclass(frozen=True, slots=True)
class Rendered:
    subject: str
    text: str
    html: str


def render(event: Event) -> Rendered:
    """Subject (one line, no control characters), plain text and HTML of one event."""
    mark, colour = _MARKS[event.kind]
    subject = ": ".join(part for part in (f"[vbm] {mark}", event.vm or event.about or event.job) if part)
    facts = [*(pair for pair in (("VM", event.vm), ("Job", event.job)) if pair[1]), *event.facts]
    if event.run_id:
        facts.append(("Run", event.run_id))
    words = {"event": event, "mark": mark, "colour": colour, "facts": facts, "time": rfc3339(event.time)}
    return Rendered(
        subject="".join(char if char.isprintable() else " " for char in subject)[:160],
        text=_environment.get_template("event.txt").render(words),
        html=_environment.get_template("event.html").render(words),
    )
