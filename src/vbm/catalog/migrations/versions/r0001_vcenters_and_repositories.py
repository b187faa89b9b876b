"""vCenters and repositories."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "vcenters",
        sa.Column("id", sa.String(40), nullable=False),
        sa.Column("name", sa.String(200), nullable=False),
        sa.Column("name_key", sa.String(400), nullable=False),
        sa.Column("host", sa.String(255), nullable=False),
        sa.Column("port", sa.Integer(), nullable=False),
        sa.Column("username", sa.String(255), nullable=False),
        sa.Column("sealed_password", sa.Text(), nullable=False),
        sa.Column("thumbprint", sa.String(64), nullable=False),
        sa.Column("ca_file", sa.Text(), nullable=False),
        sa.Column("product", sa.String(255), nullable=False),
        sa.Column("instance_uuid", sa.String(64), nullable=False),
        sa.Column("created", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_vcenters"),
        sa.UniqueConstraint("name_key", name="uq_vcenters_name_key"),
    )
    op.create_table(
        "repositories",
        sa.Column("id", sa.String(40), nullable=False),
        sa.Column("name", sa.String(200), nullable=False),
        sa.Column("name_key", sa.String(400), nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("repository_id", sa.String(64), nullable=False),
        sa.Column("key_kind", sa.String(20), nullable=False),
        sa.Column("sealed_passphrase", sa.Text(), nullable=False),
        sa.Column("key_file", sa.Text(), nullable=False),
        sa.Column("chunk_size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("compression", sa.String(20), nullable=False),
        sa.Column("created", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_repositories"),
        sa.UniqueConstraint("name_key", name="uq_repositories_name_key"),
    )
