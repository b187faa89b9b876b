"""``vbm db``: the product's own database."""

from __future__ import annotations

from vbm.cli import output
from vbm.cli.groups import examples, group
from vbm.cli.options import Json
from vbm.services import database

app = group("Look after the product's own database.")


@app.command("upgrade", epilog=examples("vbm db upgrade"))
def upgrade(as_json: Json = False) -> None:
    """Bring the database to this version of the product.

    A new database is made by itself; an older one waits for this command, so that programs of both
    versions can be stopped and a copy made first.
    """
    before, after = database.upgrade()
    if as_json:
        output.document({"before": before, "after": after})
    elif before == after:
        output.result(f"The database is at version {after} already.")
    else:
        output.result(f"The database went from {before or 'empty'} to version {after}.")
