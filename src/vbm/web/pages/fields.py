"""The fields of a posted form, for forms whose fields are many or come several times."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Request


async def _fields(request: Request) -> list[tuple[str, str]]:
    """(name, value) in the order of the form; files are passed over."""
    return [(name, value) for name, value in (await request.form()).multi_items() if isinstance(value, str)]


Fields = Annotated[list[tuple[str, str]], Depends(_fields)]
