"""``/calendar`` and ``/analytics/storage``: what happened each day, and what space it costs."""

from __future__ import annotations

from typing import Annotated, Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from vbm.errors import InputError
from vbm.security.roles import Permission
from vbm.services import growth, overview
from vbm.web.access import needs
from vbm.web.state import Space

router = APIRouter(tags=["overview"])


class DayShown(BaseModel):
    date: str
    worst: str
    counts: dict[str, int]


class Calendar(BaseModel):
    month: str
    days: list[DayShown]


class SpaceShown(BaseModel):
    id: str
    name: str
    free_bytes: int
    total_bytes: int
    used_percent: int
    volume: Annotated[str, Field(description="Equal for repositories that share their space.")]


class GrowthShown(BaseModel):
    date: str
    new_bytes: int
    restore_points: int


class VmSizeShown(BaseModel):
    vm_name: str
    vm_instance_uuid: str
    new_bytes: int
    restore_points: int


class Storage(BaseModel):
    repositories: list[SpaceShown]
    growth: list[GrowthShown]
    vms: list[VmSizeShown]
    new_bytes_per_day: int
    full_on: str | None


def zone_of(name: str) -> ZoneInfo:
    """Raises InputError for a zone that is none."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise InputError(f"there is no time zone {name!r}", hint="write it like Europe/Paris") from error


@router.get("/calendar", dependencies=[needs(Permission.SEE)], response_model=Calendar)
def get_calendar(
    space: Space,
    month: Annotated[str, Query(pattern=r"^(19|20|21)\d\d-(0[1-9]|1[0-2])$", examples=["2026-11"])],
    timezone: Annotated[str, Query(max_length=100)] = "UTC",
) -> dict[str, Any]:
    """How each day's runs ended; `worst` is the worst of a day."""
    year, number = (int(part) for part in month.split("-"))
    days = overview.month(space, year, number, zone_of(timezone))
    return {
        "month": month,
        "days": [{"date": d.date.isoformat(), "worst": d.worst, "counts": d.counts} for d in days],
    }


@router.get("/analytics/storage", dependencies=[needs(Permission.SEE)], response_model=Storage)
def get_storage(space: Space, days: Annotated[int, Query(ge=1, le=400)] = 30) -> dict[str, Any]:
    """Used and free space, growth a day, what each VM added, and when it is full at this pace."""
    return growth.document(space, days)
