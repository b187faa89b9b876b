"""Which repositories lie on one file system."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    with op.batch_alter_table("repository_usage") as usage:
        usage.add_column(sa.Column("volume", sa.String(60), nullable=False, server_default=""))
