"""Writes the reference page of the API from the routes themselves: ``python -m vbm.web.reference DIR``."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any, Final

from vbm.services.workspace import Workspace
from vbm.settings import Settings
from vbm.web.app import create_app
from vbm.web.options import WebOptions

_HEAD: Final = "<!-- Written by `make docs` from the code; edits are lost. -->\n"
_ROLES: Final = {"see": "viewer", "operate": "operator", "manage": "admin"}


def main(arguments: list[str]) -> int:
    """Write the page into a folder."""
    (folder,) = arguments
    (Path(folder) / "api.md").write_text(page(), encoding="utf-8")
    return 0


def page() -> str:
    """Every operation by its topic: how it is asked for, what it is called, who may."""
    with tempfile.TemporaryDirectory() as home:
        space = Workspace(Settings(Path(home), f"sqlite:///{home}/vbm.db"))
        with space:
            document = create_app(space, WebOptions()).openapi()
    topics = [_topic(document, tag) for tag in document["tags"]]
    return f"{_HEAD}\n# API\n\n{document['info']['description']}\n\n{_MORE}\n\n" + "\n".join(topics)


_MORE: Final = (
    "How to call it: [how-to/api.md](../how-to/api.md). Fields, examples and problems of each operation: `/api/docs` "
    "of a running server, or `/api/v1/openapi.json` for machines. The role named is the least that may; names of "
    "operations stay the same from version to version."
)


def _topic(document: dict[str, Any], tag: dict[str, str]) -> str:
    rows = [
        f"| `{method.upper()} {path}` | `{operation['operationId']}` | "
        f"{_ROLES.get(operation.get('x-permission', ''), 'anybody')} | {_said(operation)} |"
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
        if tag["name"] in operation.get("tags", ())
    ]
    heading = f"## {tag['x-displayName']}\n\n{tag['description']}\n"
    return "\n".join([heading, "| Operation | Name | Role | What |", "|---|---|---|---|", *rows, ""])


def _said(operation: dict[str, Any]) -> str:
    return str(operation["summary"]).replace("|", r"\|")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
