"""The way in and out: the first administrator, sign-in in one or two steps, sign-out."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import urlsplit

from fastapi import APIRouter, Depends, Form, Request
from fastapi.responses import RedirectResponse, Response

from vbm.errors import InputError, VbmError
from vbm.services import accounts, oidc, second_step, sign_in
from vbm.services.sign_in import Attempt, CodeNeededError, SignedIn
from vbm.services.workspace import Workspace
from vbm.web.access import address_of, check_origin, cookie_name, give_cookie, open_to_all, take_cookie
from vbm.web.pages.shell import page
from vbm.web.problems import status_of
from vbm.web.state import Space, State

router = APIRouter()
Text = Annotated[str, Form(max_length=4096)]


def local_path(given: str) -> str:
    """``given`` where it is a path of this server, else ``/``: a sign-in never sends anybody elsewhere."""
    plain = given.isascii() and given.isprintable() and "\\" not in given
    if not plain or not given.startswith("/") or given.startswith("//"):
        return "/"
    parts = urlsplit(given)
    if parts.scheme or parts.netloc or parts.path in {"/sign-in", "/sign-out", "/set-up"}:
        return "/"
    return given


async def _same_site(request: Request) -> None:
    check_origin(request)


@router.get("/sign-in", dependencies=[open_to_all()])
def ask_password(request: Request, space: Space, next: str = "") -> Response:  # noqa: A002 - its name in the URL
    if accounts.none_yet(space):
        return RedirectResponse("/set-up", 303)
    if getattr(request.state, "signed_in", None) is not None:
        return RedirectResponse(local_path(next), 303)
    return sign_in_page(request, space, local_path(next))


def sign_in_page(
    request: Request, space: Workspace, target: str, status: int = 200, **context: object
) -> Response:
    """With the identity provider's button where there is one."""
    known = oidc.configured(space)
    provider = known.label if known is not None else ""
    return page(request, "entrance/sign_in.html", status, next=target, provider=provider, **context)


@router.post("/sign-in", dependencies=[open_to_all(), Depends(_same_site)])
def check_password(
    request: Request,
    state: State,
    name: Text = "",
    password: Text = "",
    next: Text = "",  # noqa: A002
) -> Response:
    """With a second factor the answer asks for its code; the password does not travel again."""
    space, target = state.workspace, local_path(next)
    attempt = Attempt(name, password, "", address_of(request), request.headers.get("user-agent", ""))
    try:
        found = sign_in.sign_in(space, attempt, state.throttle)
    except CodeNeededError:
        return page(request, "entrance/code.html", next=target, note=second_step.note(space, attempt))
    except VbmError as error:
        return sign_in_page(request, space, target, status_of(error), problem=error, name=name)
    return let_in(request, space, found, target)


@router.post("/sign-in/code", dependencies=[open_to_all(), Depends(_same_site)])
def check_code(
    request: Request,
    state: State,
    note: Text = "",
    code: Text = "",
    next: Text = "",  # noqa: A002
) -> Response:
    """Six digits of an app, or a recovery code."""
    target = local_path(next)
    attempt = Attempt("", "", code[:100], address_of(request), request.headers.get("user-agent", ""))
    try:
        found = second_step.finish(state.workspace, note, attempt, state.throttle)
    except VbmError as error:
        context = {"next": target, "note": note, "problem": error}
        return page(request, "entrance/code.html", status_of(error), **context)
    return let_in(request, state.workspace, found, target)


def let_in(request: Request, space: Workspace, found: SignedIn, target: str) -> Response:
    """A cookie that nobody knew before; a session that the browser had ends."""
    old = request.cookies.get(cookie_name(request), "")
    if old:
        sign_in.end_cookie(space, old)
    answer = RedirectResponse(target, 303)
    give_cookie(request, answer, cookie_name(request), found.cookie, sign_in.LONGEST.total_seconds())
    return answer


@router.post("/sign-out", dependencies=[open_to_all()])
def leave(request: Request, space: Space) -> Response:
    """The session ends here and in the database."""
    session = getattr(request.state, "signed_in", None)
    if session is not None:
        sign_in.sign_out(space, session.session.id)
    answer = RedirectResponse("/sign-in?out=1", 303)
    take_cookie(request, answer, cookie_name(request))
    answer.headers["Clear-Site-Data"] = '"cache"'
    return answer


@router.get("/set-up", dependencies=[open_to_all()])
def ask_first_admin(request: Request, space: Space) -> Response:
    if not accounts.none_yet(space):
        return RedirectResponse("/sign-in", 303)
    return page(request, "entrance/set_up.html", given={})


@router.post("/set-up", dependencies=[open_to_all(), Depends(_same_site)])
def make_first_admin(
    request: Request, space: Space, name: Text = "", password: Text = "", repeated: Text = ""
) -> Response:
    """The first administrator, signed in at once."""
    try:
        if password != repeated:
            raise InputError("the two passwords are not the same", hint="type the same one twice")
        user = accounts.set_up(space, name, password)
    except VbmError as error:
        shown = {"name": name}
        return page(request, "entrance/set_up.html", status_of(error), given=shown, problem=error)
    agent = request.headers.get("user-agent", "")
    return let_in(request, space, sign_in.begin(space, user, address_of(request), agent), "/")
