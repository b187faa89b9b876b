"""``/sdk``: SOAP over HTTP, and the document that tells which API versions are spoken."""

from __future__ import annotations

from vbm.lab.context import Context
from vbm.lab.dispatch import invoke, unknown_method
from vbm.lab.errors import HangUp, HttpError, to_fault
from vbm.lab.http_exchange import Exchange, current_session
from vbm.lab.injection import strike
from vbm.lab.soap import (
    MAX_REQUEST_BYTES,
    BadRequestError,
    Call,
    invalid_request,
    parse_call,
    render_fault,
    render_result,
)
from vbm.lab.vmodl import NEWEST, support, version_of

_XML = "text/xml; charset=utf-8"


def serve_sdk(context: Context, exchange: Exchange) -> None:
    """POST: one call. GET of ``vimServiceVersions.xml``: the versions."""
    if exchange.method in {"GET", "HEAD"}:
        if exchange.path.endswith("/vimServiceVersions.xml"):
            exchange.reply(200, _service_versions(), _XML)
            return
        raise HttpError(404, "only vimServiceVersions.xml can be read here")
    if exchange.method != "POST":
        raise HttpError(405, "POST a SOAP envelope", {"Allow": "GET, HEAD, POST"})
    body = exchange.read_body(MAX_REQUEST_BYTES)
    version = version_of(exchange.headers.get("SOAPAction", ""))
    try:
        call = parse_call(body, version)
    except BadRequestError as error:
        fault = unknown_method(error.method) if error.method else invalid_request(str(error))
        exchange.reply(500, render_fault(fault, str(error), version), _XML)
        return
    _answer(context, exchange, call)


def _answer(context: Context, exchange: Exchange, call: Call) -> None:
    call.session = current_session(context, exchange)
    call.local_address = exchange.local_address
    rules = strike(context, call.method, _names(context, call)) if context.rules.any() else ()
    before_token = call.session.token if call.session else ""
    try:
        reply = render_result(call, invoke(context, call, rules, exchange.handler.connection))
        status = 200
    except (HttpError, HangUp):
        raise
    except Exception as error:  # noqa: BLE001 - every failure of a call is a fault on the wire
        fault = to_fault(error)
        reply = render_fault(fault, fault.msg or "", call.version)
        status = 500
    if call.session is not None and call.session.token != before_token:
        exchange.new_cookie = call.session.token
    exchange.reply(status, reply, _XML, {"Cache-Control": "no-cache"})


def _names(context: Context, call: Call) -> tuple[str, ...]:
    """What a fault rule's ``object=`` may say of a call: the object's names and id."""
    try:
        target = context.find(call.this, call.session)
    except Exception:  # noqa: BLE001 - the call itself will say what is wrong
        return (str(call.this._moId),)
    return (str(call.this._moId), target.name, *target.also_named)


def _service_versions() -> bytes:
    prior = "".join(
        f"<version>{support.versionIdMap[name]}</version>"
        for name in support.GetServiceVersions("vim25")
        if name.startswith("vim.version") and name != NEWEST
    )
    newest = support.versionIdMap[NEWEST]
    return (
        '<?xml version="1.0" encoding="UTF-8" ?><namespaces version="1.0"><namespace><name>urn:vim25</name>'
        f"<version>{newest}</version><priorVersions>{prior}</priorVersions></namespace></namespaces>"
    ).encode()
