"""Totals of ended runs for the metrics, begun with those that are known, and how full repositories are."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"

_BUCKETS = 11


def upgrade() -> None:
    totals = op.create_table(
        "run_totals",
        sa.Column("kind", sa.String(20), nullable=False),
        sa.Column("job_id", sa.String(40), nullable=False),
        sa.Column("vm_name", sa.Text(), nullable=False),
        sa.Column("vcenter_id", sa.String(40), nullable=False),
        sa.Column("repository_id", sa.String(40), nullable=False),
        sa.Column("succeeded", sa.Integer(), nullable=False),
        sa.Column("failed", sa.JSON(), nullable=False),
        sa.Column("seconds", sa.Float(53), nullable=False),
        sa.Column("lengths", sa.JSON(), nullable=False),
        sa.Column("sizes", sa.JSON(), nullable=False),
        sa.Column("last_success", sa.DateTime(), nullable=True),
        sa.Column("last_ended", sa.DateTime(), nullable=False),
        sa.Column("last_good", sa.Boolean(), nullable=True),
        sa.PrimaryKeyConstraint(
            "kind", "job_id", "vm_name", "vcenter_id", "repository_id", name="pk_run_totals"
        ),
    )
    op.create_table(
        "repository_usage",
        sa.Column("repository_id", sa.String(40), nullable=False),
        sa.Column("looked", sa.DateTime(), nullable=False),
        sa.Column("free_bytes", sa.BigInteger(), nullable=False),
        sa.Column("total_bytes", sa.BigInteger(), nullable=False),
        sa.Column("stored_bytes", sa.BigInteger(), nullable=True),
        sa.Column("problem", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("repository_id", name="pk_repository_usage"),
    )
    op.create_index(
        "ix_restore_points_sizes", "restore_points", ["repository_id", "vm_name", "size_bytes"], unique=False
    )
    found = _counted(op.get_bind())
    if found:
        op.bulk_insert(totals, found)


def _counted(connection: sa.Connection) -> list[dict[str, Any]]:
    """What ended so far; how long it took and how much it read is counted from now on."""
    runs = sa.table(
        "runs",
        sa.column("job_id", sa.String),
        sa.column("vm_name", sa.Text),
        sa.column("vcenter_id", sa.String),
        sa.column("state", sa.String),
        sa.column("error_code", sa.String),
        sa.column("kind", sa.String),
        sa.column("finished", sa.DateTime),
    )
    grouped = (runs.c.job_id, runs.c.vm_name, runs.c.vcenter_id, runs.c.state, runs.c.error_code)
    ended = runs.c.state.in_(("succeeded", "warning", "failed"))
    query = sa.select(*grouped, sa.func.count(), sa.func.max(runs.c.finished))
    query = query.where(ended, runs.c.kind == "backup", runs.c.finished.is_not(None)).group_by(*grouped)
    totals: dict[tuple[str, str, str], dict[str, Any]] = {}
    for job, vm, vcenter, state, code, count, last in connection.execute(query):
        total = totals.setdefault((job or "", vm, vcenter), _nothing(job or "", vm, vcenter, last))
        if state == "failed":
            reason = code or "unknown"
            total["failed"][reason] = total["failed"].get(reason, 0) + int(count)
        else:
            total["succeeded"] += int(count)
            total["last_success"] = max(last, total["last_success"] or last)
        total["last_ended"] = max(last, total["last_ended"])
    return list(totals.values())


def _nothing(job: str, vm: str, vcenter: str, ended: Any) -> dict[str, Any]:
    return {
        "kind": "backup",
        "job_id": job,
        "vm_name": vm,
        "vcenter_id": vcenter,
        "repository_id": "",
        "succeeded": 0,
        "failed": {},
        "seconds": 0.0,
        "lengths": [0] * _BUCKETS,
        "sizes": {},
        "last_success": None,
        "last_ended": ended,
        "last_good": None,
    }
