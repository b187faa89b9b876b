"""What the pages of VMs, restore points, storage and administration share: forms, notices, errors, pages of a list."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import Depends, Request
from fastapi.responses import RedirectResponse, Response

from vbm.errors import VbmError
from vbm.web.pages import words
from vbm.web.pages.shell import environment, page
from vbm.web.problems import status_of

__all__ = ["Fields", "Form", "again", "back", "link", "page"]

words.extend(environment)


async def _form(request: Request) -> Mapping[str, str]:
    """The fields of a form; of one that is given several times the last."""
    return {name: value for name, value in (await request.form()).items() if isinstance(value, str)}


async def _many(request: Request) -> list[tuple[str, str]]:
    return [(name, value) for name, value in (await request.form()).multi_items() if isinstance(value, str)]


Form = Annotated[Mapping[str, str], Depends(_form)]
Fields = Annotated[list[tuple[str, str]], Depends(_many)]


def back(path: str, /, done: str = "", **query: str) -> RedirectResponse:
    """After a change: the browser asks for that page. ``done`` names the notice that it shows."""
    query = ({"done": done} if done else {}) | query
    return RedirectResponse(f"{path}?{urlencode(query)}" if query else path, 303)


def again(request: Request, template: str, error: VbmError, /, **context: Any) -> Response:
    """The form once more, with what was wrong and what was typed, secrets left out."""
    return page(request, template, status_of(error), problem=error, **context)


def link(path: str, current: Mapping[str, Any], **change: Any) -> str:
    """The same view with another filter, sort or page; what is at its default is left out."""
    query = {name: value for name, value in {**current, **change}.items() if value not in {"", 0, None}}
    return f"{path}?{urlencode(query)}" if query else path
