"""What commands print: results on standard output, everything else on standard error.

With ``--json`` exactly one JSON document goes to standard output. Names that people chose are printed
as they are: no markup in them is obeyed and control characters are shown escaped.
"""

from __future__ import annotations

import functools
import json
import os
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, TextIO

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from vbm.clock import Clock, SystemClock, parse_rfc3339
from vbm.units import format_duration

_PIPED_WIDTH: Final = 240  # a pipe has no width: nothing is cut or folded


def out() -> Console:
    """Standard output, where results go."""
    return _console(sys.stdout)


def err() -> Console:
    """Standard error, where progress, questions and remarks go; the same console each time, above its bars."""
    return _standard_error(sys.stderr)


@functools.cache
def _standard_error(stream: TextIO) -> Console:
    return _console(stream)


def _console(stream: TextIO) -> Console:
    width = None if stream.isatty() or "COLUMNS" in os.environ else _PIPED_WIDTH
    return Console(file=stream, width=width, highlight=False, markup=False, emoji=False)


def clean(value: object) -> str:
    """The text with control characters escaped, so that a name can't steer the terminal."""
    text = str(value)
    return text if text.isprintable() else "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def document(value: Any) -> None:
    """The one JSON document of a command run with ``--json``."""
    plain = (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=not plain) + "\n")


def say(message: str, style: str = "") -> None:
    """A sentence about the work, on standard error."""
    err().print(Text(message, style=style), soft_wrap=True)


def result(message: str, style: str = "") -> None:
    """A sentence that is the command's result, on standard output."""
    out().print(Text(message, style=style), soft_wrap=True)


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a table. ``from_width``: left out on terminals narrower than that."""

    title: str
    right: bool = False
    whole: bool = False  # never folded
    from_width: int = 0


def table(columns: Sequence[Column], rows: Iterable[Sequence[object]], *, title: str = "") -> None:
    """Rows under headings on standard output, folded to the terminal's width, never cut."""
    console = out()
    shown = [i for i, c in enumerate(columns) if console.width >= c.from_width]
    grid = Table(box=box.SIMPLE_HEAD, title=title or None, title_justify="left", pad_edge=False)
    for i in shown:
        c = columns[i]
        grid.add_column(
            c.title, justify="right" if c.right else "left", no_wrap=c.whole or c.right, overflow="fold"
        )
    for row in rows:
        grid.add_row(*(_cell(row[i]) for i in shown))
    console.print(grid)


def _cell(value: object) -> Text:
    return value if isinstance(value, Text) else Text(clean(value))


def facts(pairs: Iterable[tuple[str, object]], *, title: str = "") -> None:
    """Names and values, one pair a line, on standard output."""
    console = out()
    if title:
        console.print(Text(title, style="bold"), soft_wrap=True)
    grid = Table(box=None, show_header=False, pad_edge=False)
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(overflow="fold")
    for name, value in pairs:
        grid.add_row(Text(name), _cell(value))
    console.print(grid)


def when(moment: datetime, *, utc: bool, seconds: bool = True) -> str:
    """A time for people: in this machine's zone, or in UTC and saying so."""
    form = "%Y-%m-%d %H:%M:%S" if seconds else "%Y-%m-%d %H:%M"
    return moment.astimezone(UTC).strftime(f"{form}Z") if utc else moment.astimezone().strftime(form)


def stamp(text: str, *, utc: bool, seconds: bool = True) -> str:
    """``when`` of an RFC 3339 text."""
    return when(parse_rfc3339(text), utc=utc, seconds=seconds)


def ago(moment: datetime, clock: Clock | None = None) -> str:
    """How long ago, roughly: ``3 h 07 min ago``."""
    seconds = ((clock or SystemClock()).now() - moment).total_seconds()
    return "just now" if seconds < 10 else f"{format_duration(seconds)} ago"
