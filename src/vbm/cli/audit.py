"""``vbm audit``: who did what."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from vbm.cli import output
from vbm.cli.groups import examples, group
from vbm.cli.options import Json, Utc
from vbm.cli.output import Column
from vbm.clock import rfc3339
from vbm.errors import DamagedError
from vbm.services import trail
from vbm.services.trail import AuditFilter
from vbm.services.workspace import Workspace

app = group("See who did what, and check that nobody has changed the record.")


class AuditBrokenError(DamagedError):
    """An entry of the audit trail was changed, removed or put in."""

    code = "audit-broken"


@app.command("list", epilog=examples("vbm audit list", "vbm audit list --limit 500 --json"))
def list_(
    *,
    limit: Annotated[int, typer.Option(min=1, max=100_000, metavar="N", help="At most so many.")] = 50,
    before: Annotated[int, typer.Option(metavar="NUMBER", help="Older than this entry: the next page.")] = 0,
    as_json: Json = False,
    utc: Utc = False,
) -> None:
    """List the audit trail, the newest first."""
    with Workspace.from_environment() as workspace:
        found = trail.listing(workspace, AuditFilter(before=before, limit=limit))
    if as_json:
        output.document(
            [
                {
                    "number": e.number,
                    "time": rfc3339(e.time),
                    "actor": e.actor,
                    "action": e.action,
                    "target": e.target,
                    "detail": e.detail,
                    "hash": e.hash,
                }
                for e in found
            ]
        )
        return
    if not found:
        output.result("Nothing has been written yet." if not before else "Nothing is older than that.")
        return
    columns = (
        Column("No.", right=True),
        Column("Time"),
        Column("Who"),
        Column("What"),
        Column("On"),
        Column("Detail", from_width=140),
    )
    output.table(
        columns,
        [
            (e.number, output.when(e.time, utc=utc), e.actor, e.action, e.target, json.dumps(e.detail)[:200])
            for e in found
        ],
    )


@app.command("verify", epilog=examples("vbm audit verify"))
def verify(as_json: Json = False) -> None:
    """Check that no entry was changed, removed from between or put in.

    Keep the last hash elsewhere now and then: entries cut off at the end are found only by comparing it.
    """
    with Workspace.from_environment() as workspace:
        verdict = trail.check(workspace)
    if as_json:
        output.document(
            {
                "entries": verdict.count,
                "whole": not verdict.broken_at,
                "broken_at": verdict.broken_at or None,
                "last_hash": verdict.last_hash,
            }
        )
    elif not verdict.broken_at:
        output.result(
            f"The audit trail is whole: {verdict.count} entries, the last hash is {verdict.last_hash}."
        )
    if verdict.broken_at:
        raise AuditBrokenError(
            f"the audit trail was tampered with at entry {verdict.broken_at}",
            hint="compare with a copy of the database from before; entries up to the one before are as written",
        )
