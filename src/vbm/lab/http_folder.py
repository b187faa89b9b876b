"""``/folder``: the files of datastores over HTTP, with the refusals of real hosts.

GET and HEAD (one range), PUT, DELETE, and an HTML listing of folders. What a running machine writes is not
served (500), nor are the flats of object datastores (404); an encrypted disk is ciphertext on the datastore.
"""

from __future__ import annotations

import os
import re
import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

from vbm.lab.context import Context
from vbm.lab.errors import HangUp, HttpError
from vbm.lab.faults import Rule
from vbm.lab.http_exchange import Exchange, authenticate
from vbm.lab.injection import after, before, strike
from vbm.lab.model import LabFault

_BUFFER_BYTES = 1 << 20
_RANGE = re.compile(r"bytes=(\d*)-(\d*)")
_local = threading.local()  # one buffer for each connection's thread
_busy_lock = threading.Lock()
_NEEDS = {"GET": "Datastore.Browse", "HEAD": "Datastore.Browse"}


@dataclass(frozen=True, slots=True)
class _Target:
    datastore: Any
    relative: str
    path: Path

    @property
    def label(self) -> str:
        return f"[{self.datastore.name}] {self.relative}"


def serve_folder(context: Context, exchange: Exchange) -> None:
    """One request below ``/folder``."""
    user = authenticate(context, exchange)
    if not user.may(_NEEDS.get(exchange.method, "Datastore.FileManagement")):
        raise HttpError(403, "no privilege")
    if not exchange.parameter("dsName"):
        _list_datastores(context, exchange)
        return
    target = _locate(context, exchange)
    names = (target.datastore.name, target.relative, target.label, *_owners(context, target))
    rules = strike(context, exchange.path, names) if context.rules.any() else ()
    body_rules = {"fault", "reset"} if exchange.method == "GET" else {"fault"}
    early = [rule for rule in rules if rule.effect not in body_rules or rule.when == "after"]
    before(context, early, exchange.handler.connection, names)
    match exchange.method:
        case "GET" | "HEAD":
            with _limited(context):
                _get(context, exchange, target, rules)
        case "PUT":
            _put(context, exchange, target)
        case "DELETE":
            _delete(context, exchange, target)
        case _:
            raise HttpError(405, "not allowed", {"Allow": "GET, HEAD, PUT, DELETE"})
    after(context, early, exchange.handler.connection, names)


def _locate(context: Context, exchange: Exchange) -> _Target:
    state = context.state
    name = exchange.parameter("dsName")
    stores = [ds for ds in state.datastores.values() if name in {ds.name, unquote(ds.name)}]
    path = exchange.parameter("dcPath") or _default_datacenter(context)
    stores = [
        ds for ds in stores if _same_place(state.inventory_path(state.datacenter_of(ds.moref).moref), path)
    ]
    if not stores:
        raise HttpError(404, f"no datastore {name!r} in datacenter {path!r}")
    relative = exchange.path.removeprefix("/folder").strip("/")
    try:
        return _Target(stores[0], relative, stores[0].path(relative))
    except LabFault:
        raise HttpError(403, "not within the datastore") from None


def _default_datacenter(context: Context) -> str:
    """A host's own name for its only datacenter; with several, the client must say which."""
    state = context.state
    return state.inventory_path(next(iter(state.datacenters))) if len(state.datacenters) == 1 else ""


def _same_place(path: str, asked: str) -> bool:
    asked = asked.strip("/")
    return asked in {path, unquote(path)} or (asked == "ha-datacenter")


def _owners(context: Context, target: _Target) -> list[str]:
    """Names of the machines in whose folder it lies: what a fault rule may call it."""
    folder = target.relative.partition("/")[0]
    machines = [*context.state.machines.values()]
    return [m.name for m in machines if m.datastore == target.datastore.name and m.directory == folder]


@contextmanager
def _limited(context: Context) -> Iterator[None]:
    """503 beyond ``folder_max_requests`` at once, as busy hosts answer."""
    most = context.options.folder_max_requests
    with _busy_lock:
        if most and context.folder_requests >= most:
            raise HttpError(503, "too many requests")
        context.folder_requests += 1
    try:
        yield
    finally:
        with _busy_lock:
            context.folder_requests -= 1


def _get(context: Context, exchange: Exchange, target: _Target, rules: tuple[Rule, ...]) -> None:
    if target.path.is_dir():
        _list(exchange, target)
        return
    if not target.path.is_file() or not _served(target):
        raise HttpError(404, f"no file {target.label}")
    if (
        exchange.method == "GET"
        and context.state.locked_by(target.datastore.name, target.relative) is not None
    ):
        raise HttpError(500, "the file is locked by a running virtual machine")
    with target.path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        start, end, partial = _range(exchange, size)
        if any(rule.effect == "whole" for rule in rules):
            start, end, partial = 0, size, False
        exchange.start(206 if partial else 200, _headers(start, end, size, partial, rules))
        if exchange.method == "GET":
            context.log("get-start", path=target.label, start=start, length=end - start)
            sent = _send(exchange, file.fileno(), start, end, rules)
            context.log("get-end", path=target.label, start=start, length=sent)


def _served(target: _Target) -> bool:
    """Object datastores hold descriptors and other small files; the disks' bytes are objects elsewhere."""
    stem = target.path.stem
    data = target.path.suffix == ".vmdk" and stem.endswith(("-flat", "-delta", "-sesparse", "-rdm", "-rdmp"))
    return bool(target.datastore.serves_flats) or not data


def _range(exchange: Exchange, size: int) -> tuple[int, int, bool]:
    """``start``, ``end`` (exclusive) and whether a part was asked for. HttpError 416 beyond the end."""
    text = exchange.headers.get("Range", "").replace(" ", "")
    match = _RANGE.fullmatch(text)
    if match is None or not (match[1] or match[2]):
        return 0, size, False  # none, several, or not understood: the whole file
    if match[1]:
        start = int(match[1])
        end = min(int(match[2]) + 1, size) if match[2] else size
    else:
        start, end = max(size - int(match[2]), 0), size
    if start >= size or end <= start:
        raise HttpError(416, "the range is beyond the end", {"Content-Range": f"bytes */{size}"})
    return start, end, True


def _headers(start: int, end: int, size: int, partial: bool, rules: tuple[Rule, ...]) -> dict[str, str]:
    headers = {"Content-Type": "application/octet-stream", "Content-Length": str(end - start)}
    if partial:
        shift = 512 if any(rule.effect == "wrong-range" for rule in rules) else 0
        headers["Content-Range"] = f"bytes {start + shift}-{end - 1 + shift}/{size}"
    return headers


def _send(exchange: Exchange, descriptor: int, start: int, end: int, rules: tuple[Rule, ...]) -> int:
    """The bytes, or fewer where a rule says so. A file that was cut meanwhile ends the connection."""
    limit, ending = _cut(end - start, rules)
    corrupt = any(rule.effect == "corrupt" for rule in rules)
    if not hasattr(_local, "buffer"):
        _local.buffer = memoryview(bytearray(_BUFFER_BYTES))
    buffer: memoryview = _local.buffer
    position, stop = start, start + limit
    send = exchange.connection.sendall
    while position < stop:
        count = os.preadv(descriptor, [buffer[: min(_BUFFER_BYTES, stop - position)]], position)
        if count == 0:
            raise HangUp(reset=False)
        if corrupt:
            buffer[count // 2] ^= 0xFF
            corrupt = False
        send(buffer[:count])
        position += count
    if ending is not None:
        raise ending
    return position - start


def _cut(length: int, rules: tuple[Rule, ...]) -> tuple[int, HangUp | None]:
    for rule in rules:
        if rule.effect == "reset" and rule.when != "after":
            return min(rule.after_bytes, length), HangUp(reset=True)
        if rule.effect == "short":
            return min(rule.after_bytes or length // 2, max(length - 1, 0)), HangUp(reset=False)
    return length, None


def _put(context: Context, exchange: Exchange, target: _Target) -> None:
    if "Content-Length" not in exchange.headers and "Transfer-Encoding" not in exchange.headers:
        raise HttpError(411, "Content-Length is needed")
    if not target.relative or target.path.is_dir():
        raise HttpError(403, "a folder can't be written")
    if not target.path.parent.is_dir():
        raise HttpError(404, f"no folder for {target.label}")
    if context.state.locked_by(target.datastore.name, target.relative) is not None:
        raise HttpError(500, "the file is locked by a running virtual machine")
    existed = target.path.exists()
    temporary = target.path.with_name(f".{target.path.name[:100]}.{secrets.token_hex(4)}")
    try:
        with temporary.open("xb") as file:
            for piece in exchange.body():
                target.datastore.take_space(len(piece))
                file.write(piece)
        temporary.replace(target.path)
    except LabFault as fault:
        raise HttpError(507 if fault.fault == "NoDiskSpace" else 500, fault.message) from fault
    finally:
        temporary.unlink(missing_ok=True)
    context.log("put", path=target.label, length=target.path.stat().st_size)
    exchange.reply(200 if existed else 201, b"", "text/plain")


def _delete(context: Context, exchange: Exchange, target: _Target) -> None:
    if not target.path.is_file():
        raise HttpError(404 if not target.path.exists() else 403, f"no file {target.label}")
    if context.state.locked_by(target.datastore.name, target.relative) is not None:
        raise HttpError(500, "the file is locked by a running virtual machine")
    target.path.unlink()
    exchange.reply(204, b"", "text/plain")


def _list(exchange: Exchange, target: _Target) -> None:
    query = exchange.target.partition("?")[2]
    rows = []
    for entry in sorted(target.path.iterdir()):
        name = entry.name + ("/" if entry.is_dir() else "")
        href = f"/folder/{quote(f'{target.relative}/{name}'.lstrip('/'))}?{query}"
        size = "-" if entry.is_dir() else str(entry.stat().st_size)
        rows.append(f'<tr><td><a href="{escape(href)}">{escape(name)}</a></td><td>{size}</td></tr>')
    _page(exchange, f"Index of {target.label}", rows)


def _list_datastores(context: Context, exchange: Exchange) -> None:
    if exchange.path.strip("/") != "folder" or exchange.method not in {"GET", "HEAD"}:
        raise HttpError(400, "dsName is needed")
    state = context.state
    rows = []
    for ds in state.datastores.values():
        place = state.inventory_path(state.datacenter_of(ds.moref).moref)
        href = f"/folder?dcPath={quote(place, safe='')}&dsName={quote(ds.name, safe='')}"
        rows.append(
            f'<tr><td><a href="{escape(href)}">{escape(ds.name)}</a></td><td>{escape(place)}</td></tr>'
        )
    _page(exchange, "Datastores", rows)


def _page(exchange: Exchange, title: str, rows: list[str]) -> None:
    text = f"<html><head><title>{escape(title)}</title></head><body><h1>{escape(title)}</h1>"
    body = f"{text}<table>{''.join(rows)}</table></body></html>"
    exchange.reply(200, body.encode(), "text/html; charset=utf-8")
