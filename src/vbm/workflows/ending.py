"""How a run ends: its state, the job's last result, the totals and the messages about it, in one transaction."""

from __future__ import annotations

from typing import Any

from vbm.catalog.jobs import note_ended
from vbm.catalog.runs import ENDED, RunRow, change_run
from vbm.catalog.totals import count_run
from vbm.notifications.events import Event, EventKind
from vbm.units import format_duration, format_size
from vbm.workflows.live import LiveRun
from vbm.workflows.outbox import emit

Document = dict[str, Any]
_EVENTS = {"succeeded": EventKind.SUCCESS, "warning": EventKind.WARNING, "failed": EventKind.FAILURE}
_NOUNS = {
    "backup": "The backup of",
    "restore": "The restore of",
    "verify": "The verification of",
    "check": "The check of repository",
    "gc": "The garbage collection of repository",
}
_DONE = {
    "backup": "was backed up",
    "restore": "was restored",
    "verify": "was verified",
    "check": "was checked",
    "gc": "was rid of garbage",
}


def finish(live: LiveRun, outcome: Document) -> Document:
    """Write how it ended; the second time nothing."""
    live.progress.flush()
    error = outcome.get("error")
    now = live.doors.clock.now()
    with live.doors.catalog.writing() as session:
        row = session.get(RunRow, live.run.id)
        if row is None or row.token != live.token:
            return {"state": "failed"}
        if row.state in ENDED:
            return {"state": row.state}
        warnings = [*live.progress.warnings, *_added(outcome)]
        warnings = list(dict.fromkeys([*row.warnings, *warnings]))
        state = _state(error, warnings)
        values: Document = {"state": state, "phase": "done", "finished": now, "warnings": warnings}
        if error is not None:
            values |= {f"error_{part}": error[part] for part in ("code", "message", "hint")}
        change_run(session, live.run.id, live.token, values)
        if live.run.job_id:
            note_ended(session, live.run.job_id, state, now)
        count_run(session, row)
        if state in _EVENTS:
            emit(session, _event(row, state, error, warnings), live.run.document)
    return {"state": state}


def _added(outcome: Document) -> list[str]:
    done = outcome.get("ok", {})
    kept, unverified = done.get("retention_error"), done.get("verify_error")
    added = [f"the restore point is not verified: {unverified}; retention waits"] if unverified else []
    return added + ([f"retention did not run: {kept}"] if kept else [])


def _state(error: Document | None, warnings: list[str]) -> str:
    if error is None:
        return "warning" if warnings else "succeeded"
    return "cancelled" if error["code"] == "cancelled" else "failed"


def _event(row: RunRow, state: str, error: Document | None, warnings: list[str]) -> Event:
    assert row.finished is not None  # noqa: S101 - just written
    seconds = (row.finished - (row.started or row.created)).total_seconds()
    if error is not None:
        message, remedy = f"{_NOUNS[row.kind]} {row.vm_name} failed: {error['message']}", error["hint"]
    elif warnings:
        message, remedy = f"{row.vm_name} {_DONE[row.kind]}, but: {warnings[0]}", ""
    else:
        message, remedy = f"{row.vm_name} {_DONE[row.kind]} in {format_duration(seconds)}.", ""
    facts = [("Duration", format_duration(seconds)), *_facts(row)]
    facts += [(f"Warning {number}", warning) for number, warning in enumerate(warnings[1:5], 2)]
    return Event(
        kind=EventKind.VERIFY_FAILED
        if row.kind in {"verify", "check"} and state == "failed"
        else _EVENTS[state],
        message=message,
        time=row.finished,
        job=row.job_name,
        vm=row.vm_name if row.vm_uuid else "",
        run_id=row.id,
        about="" if row.kind == "backup" else row.restore_point_id or row.vm_name,
        remedy=remedy,
        facts=tuple(facts),
    )


def _facts(row: RunRow) -> list[tuple[str, str]]:
    """What people want to know of it besides."""
    if row.kind == "backup":
        facts = [("Snapshot", row.snapshot_state)]
        if row.result:
            read, new = row.result["bytes_read"], row.result["bytes_new"]
            facts += [("Read", format_size(read)), ("New", format_size(new))]
            facts.append(("Restore point", row.restore_point_id))
        return facts
    if row.kind in {"check", "gc"}:
        return [("Repository", row.vm_name)]
    facts = [("Restore point", row.restore_point_id)]
    if row.kind == "restore":
        facts.append(
            ("Restored", "in place" if row.parameters["in_place"] else f"as {row.parameters['name']}")
        )
    else:
        facts.append(("Verified", row.parameters["mode"]))
    return facts
