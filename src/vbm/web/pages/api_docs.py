"""``/api/docs``: the API for people, from the same document as for machines."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Final

from fastapi import APIRouter, Request
from fastapi.responses import Response

from vbm.security.roles import Permission
from vbm.web.access import needs
from vbm.web.pages.shell import page

router = APIRouter()
_DEEPEST: Final = 2  # objects within objects
Document = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Operation:
    """One of them, as the page shows it. ``fields``: of its request."""

    name: str
    method: str
    path: str
    summary: str
    description: str
    permission: str
    parameters: list[Document]
    fields: list[tuple[str, str, str]]
    request: str
    status: str
    answer: str
    problems: list[str]


@router.get("/api/docs", dependencies=[needs(Permission.SEE)])
def show_api(request: Request) -> Response:
    """Every operation: who may, what goes in, what comes out."""
    document = request.app.openapi()
    topics = [(tag, _of(document, tag["name"])) for tag in document["tags"]]
    return page(request, "api/docs.html", topics=topics, host=str(request.base_url).rstrip("/"))


def _of(document: Document, tag: str) -> list[Operation]:
    return [
        _shown(document, method, path, operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
        if tag in operation.get("tags", ())
    ]


def _shown(document: Document, method: str, path: str, operation: Document) -> Operation:
    good = next((status for status in operation["responses"] if status.startswith("2")), "200")
    answer = operation["responses"].get(good, {}).get("content", {}).get("application/json", {})
    body = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
    return Operation(
        name=operation["operationId"],
        method=method.upper(),
        path=path,
        summary=operation["summary"],
        description=_more(operation),
        permission=operation.get("x-permission", ""),
        parameters=operation.get("parameters", []),
        fields=_fields(document, body.get("schema", {})),
        request=_json(body.get("example")),
        status=good,
        answer=_json(answer.get("example")),
        problems=[status for status in operation["responses"] if not status.startswith("2")],
    )


def _json(example: Any) -> str:
    return "" if example is None else json.dumps(example, indent=2, ensure_ascii=False)


def _more(operation: Document) -> str:
    """What the summary does not say."""
    said = str(operation.get("description", ""))
    return "" if said.rstrip(".") == operation["summary"] else said


def _fields(document: Document, schema: Document, above: str = "") -> list[tuple[str, str, str]]:
    """(name, type, what it is) of each field of a request; those of objects in it as ``schedule.cron``."""
    found = _resolved(document, schema)
    rows = []
    for name, part in found.get("properties", {}).items():
        inner = _resolved(document, part)
        mark = " *" if name in found.get("required", []) else ""
        said = str(part.get("description", ""))
        nested = bool(inner.get("properties")) and above.count(".") < _DEEPEST
        rows.append(
            (f"{above}{name}{mark}", _type(document, part), said or ("" if nested else _default(part)))
        )
        if nested:
            rows += _fields(document, part, f"{above}{name}.")
    return rows


def _default(part: Document) -> str:
    return f"If left out: {json.dumps(part['default'])}" if part.get("default") not in (None, "", []) else ""


def _resolved(document: Document, schema: Document) -> Document:
    options = [one for one in schema.get("anyOf", ()) if one.get("type") != "null"]
    if options:
        return _resolved(document, options[0]) | {k: v for k, v in schema.items() if k == "description"}
    if "$ref" in schema:
        found: Document = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
        return found
    return schema


def _type(document: Document, schema: Document) -> str:
    found = _resolved(document, schema)
    if "enum" in found:
        return " | ".join(map(str, found["enum"]))
    if "const" in found:
        return str(found["const"])
    if found.get("type") == "array":
        return f"list of {_type(document, found.get('items', {}))}"
    return str(found.get("format") or found.get("type") or "any")
