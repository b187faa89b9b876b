"""Inventories are read anew behind the pages, and days of the calendar are those of its reader."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from fastapi.testclient import TestClient

from fixtures_jobs import JobsRig
from fixtures_pages import PASSWORD
from vbm.clock import SystemClock
from vbm.security.roles import Role
from vbm.services import accounts, inventory_cache, overview, sign_in
from vbm.services.accounts import NewUser
from vbm.web.app import create_app
from vbm.web.options import WebOptions


class LaterClock(SystemClock):
    """The system's, some time ahead."""

    ahead = timedelta()

    def now(self) -> datetime:
        return super().now() + self.ahead


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[JobsRig]:
    made = JobsRig(tmp_path)
    made.workspace.clock = LaterClock()
    inventory_cache.forget()
    yield made
    inventory_cache.forget()
    made.close()


def names(rig: JobsRig) -> set[str]:
    return {vm.name for vm in inventory_cache.everything(rig.workspace)[0].machines}


def test_what_is_a_minute_old_is_shown_once_more_and_read_behind(rig: JobsRig) -> None:
    clock = rig.workspace.clock
    assert isinstance(clock, LaterClock)
    rig.machine("web01")
    assert names(rig) == {"web01"}
    rig.machine("web02")
    assert names(rig) == {"web01"}
    clock.ahead = timedelta(minutes=2)
    assert names(rig) == {"web01"}
    rig.until(lambda: names(rig) == {"web01", "web02"}, "the inventory is read behind", 10)
    rig.machine("web03")
    clock.ahead = timedelta(minutes=20)
    assert names(rig) == {"web01", "web02", "web03"}  # too old to be shown: waited for


def test_the_calendar_counts_days_where_its_reader_is(rig: JobsRig) -> None:
    accounts.create(rig.workspace, NewUser("anna", Role.ADMIN, PASSWORD))
    client = TestClient(create_app(rig.workspace, WebOptions()))
    anna = accounts.get(rig.workspace, "anna")
    client.cookies.set("vbm_session", sign_in.begin(rig.workspace, anna, "127.0.0.1", "tests").cookie)
    for told, shown in (("Asia%2FTokyo", "Asia/Tokyo"), ("no%0Asuch<zone>", "UTC"), ("", "UTC")):
        client.cookies.set("vbm_zone", told)
        assert f"Days are those of {shown}" in client.get("/calendar").text
    assert "Days are those of Europe/Oslo" in client.get("/calendar?timezone=Europe/Oslo").text


@pytest.mark.parametrize(
    ("day", "hours"), [(date(2026, 10, 25), 25), (date(2026, 3, 29), 23), (date(2026, 7, 1), 24)]
)
def test_a_day_has_its_own_length(day: date, hours: int) -> None:
    begins, ends = overview.hours(day, ZoneInfo("Europe/Paris"))
    assert ends - begins == timedelta(hours=hours)
    assert begins.astimezone(ZoneInfo("Europe/Paris")).date() == day
