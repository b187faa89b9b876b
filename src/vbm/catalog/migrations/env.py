"""Run by Alembic for each upgrade; the connection and its transaction belong to the caller."""

from alembic import context

from vbm.catalog.catalog import METADATA

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=METADATA,
    render_as_batch=True,
    transactional_ddl=True,
)
with context.begin_transaction():
    context.run_migrations()
