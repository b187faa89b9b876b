"""Jobs, executions, runs, restore points, the snapshot ledger, channels, audit, workers, settings."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    _audit()
    _channels()
    _deliveries()
    _executions()
    _jobs()
    _leases()
    _restore_points()
    _run_log()
    _runs()
    _settings()
    _snapshots()
    _workers()


def _audit() -> None:
    op.create_table(
        "audit",
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("time", sa.DateTime(), nullable=False),
        sa.Column("actor", sa.String(200), nullable=False),
        sa.Column("action", sa.String(60), nullable=False),
        sa.Column("target", sa.Text(), nullable=False),
        sa.Column("detail", sa.JSON(), nullable=False),
        sa.Column("hash", sa.String(64), nullable=False),
        sa.PrimaryKeyConstraint("number", name="pk_audit"),
    )


def _channels() -> None:
    op.create_table(
        "channels",
        sa.Column("id", sa.String(40), nullable=False),
        sa.Column("name", sa.String(200), nullable=False),
        sa.Column("name_key", sa.String(400), nullable=False),
        sa.Column("kind", sa.String(20), nullable=False),
        sa.Column("shown", sa.Text(), nullable=False),
        sa.Column("events", sa.JSON(), nullable=False),
        sa.Column("allow_loopback", sa.Boolean(), nullable=False),
        sa.Column("created", sa.DateTime(), nullable=False),
        sa.Column("sealed_url", sa.Text(), nullable=False),
        sa.Column("sealed_secret", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_channels"),
        sa.UniqueConstraint("name_key", name="uq_channels_name_key"),
    )


def _deliveries() -> None:
    op.create_table(
        "deliveries",
        sa.Column("id", sa.String(40), nullable=False),
        sa.Column("channel_id", sa.String(40), nullable=False),
        sa.Column("event", sa.JSON(), nullable=False),
        sa.Column("created", sa.DateTime(), nullable=False),
        sa.Column("next_try", sa.DateTime(), nullable=False),
        sa.Column("state", sa.String(20), nullable=False),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("error", sa.Text(), nullable=False),
        sa.Column("ended", sa.DateTime(), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_deliveries"),
    )
    op.create_index("ix_deliveries_channel", "deliveries", ["channel_id", "id"], unique=False)
    op.create_index("ix_deliveries_due", "deliveries", ["state", "next_try"], unique=False)


def _executions() -> None:
    op.create_table(
        "executions",
        sa.Column("id", sa.String(40), nullable=False),
        sa.Column("job_id", sa.String(40), nullable=False),
        sa.Column("trigger", sa.String(20), nullable=False),
        sa.Column("created", sa.DateTime(), nullable=False),
        sa.Column("slot", sa.DateTime(), nullable=True),
        sa.Column("vms", sa.Text(), nullable=False),
        sa.Column("mode", sa.String(10), nullable=False),
        sa.Column("state", sa.String(20), nullable=False),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("not_before", sa.DateTime(), nullable=True),
        sa.Column("error", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_executions"),
    )
    op.create_index("ix_executions_state", "executions", ["state", "id"], unique=False)
    op.create_index("uq_executions_slot", "executions", ["job_id", "slot"], unique=True)


def _jobs() -> None:
    op.create_table(
        "jobs",
        sa.Column("id", sa.String(40), nullable=False),
        sa.Column("name", sa.String(200), nullable=False),
        sa.Column("name_key", sa.String(400), nullable=False),
        sa.Column("enabled", sa.Boolean(), nullable=False),
        sa.Column("vcenter_id", sa.String(40), nullable=False),
        sa.Column("repository_id", sa.String(40), nullable=False),
        sa.Column("document", sa.JSON(), nullable=False),
        sa.Column("created", sa.DateTime(), nullable=False),
        sa.Column("updated", sa.DateTime(), nullable=False),
        sa.Column("last_slot", sa.DateTime(), nullable=False),
        sa.Column("next_run", sa.DateTime(), nullable=True),
        sa.Column("last_started", sa.DateTime(), nullable=True),
        sa.Column("last_success", sa.DateTime(), nullable=True),
        sa.Column("last_state", sa.String(20), nullable=False),
        sa.Column("unmatched", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_jobs"),
        sa.UniqueConstraint("name_key", name="uq_jobs_name_key"),
    )
    op.create_index("ix_jobs_next_run", "jobs", ["next_run"], unique=False)


def _leases() -> None:
    op.create_table(
        "leases",
        sa.Column("name", sa.String(60), nullable=False),
        sa.Column("holder", sa.String(40), nullable=False),
        sa.Column("until", sa.Float(precision=53), nullable=False),
        sa.Column("done", sa.DateTime(), nullable=True),
        sa.PrimaryKeyConstraint("name", name="pk_leases"),
    )


def _restore_points() -> None:
    op.create_table(
        "restore_points",
        sa.Column("repository_id", sa.String(40), nullable=False),
        sa.Column("id", sa.String(40), nullable=False),
        sa.Column("vm_uuid", sa.String(64), nullable=False),
        sa.Column("vm_name", sa.Text(), nullable=False),
        sa.Column("vcenter", sa.Text(), nullable=False),
        sa.Column("started", sa.DateTime(), nullable=False),
        sa.Column("finished", sa.DateTime(), nullable=False),
        sa.Column("read_mode", sa.String(20), nullable=False),
        sa.Column("consistency", sa.String(20), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("new_bytes", sa.BigInteger(), nullable=False),
        sa.Column("job_id", sa.String(40), nullable=False),
        sa.Column("run_id", sa.String(60), nullable=False),
        sa.Column("pinned", sa.Boolean(), nullable=False),
        sa.Column("verified", sa.DateTime(), nullable=True),
        sa.PrimaryKeyConstraint("repository_id", "id", name="pk_restore_points"),
    )
    op.create_index("ix_restore_points_vm", "restore_points", ["vm_uuid", "id"], unique=False)


def _run_log() -> None:
    op.create_table(
        "run_log",
        sa.Column("id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("run_id", sa.String(40), nullable=False),
        sa.Column("time", sa.DateTime(), nullable=False),
        sa.Column("level", sa.String(10), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_run_log"),
    )
    op.create_index("ix_run_log_run", "run_log", ["run_id", "id"], unique=False)


def _runs() -> None:
    op.create_table(
        "runs",
        sa.Column("id", sa.String(40), nullable=False),
        sa.Column("execution_id", sa.String(40), nullable=False),
        sa.Column("job_id", sa.String(40), nullable=False),
        sa.Column("job_name", sa.String(200), nullable=False),
        sa.Column("vm_uuid", sa.String(64), nullable=False),
        sa.Column("vm_name", sa.Text(), nullable=False),
        sa.Column("vcenter_id", sa.String(40), nullable=False),
        sa.Column("repository_id", sa.String(40), nullable=False),
        sa.Column("datastores", sa.JSON(), nullable=False),
        sa.Column("document", sa.JSON(), nullable=False),
        sa.Column("created", sa.DateTime(), nullable=False),
        sa.Column("trigger", sa.String(20), nullable=False),
        sa.Column("priority", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(20), nullable=False),
        sa.Column("phase", sa.String(20), nullable=False),
        sa.Column("bytes_total", sa.BigInteger(), nullable=False),
        sa.Column("bytes_done", sa.BigInteger(), nullable=False),
        sa.Column("started", sa.DateTime(), nullable=True),
        sa.Column("reading_since", sa.DateTime(), nullable=True),
        sa.Column("finished", sa.DateTime(), nullable=True),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("worker_id", sa.String(40), nullable=False),
        sa.Column("token", sa.Integer(), nullable=False),
        sa.Column("cancel_requested_at", sa.DateTime(), nullable=True),
        sa.Column("cancel_reason", sa.Text(), nullable=False),
        sa.Column("deadline", sa.DateTime(), nullable=True),
        sa.Column("error_code", sa.String(60), nullable=False),
        sa.Column("error_message", sa.Text(), nullable=False),
        sa.Column("error_hint", sa.Text(), nullable=False),
        sa.Column("restore_point_id", sa.String(40), nullable=False),
        sa.Column("snapshot_state", sa.String(20), nullable=False),
        sa.Column("warnings", sa.JSON(), nullable=False),
        sa.Column("result", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_runs"),
    )
    op.create_index("ix_runs_execution", "runs", ["execution_id"], unique=False)
    op.create_index("ix_runs_job", "runs", ["job_id", "id"], unique=False)
    op.create_index("ix_runs_state", "runs", ["state", "id"], unique=False)
    op.create_index("ix_runs_vm", "runs", ["vm_uuid", "id"], unique=False)
    op.create_index("ix_runs_vm_name", "runs", ["vm_name", "id"], unique=False)


def _settings() -> None:
    op.create_table(
        "settings",
        sa.Column("name", sa.String(60), nullable=False),
        sa.Column("value", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_settings"),
    )


def _snapshots() -> None:
    op.create_table(
        "snapshots",
        sa.Column("name", sa.String(80), nullable=False),
        sa.Column("run_id", sa.String(40), nullable=False),
        sa.Column("engine_run_id", sa.String(60), nullable=False),
        sa.Column("job_name", sa.String(200), nullable=False),
        sa.Column("vcenter_id", sa.String(40), nullable=False),
        sa.Column("vcenter_name", sa.String(200), nullable=False),
        sa.Column("vcenter_uuid", sa.String(64), nullable=False),
        sa.Column("vm_moref", sa.String(80), nullable=False),
        sa.Column("vm_uuid", sa.String(64), nullable=False),
        sa.Column("vm_name", sa.Text(), nullable=False),
        sa.Column("repository_id", sa.String(64), nullable=False),
        sa.Column("created", sa.DateTime(), nullable=False),
        sa.Column("timeout_seconds", sa.Integer(), nullable=False),
        sa.Column("released", sa.Boolean(), nullable=False),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("last_tried", sa.DateTime(), nullable=True),
        sa.Column("last_error", sa.Text(), nullable=False),
        sa.Column("reported", sa.DateTime(), nullable=True),
        sa.Column("datastores", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_snapshots"),
    )
    op.create_index("ix_snapshots_vcenter", "snapshots", ["vcenter_id"], unique=False)
    op.create_index("ix_snapshots_vm", "snapshots", ["vm_uuid"], unique=False)


def _workers() -> None:
    op.create_table(
        "workers",
        sa.Column("id", sa.String(40), nullable=False),
        sa.Column("name", sa.String(200), nullable=False),
        sa.Column("host", sa.String(255), nullable=False),
        sa.Column("pid", sa.Integer(), nullable=False),
        sa.Column("process", sa.String(200), nullable=False),
        sa.Column("slots", sa.Integer(), nullable=False),
        sa.Column("started", sa.DateTime(), nullable=False),
        sa.Column("version", sa.String(40), nullable=False),
        sa.Column("heartbeat", sa.Float(precision=53), nullable=False),
        sa.Column("dead", sa.Boolean(), nullable=False),
        sa.Column("draining", sa.Boolean(), nullable=False),
        sa.Column("labels", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_workers"),
    )
