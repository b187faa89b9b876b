"""The pages of VMs, restore points, restore, calendar, storage and administration, for the application to know."""

from __future__ import annotations

from typing import Final

from fastapi import APIRouter

from vbm.web.pages import (
    audit,
    calendar,
    notifications,
    people,
    points,
    repositories,
    restore,
    settings,
    storage,
    vcenters,
    vms,
)

ROUTERS: Final[tuple[APIRouter, ...]] = (
    vms.router,
    points.router,
    restore.router,
    calendar.router,
    storage.router,
    repositories.router,
    vcenters.router,
    notifications.router,
    people.router,
    audit.router,
    settings.router,
)
