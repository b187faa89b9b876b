"""``/account``: one's own password, second factor and sessions."""

from __future__ import annotations

import hmac
from typing import Any

import segno
from fastapi import APIRouter, Request
from fastapi.responses import Response

from vbm.errors import InputError, VbmError
from vbm.security.roles import Permission
from vbm.services import accounts, second_factor, sign_in
from vbm.services.identity import NotSignedInError
from vbm.services.second_factor import Offer
from vbm.services.sign_in import Attempt, SignedIn
from vbm.services.workspace import Workspace
from vbm.web.access import address_of, needs
from vbm.web.pages.show import Form, again, back, page
from vbm.web.state import Space, state_of

router = APIRouter(prefix="/account")
_SEE = [needs(Permission.SEE)]


def _mine(request: Request) -> SignedIn:
    """An API key has no account page."""
    found: SignedIn | None = getattr(request.state, "signed_in", None)
    if found is None:
        raise NotSignedInError("nobody is signed in", hint="sign in at the browser")
    return found


def _context(request: Request, space: Workspace) -> dict[str, Any]:
    mine = _mine(request)
    return {
        "mine": mine,
        "sessions": sign_in.sessions(space, mine.user.id),
        "now": space.clock.now(),
    }


def _check_password(request: Request, form: Form) -> None:
    state, user = state_of(request), _mine(request).user
    given = Attempt(user.name, form.get("current", ""), address=address_of(request))
    sign_in.prove(state.workspace, user, given, state.throttle)


@router.get("", dependencies=_SEE)
def show(request: Request, space: Space) -> Response:
    return page(request, "people/account.html", **_context(request, space))


@router.post("/password", dependencies=_SEE)
def change_password(request: Request, space: Space, form: Form) -> Response:
    """Signs out everywhere else."""
    mine = _mine(request)
    try:
        _check_password(request, form)
        if form.get("password", "") != form.get("repeated", ""):
            raise InputError("the two passwords are not the same", hint="type it twice")
        accounts.set_password(space, mine.user.id, form.get("password", ""), keep_session=mine.session.id)
    except VbmError as error:
        return again(request, "people/account.html", error, **_context(request, space))
    return back("/account", "password-changed")


def _qr(address: str) -> str:
    """The QR code of an address, as a picture in the page itself: its secret goes to nobody else."""
    return str(segno.make(address, error="m").svg_data_uri(scale=5, border=2))


@router.get("/second-factor", dependencies=_SEE)
def offer(request: Request) -> Response:
    """A secret that is not in force until a code proves that an app has it."""
    offered = second_factor.offer(_mine(request).user)
    return page(request, "people/second_factor.html", offer=offered, picture=_qr(offered.address))


@router.post("/second-factor", dependencies=_SEE)
def enable(request: Request, space: Space, form: Form) -> Response:
    """The recovery codes are shown on this answer and never again."""
    mine, secret = _mine(request), form.get("secret", "")
    try:
        _check_password(request, form)
        codes = second_factor.enable(space, mine.user.id, secret, form.get("code", "").replace(" ", ""))
    except VbmError as error:
        offered = _same_offer(mine, secret)
        return again(request, "people/second_factor.html", error, offer=offered, picture=_qr(offered.address))
    return page(request, "people/recovery_codes.html", codes=codes)


def _same_offer(mine: SignedIn, secret: str) -> Offer:
    """The offer that was made, so that an app that has read it need not read another."""
    plain = second_factor.offer(mine.user)
    if len(secret) != len(plain.secret) or not secret.isalnum():
        return plain
    return Offer(secret, plain.address.replace(plain.secret, secret))


@router.post("/second-factor/off", dependencies=_SEE)
def disable(request: Request, space: Space, form: Form) -> Response:
    mine = _mine(request)
    try:
        _check_password(request, form)
    except VbmError as error:
        return again(request, "people/account.html", error, **_context(request, space))
    second_factor.disable(space, mine.user.id)
    return back("/account", "second-factor-off")


@router.post("/sessions/others", dependencies=_SEE)
def end_others(request: Request, space: Space) -> Response:
    """Sign out everywhere else."""
    mine = _mine(request)
    sign_in.end_others(space, mine.user.id, mine.session.id)
    return back("/account", "sessions-ended")


@router.post("/sessions/{number}/end", dependencies=_SEE)
def end_session(request: Request, space: Space, number: str) -> Response:
    """``number`` is the beginning of its id: the whole of it stays out of addresses and logs."""
    mine = _mine(request)
    for record in sign_in.sessions(space, mine.user.id):
        if len(number) == 12 and hmac.compare_digest(record.id[:12].encode(), number.encode()):
            sign_in.end_one(space, mine.user.id, record.id)
    return back("/account", "sessions-ended")
