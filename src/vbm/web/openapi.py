"""The OpenAPI document: what the framework knows of the routes, and what it does not: who may, what may go wrong."""

from __future__ import annotations

from typing import Any, Final

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.routing import iter_route_contexts

from vbm.web.api.examples import ANSWERS, REQUESTS
from vbm.web.problems import MEDIA_TYPE, PROBLEM_SCHEMA

Document = dict[str, Any]
DESCRIPTION: Final = (
    "Send an API key as `X-API-Key`. Lists answer `{items, next_cursor}`; errors are RFC 9457 problems with a "
    "stable `code`; times are RFC 3339 in UTC; sizes are bytes. Everything that is changed has an `ETag`, which a "
    "change sends back as `If-Match`. A POST with an `Idempotency-Key` is carried out once within a day, however "
    "often it is sent."
)
TAGS: Final = (
    ("jobs", "Jobs", "What is protected, when, where to and how long."),
    ("runs", "Runs", "What workers have done and are doing."),
    ("vms", "VMs", "Virtual machines, and whether they are protected."),
    ("backups", "Restore points", "What can be restored."),
    ("vcenters", "vCenters", "Where virtual machines are."),
    ("repositories", "Repositories", "Where restore points lie."),
    ("channels", "Notification channels", "Where people are told."),
    ("people", "Users and API keys", "Who may do what."),
    ("audit", "Audit", "Who did what."),
    ("overview", "Calendar and storage", "What happened each day, and what space it costs."),
    ("health", "Health", "For load balancers and monitors."),
)
_PROBLEMS: Final = {
    "400": ("What was asked for can't be right.", "invalid-input", "there is no time zone 'Mars'"),
    "401": ("Nobody is signed in.", "not-signed-in", "the API key is unknown, revoked or expired"),
    "403": ("Who asks may not.", "permission-missing", "the role viewer may not change jobs"),
    "404": ("There is nothing of that name.", "unknown-name", "there is no job named 'nihgtly'"),
    "409": ("Not as things are.", "job-busy", "the job nightly has runs under way"),
    "412": ("It was changed since it was read.", "changed-meanwhile", "it was changed meanwhile"),
    "413": ("The body is too large.", "body-too-large", "the body is larger than 1 MiB"),
    "422": (
        "It does not fit the schema.",
        "invalid-request",
        "the request does not fit the schema",
    ),
    "424": ("A vCenter or a store did not do its part.", "unreachable", "prod does not answer"),
    "428": ("Say to what the change is made.", "precondition-missing", "If-Match is missing"),
    "429": ("Too many requests.", "rate-limited", "that is more than this server answers a caller"),
    "500": ("A defect of the server.", "internal", "the server met an error that it did not foresee"),
    "503": ("The database is busy.", "catalog-locked", "the catalog is locked by another process"),
}
_KEY_PARAMETER: Final = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "description": "Sent again with the same body within a day, the same answer comes and nothing is done twice.",
    "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]+$"},
}
_HEADERS: Final = {
    "ETag": "Another one whenever it was changed.",
    "Location": "Where it is found.",
    "Idempotency-Replayed": "`true` where this is the answer to an earlier request of the same key.",
}


def install(app: FastAPI) -> None:
    """The application answers with this document instead of the framework's."""
    made: list[Document] = []

    def document() -> Document:
        if not made:
            made.append(_document(app))
        return made[0]

    app.openapi = document  # type: ignore[method-assign]


def _document(app: FastAPI) -> Document:
    found = get_openapi(
        title=app.title,
        version=app.version,
        description=DESCRIPTION,
        routes=app.routes,
        tags=[{"name": name, "description": text, "x-displayName": shown} for name, shown, text in TAGS],
    )
    rules = _rules(app)
    schemas = found["components"]["schemas"]
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    schemas["Problem"] = PROBLEM_SCHEMA
    found["components"]["responses"] = {f"Problem{status}": _problem(status) for status in _PROBLEMS}
    found["components"]["securitySchemes"] = {
        "ApiKey": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
        "Session": {"type": "apiKey", "in": "cookie", "name": "vbm_session"},
    }
    for path, methods in found["paths"].items():
        for method, operation in methods.items():
            _complete(operation, method.upper(), path, rules[method.upper(), path])
    return found


def _rules(app: FastAPI) -> dict[tuple[str, str], str]:
    """(method, path) → the permission it needs, empty for none."""
    found = {}
    for context in iter_route_contexts(app.routes):
        dependant = getattr(context, "dependant", None)
        calls = [d.call for d in dependant.dependencies] if dependant is not None else []
        rules = [call.vbm_rule for call in calls if hasattr(call, "vbm_rule")]
        rule = rules[0].value if rules and rules[0] is not None else ""
        found.update({(method, str(context.path)): rule for method in context.methods or ()})
    return found


def _problem(status: str) -> Document:
    said, code, title = _PROBLEMS[status]
    example = {"type": f"urn:vbm:error:{code}", "title": title, "status": int(status), "code": code}
    content = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}, "example": example}}
    return {"description": said, "content": content}


def _complete(operation: Document, method: str, path: str, rule: str) -> None:
    name = operation["operationId"]
    operation["summary"] = (
        str(operation.get("description", name)).partition("\n")[0].partition(". ")[0].rstrip(".")
    )
    if rule:
        operation["security"] = [{"ApiKey": []}, {"Session": []}]
        operation["x-permission"] = rule
    if method == "POST":
        operation["parameters"] = [*operation.get("parameters", []), _KEY_PARAMETER]
    if "requestBody" in operation and name in REQUESTS:
        operation["requestBody"]["content"]["application/json"]["example"] = REQUESTS[name]
    responses = operation["responses"]
    for status, answer in responses.items():
        _complete_answer(answer, status, name, method)
    for status in _may_go_wrong(operation, method, path, rule):
        responses[status] = {"$ref": f"#/components/responses/Problem{status}"}


def _complete_answer(answer: Document, status: str, name: str, method: str) -> None:
    content = answer.get("content", {}).get("application/json")
    if content is None or not status.startswith("2"):
        return
    if name in ANSWERS:
        content["example"] = ANSWERS[name]
    schema = str(content["schema"])
    headers = ["Location"] if status in {"201", "202"} and name != "run_job" else []
    if any(part in schema for part in ("JobShown", "JobWith", "VcenterShown", "RepositoryShown")) or any(
        part in schema for part in ("ChannelShown", "UserShown")
    ):
        headers += [] if "Page" in schema else ["ETag"]
    headers += ["Idempotency-Replayed"] if method == "POST" else []
    if headers:
        answer["headers"] = {
            one: {"description": _HEADERS[one], "schema": {"type": "string"}} for one in headers
        }


def _may_go_wrong(operation: Document, method: str, path: str, rule: str) -> list[str]:
    """The statuses of problems that the operation may answer with."""
    if not path.startswith("/api/"):
        return ["500", "503"]
    found = ["401", "403", "413", "424", "429", "500", "503"] if rule else ["429", "500"]
    if operation.get("parameters") or "requestBody" in operation:
        found += ["400", "404", "422"]
    found += {
        "GET": ["409"],
        "POST": ["409"],
        "PATCH": ["409", "412", "428"],
        "DELETE": ["409", "412"],
    }[method]
    return sorted(set(found))
