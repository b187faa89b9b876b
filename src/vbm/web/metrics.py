"""``/metrics`` for Prometheus: who may read it, and the figures in its text format.

Closed by default. It opens to a bearer token (``VBM_METRICS_TOKEN``, or an API key), to ``X-API-Key``, to a session,
and to the networks named in ``VBM_METRICS_NETWORKS``.
"""

from __future__ import annotations

import gzip
import hmac
from typing import Final

from fastapi import APIRouter, Depends, Request, Response
from fastapi.concurrency import run_in_threadpool
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from vbm.security.roles import Permission, Role
from vbm.services import api_keys, identity
from vbm.services.identity import Identity, NotSignedInError
from vbm.web.access import address_of, who_asks
from vbm.web.state import Space, state_of

_BEARER: Final = "bearer "


async def _reader(request: Request) -> None:
    """Sets the identity of who scrapes. Raises NotSignedInError, PermissionMissingError."""
    given = request.headers.get("authorization", "")
    if given.lower().startswith(_BEARER):
        identity.become(await _by_token(request, given[len(_BEARER) :].strip()))
        return
    who = await who_asks(request)
    if who.role is None and _in_a_network(request):
        identity.become(Identity("metrics", Role.VIEWER, address_of(request)))
        return
    if who.role is None:
        raise NotSignedInError(
            "metrics are told to nobody without a token",
            hint="scrape with VBM_METRICS_TOKEN or an API key as bearer token, or name the network in "
            "VBM_METRICS_NETWORKS",
        )
    identity.require(Permission.SEE)


async def _by_token(request: Request, token: str) -> Identity:
    state, source = state_of(request), address_of(request)
    wanted = state.options.metrics_token
    if wanted and hmac.compare_digest(token.encode(), wanted.encode()):
        return Identity("metrics", Role.VIEWER, source)
    found = await run_in_threadpool(api_keys.identified, state.workspace, token, source)
    if found is None:
        raise NotSignedInError("the bearer token is not the one of the metrics, and no API key")
    return found


def _in_a_network(request: Request) -> bool:
    """Whether the address may scrape. One that a proxy speaks for counts only where that proxy is trusted."""
    options = state_of(request).options
    peer = request.client.host if request.client else ""
    if "x-forwarded-for" in request.headers and not options.trusts(peer):
        return False
    return options.may_scrape(address_of(request))


router = APIRouter(include_in_schema=False)


@router.get("/metrics", dependencies=[Depends(_reader)])
def show_metrics(request: Request, space: Space) -> Response:
    """All of them, at most a minute old."""
    text = state_of(request).scrapes.text(space)
    headers = {"Vary": "Accept-Encoding"}
    if "gzip" in request.headers.get("accept-encoding", ""):
        text, headers["Content-Encoding"] = gzip.compress(text, 1), "gzip"
    return Response(text, media_type=CONTENT_TYPE_PLAIN_0_0_4, headers=headers)
