"""``vbm demo``: the main job from end to end, on an embedded lab, compared byte for byte."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.status import Status
from rich.text import Text

from vbm.cli import output
from vbm.cli.backup import result_json
from vbm.cli.groups import examples, single
from vbm.cli.options import Json
from vbm.cli.output import Column
from vbm.cli.signals import cancellable
from vbm.clock import SystemClock
from vbm.errors import CancelledError
from vbm.services import demo as demos
from vbm.services.demo import BackupRow, Comparison, DemoReport
from vbm.units import format_duration, format_size

app = single()


@app.command(epilog=examples("vbm demo", "vbm demo --home demo-home"))
def demo(
    home: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Keep everything here to look at; a temporary folder if left out."),
    ] = None,
    *,
    as_json: Json = False,
) -> None:
    """Show the whole product on an embedded lab: nothing is needed and nothing of yours is touched.

    Two virtual machines are backed up in full, one of them again while its guest writes, and once more.
    All is verified, then restored to a file and as a new machine, and compared byte for byte with the
    disk at the instant of each snapshot. Ends with exit code 1 if anything differs.
    """
    with (
        cancellable("the snapshot is being removed and the lab ended") as cancel,
        _folder(home) as folder,
        _Steps() as steps,
    ):
        report = demos.run(folder, steps, cancel)
    if as_json:
        output.document(_json(report))
    else:
        _show(report, kept=home is not None)
    if not report.good:
        raise typer.Exit(1)


@contextmanager
def _folder(home: Path | None) -> Iterator[Path]:
    """The folder asked for, or a temporary one that is gone afterwards unless something went wrong."""
    if home is not None:
        yield home.expanduser().absolute()
        return
    folder = Path(tempfile.mkdtemp(prefix="vbm-demo-"))
    try:
        yield folder
    except CancelledError:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    except BaseException:
        output.say(f"What the demo made is kept to look at: {folder}", style="dim")
        raise
    shutil.rmtree(folder, ignore_errors=True)


class _Steps:
    """A line for each step on standard error; on a terminal the one that runs has a spinner."""

    def __init__(self) -> None:
        self._clock = SystemClock()
        self._began = 0.0
        self._title = ""
        self._status: Status | None = None

    def __enter__(self) -> _Steps:
        return self

    def __exit__(self, *_exc: object) -> None:
        self._end()

    def step(self, title: str) -> None:
        self._title, self._began = title, self._clock.monotonic()
        if output.err().is_terminal:
            self._status = output.err().status(Text(f"{title} …"))
            self._status.start()

    def done(self, outcome: str) -> None:
        self._end()
        line = Text("✓ ", style="green")
        line.append(self._title, style="default")
        line.append(f"\n    {output.clean(outcome)}", style="dim")
        line.append(f"  ({format_duration(self._clock.monotonic() - self._began)})", style="dim")
        output.err().print(line, soft_wrap=True)

    def _end(self) -> None:
        if self._status is not None:
            self._status.stop()
            self._status = None


def _show(report: DemoReport, *, kept: bool) -> None:
    columns = (
        Column("Backup"),
        Column("Read", right=True),
        Column("Changed", right=True),
        Column("Stored", right=True),
        Column("Ratio", right=True),
        Column("Time", right=True),
        Column("Snapshot"),
    )
    output.table(columns, [_row(row) for row in report.rows])
    written = format_size(report.guest_bytes_written)
    output.result(f"The guest wrote {written} while its second backup ran.")
    for comparison in report.comparisons:
        output.out().print(_verdict(comparison), soft_wrap=True)
    checked = "every restore point verified" if report.verified else "NOT VERIFIED"
    left = "no snapshot left" if report.snapshots_left == 0 else f"{report.snapshots_left} SNAPSHOTS LEFT"
    output.result(f"Done in {format_duration(report.seconds)}: {checked}, {left}.")
    if kept:
        output.say(f"Look around: export VBM_HOME={report.home / 'vbm'}; vbm restore-point list", style="dim")


def _row(row: BackupRow) -> tuple[object, ...]:
    r = row.result
    snapshot = Text("removed", style="green") if r.snapshot_removed else Text("LEFT", style="bold red")
    ratio = f"{r.bytes_read / r.bytes_new:.1f}×" if r.bytes_new else "–"
    return (
        row.title,
        format_size(r.bytes_read),
        format_size(r.bytes_changed),
        format_size(r.bytes_new),
        ratio,
        format_duration(r.duration_seconds),
        snapshot,
    )


def _verdict(comparison: Comparison) -> Text:
    line = Text(f"Restored {comparison.title}: ")
    if comparison.identical:
        line.append("identical", style="bold green").append(" to the disk at the instant of the snapshot")
    else:
        line.append("DIFFERENT", style="bold red").append(" from the disk at the instant of the snapshot")
    clean = comparison.file_system_clean
    if clean is not None:
        line.append(
            "; e2fsck: clean" if clean else "; e2fsck: ERRORS", style="default" if clean else "bold red"
        )
    return line


def _json(report: DemoReport) -> dict[str, object]:
    return {
        "good": report.good,
        "verified": report.verified,
        "snapshots_left": report.snapshots_left,
        "guest_bytes_written": report.guest_bytes_written,
        "duration_seconds": round(report.seconds, 3),
        "backups": [{"title": row.title, **result_json(row.result)} for row in report.rows],
        "restores": [
            {"what": c.title, "identical": c.identical, "file_system_clean": c.file_system_clean}
            for c in report.comparisons
        ],
    }
