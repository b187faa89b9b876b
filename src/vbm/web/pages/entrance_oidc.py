"""The way in by an identity provider: there with a note that only this browser has, and back."""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.responses import RedirectResponse, Response

from vbm.errors import VbmError
from vbm.services import oidc
from vbm.services.oidc import BACK, Returned
from vbm.services.sign_in import Attempt
from vbm.web.access import address_of, give_cookie, open_to_all, take_cookie
from vbm.web.pages.entrance import let_in, local_path, sign_in_page
from vbm.web.problems import status_of
from vbm.web.state import Space, State, state_of

router = APIRouter()
_LONGEST = 4096


def _note_name(request: Request) -> str:
    return "__Host-vbm-oidc" if state_of(request).options.https else "vbm_oidc"


@router.get("/sign-in/oidc", dependencies=[open_to_all()])
def go_there(request: Request, space: Space, next: str = "") -> Response:  # noqa: A002 - its name in the URL
    """To the provider; the note lasts ten minutes."""
    target = local_path(next)
    try:
        url, note = oidc.begin(space, target)
    except VbmError as error:
        return sign_in_page(request, space, target, status_of(error), problem=error)
    answer = RedirectResponse(url, 303)
    give_cookie(request, answer, _note_name(request), note, oidc.LASTS_SECONDS)
    return answer


@router.get(BACK, dependencies=[open_to_all()])
def come_back(request: Request, state: State, code: str = "", error: str = "") -> Response:
    """A new session where the provider's word holds for this browser; else the sign-in page, and why."""
    attempt = Attempt("", "", "", address_of(request), request.headers.get("user-agent", ""))
    returned = Returned(request.query_params.get("state", "")[:_LONGEST], code[:_LONGEST], error[:100])
    note = request.cookies.get(_note_name(request), "")
    try:
        found, target = oidc.finish(state.workspace, note, returned, attempt, state.throttle)
    except VbmError as refused:
        answer = sign_in_page(request, state.workspace, "/", status_of(refused), problem=refused)
    else:
        answer = let_in(request, state.workspace, found, local_path(target))
    take_cookie(request, answer, _note_name(request))
    return answer
