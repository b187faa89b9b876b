"""Runs of other kinds than backups, half-made VMs of restores, and how a verification ended."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    with op.batch_alter_table("runs") as runs:
        runs.add_column(sa.Column("kind", sa.String(20), nullable=False, server_default="backup"))
        runs.add_column(sa.Column("parameters", sa.JSON(), nullable=False, server_default="{}"))
        runs.alter_column("job_id", existing_type=sa.String(40), nullable=True)
    with op.batch_alter_table("restore_points") as points:
        points.add_column(sa.Column("verified_mode", sa.String(10), nullable=False, server_default=""))
        points.add_column(sa.Column("verified_good", sa.Boolean(), nullable=True))
    op.create_table(
        "half_made",
        sa.Column("id", sa.String(60), nullable=False),
        sa.Column("run_id", sa.String(40), nullable=False),
        sa.Column("vcenter_id", sa.String(40), nullable=False),
        sa.Column("document", sa.JSON(), nullable=False),
        sa.Column("created", sa.DateTime(), nullable=False),
        sa.Column("released", sa.Boolean(), nullable=False),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("last_tried", sa.DateTime(), nullable=True),
        sa.Column("last_error", sa.Text(), nullable=False),
        sa.Column("reported", sa.DateTime(), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_half_made"),
    )
