"""``/api`` and ``/rest``: sessions and tags, as far as selecting machines by tag needs them (Automation API)."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any
from urllib.parse import quote, unquote

from vbm.lab.context import Context
from vbm.lab.errors import HttpError
from vbm.lab.http_exchange import Exchange, authenticate
from vbm.lab.injection import before, strike
from vbm.lab.sessions import UserSession
from vbm.lab.tree import kind_of

TOKEN_HEADER = "vmware-api-session-id"  # noqa: S105 - the name of a header
_LIMIT_BYTES = 1 << 20


def serve_rest(context: Context, exchange: Exchange) -> None:
    """``/rest`` wraps each answer in ``{"value": …}``; ``/api`` does not."""
    if context.rules.any():
        before(context, strike(context, exchange.path, ()), exchange.handler.connection)
    old = exchange.path.startswith("/rest")
    path = exchange.path.removeprefix("/rest/com/vmware" if old else "/api").replace("/id:", "/").rstrip("/")
    if path in {"/session", "/cis/session"}:
        _session(context, exchange, old)
        return
    _require_session(context, exchange)
    parts = [unquote(part) for part in path.split("/")[3:]] if path.startswith("/cis/tagging/") else []
    serve = _ROUTES.get((exchange.method, parts[0] if parts else ""))
    if serve is None:
        raise HttpError(404, "not offered by this lab")
    body = exchange.read_body(_LIMIT_BYTES) if exchange.method == "POST" else b""
    try:
        given = json.loads(body) if body else {}
    except ValueError:
        raise HttpError(400, "not JSON") from None
    _send(exchange, serve(context, exchange, parts[1:], given), old)


def _session(context: Context, exchange: Exchange, old: bool) -> None:
    if exchange.method == "POST":
        exchange.read_body(_LIMIT_BYTES)
        user = authenticate(context, exchange)
        token = exchange.new_cookie or context.sessions.login(user, "").token
        exchange.new_cookie = ""
        _send(exchange, token, old, 200 if old else 201)
        return
    session = _require_session(context, exchange)
    if exchange.method == "DELETE":
        context.sessions.logout(session)
        exchange.reply(204, b"", "application/json")
        return
    _send(exchange, {"user": session.user.name}, old)


def _require_session(context: Context, exchange: Exchange) -> UserSession:
    token = exchange.headers.get(TOKEN_HEADER) or exchange.cookie(TOKEN_HEADER)
    session = context.sessions.find(token) if token else None
    if session is None:
        raise HttpError(401, "no session")
    return session


def _send(exchange: Exchange, value: Any, old: bool, status: int = 200) -> None:
    body = json.dumps({"value": value} if old else value).encode()
    exchange.reply(status, body, "application/json")


def _id(kind: str, name: str) -> str:
    return f"urn:vmomi:InventoryService{kind}:{quote(name, safe='')}:GLOBAL"


def _name(text: str) -> str:
    return unquote(text.split(":")[3]) if text.count(":") >= 4 else text


def _all_tags(context: Context) -> list[str]:
    """``category/tag`` of every tag in use, sorted."""
    return sorted({tag for tags in context.state.tags.values() for tag in tags})


def _tags(context: Context, exchange: Exchange, parts: list[str], given: Any) -> Any:  # noqa: ARG001
    names = _all_tags(context)
    if not parts:
        return [_id("Tag", name) for name in names]
    name = _name(parts[0])
    if name not in names:
        raise HttpError(404, "no such tag")
    category, _, tag = name.rpartition("/")
    return {
        "id": _id("Tag", name),
        "name": tag,
        "category_id": _id("Category", category),
        "description": "",
        "used_by": [],
    }


def _categories(context: Context, exchange: Exchange, parts: list[str], given: Any) -> Any:  # noqa: ARG001
    names = sorted({name.rpartition("/")[0] for name in _all_tags(context)})
    if not parts:
        return [_id("Category", name) for name in names]
    name = _name(parts[0])
    if name not in names:
        raise HttpError(404, "no such category")
    return {
        "id": _id("Category", name),
        "name": name,
        "description": "",
        "cardinality": "MULTIPLE",
        "associable_types": [],
        "used_by": [],
    }


def _association(context: Context, exchange: Exchange, parts: list[str], given: Any) -> Any:
    action = exchange.parameter("action").removeprefix("~") or exchange.parameter("~action")
    match action:
        case "list-attached-tags":
            return [_id("Tag", tag) for tag in context.state.tags.get(given["object_id"]["id"], [])]
        case "list-attached-objects":
            return _objects(context, _name(parts[0]))
        case "list-attached-objects-on-tags":
            return [{"tag_id": tag, "object_ids": _objects(context, _name(tag))} for tag in given["tag_ids"]]
        case "list-attached-tags-on-objects":
            return [
                {
                    "object_id": ref,
                    "tag_ids": [_id("Tag", tag) for tag in context.state.tags.get(ref["id"], [])],
                }
                for ref in given["object_ids"]
            ]
    raise HttpError(404, "not offered by this lab")


def _objects(context: Context, tag: str) -> list[dict[str, str]]:
    state = context.state
    return [{"id": moref, "type": kind_of(state, moref)} for moref, tags in state.tags.items() if tag in tags]


_ROUTES: dict[tuple[str, str], Callable[[Context, Exchange, list[str], Any], Any]] = {
    ("GET", "tag"): _tags,
    ("GET", "category"): _categories,
    ("POST", "tag-association"): _association,
}
