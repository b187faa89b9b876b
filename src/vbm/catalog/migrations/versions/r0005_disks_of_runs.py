"""How far each disk of a run is."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    with op.batch_alter_table("runs") as runs:
        runs.add_column(sa.Column("disks", sa.JSON(), nullable=False, server_default="[]"))
