"""In which folder each VM lies."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    op.create_table(
        "vm_places",
        sa.Column("vcenter_id", sa.String(40), primary_key=True),
        sa.Column("vm_uuid", sa.String(64), primary_key=True),
        sa.Column("folder", sa.Text(), nullable=False),
        sa.Column("folder_key", sa.Text(), nullable=False),
    )
