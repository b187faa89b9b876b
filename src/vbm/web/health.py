"""``/healthz``: the process answers. ``/readyz``: its database does too. Neither tells anything else."""

from __future__ import annotations

from fastapi import APIRouter
from fastapi.responses import JSONResponse

from vbm.errors import VbmError
from vbm.services import accounts
from vbm.web.access import open_to_all
from vbm.web.state import Space

router = APIRouter(tags=["health"])


@router.get("/healthz", dependencies=[open_to_all()])
def healthz() -> dict[str, str]:
    """The process answers."""
    return {"status": "ok"}


@router.get("/readyz", dependencies=[open_to_all()])
def readyz(space: Space) -> JSONResponse:
    """The database answers too."""
    try:
        accounts.none_yet(space)
    except VbmError as error:
        return JSONResponse({"status": "unavailable", "code": error.code}, 503)
    return JSONResponse({"status": "ok"})
