"""What templates write sizes, times, states and icons with: for people, the exact value on hover."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Final

from jinja2 import Environment, pass_context
from jinja2.runtime import Context
from markupsafe import Markup

from vbm.clock import rfc3339
from vbm.units import format_duration, format_size

STATIC: Final = Path(__file__).resolve().parents[1] / "static"
STATES: Final = {
    "succeeded": ("circle-check", "green", "Succeeded"),
    "warning": ("alert-triangle", "yellow", "Warning"),
    "failed": ("circle-x", "red", "Failed"),
    "cancelled": ("player-stop", "secondary", "Cancelled"),
    "running": ("loader-2", "blue", "Running"),
    "queued": ("clock", "secondary", "Queued"),
}
_MINUTE, _HOUR, _DAY = 60, 3600, 86400


def size(count: float | None) -> Markup:
    """``1.5 GiB``; ``–`` for None."""
    if count is None:
        return Markup('<span class="num">–</span>')
    return Markup('<span class="num" title="{} bytes">{}</span>').format(
        f"{int(count):,}", format_size(count)
    )


def duration(seconds: float | None) -> str:
    return "–" if seconds is None else format_duration(seconds)


def distance(seconds: float) -> str:
    """How far a moment is, in one unit: ``4 h``. app.js says it in the same words."""
    if seconds < 45:
        return "a moment"
    if seconds < 90 * _MINUTE:
        return f"{max(1, round(seconds / _MINUTE))} min"
    if seconds < 36 * _HOUR:
        return f"{round(seconds / _HOUR)} h"
    return f"{round(seconds / _DAY)} d"


@pass_context
def ago(
    context: Context, moment: datetime | None, now: datetime | None = None, never: str = "never"
) -> Markup:
    """``4 h ago``, ``in 3 h``; the moment itself on hover. ``now`` is the page's where it is not given."""
    present = now or context.get("now")
    if moment is None or present is None:
        return Markup("<span>{}</span>").format(never)
    seconds = (present - moment).total_seconds()
    words = distance(abs(seconds))
    return _time(moment, f"{words} ago" if seconds >= 0 else f"in {words}", "ago")


def stamp(moment: datetime | None, said: str = "") -> Markup:
    """The moment in UTC; scripts turn it into the zone of who reads."""
    if moment is None:
        return Markup("<span>–</span>")
    return _time(moment, said or f"{moment.astimezone(UTC):%Y-%m-%d %H:%M} UTC", "" if said else "stamp")


def _time(moment: datetime, said: str, kind: str) -> Markup:
    exact = f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
    return Markup('<time datetime="{}" title="{}" data-time="{}">{}</time>').format(
        rfc3339(moment), exact, kind, said
    )


def icon(name: str, more: str = "") -> Markup:
    """One of the sprite. Decoration: the word beside it says what is meant."""
    return Markup(
        '<svg class="icon {}" aria-hidden="true" focusable="false"><use href="/static/vendor/icons.svg#{}"></use></svg>'
    ).format(more, name)


def state(name: str, words: str = "") -> Markup:
    """A chip: never by colour alone."""
    mark, colour, said = STATES.get(name, ("alert-circle", "secondary", name))
    return Markup('<span class="badge bg-{}-lt state text-nowrap">{} {}</span>').format(
        colour, icon(mark), words or said
    )


def asset(path: str) -> str:
    """The address of a static file, another one whenever its content is."""
    mark = _mark(path)
    return f"/static/{path}?v={mark}" if mark else f"/static/{path}"


@cache
def _mark(path: str) -> str:
    file = STATIC / path
    return hashlib.sha256(file.read_bytes()).hexdigest()[:10] if file.is_file() else ""


def plural(count: int, one: str, many: str = "") -> str:
    """``1 VM``, ``1,200 VMs``."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def capital(text: str) -> str:
    """With a capital, unless its first word has a spelling of its own, as vCenter has."""
    first = text.partition(" ")[0]
    return (
        text if first in {"vbm", "vcsim"} or first[1:] != first[1:].lower() else text[:1].upper() + text[1:]
    )


def extend(environment: Environment) -> None:
    """Give the templates all of it."""
    environment.filters |= {
        "size": size,
        "duration": duration,
        "ago": ago,
        "stamp": stamp,
        "plural": plural,
        "capital": capital,
    }
    environment.globals |= {
        "icon": icon,
        "state": state,
        "asset": asset,
        "plural": plural,
        "STYLES": tuple(sorted(file.name for file in STATIC.glob("*.css"))),
    }
