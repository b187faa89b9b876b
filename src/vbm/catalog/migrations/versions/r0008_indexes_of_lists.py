"""Indexes that answer the long lists without reading the rows themselves: months, VMs, restore points."""

from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    op.create_index("ix_runs_day", "runs", ["kind", "id", "state", "vcenter_id"])
    op.create_index("ix_runs_ended", "runs", ["kind", "vm_uuid", "state", "id"])
    op.create_index("ix_runs_results", "runs", ["job_id", "kind", "execution_id", "state", "created"])
    op.create_index("ix_restore_points_id", "restore_points", ["id"])
    op.create_index("ix_restore_points_name", "restore_points", ["vm_name", "id"])
    op.create_index(
        "ix_restore_points_newest", "restore_points", ["vm_uuid", "vcenter", "vm_name", "started"]
    )
