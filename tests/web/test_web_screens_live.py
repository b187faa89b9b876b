"""The dashboard in a browser: work is shown as it comes and goes, also after the server was away."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from fixtures_pages import PASSWORD
from fixtures_screens import chromium
from fixtures_serve import Served
from vbm.catalog.runs import RunRecord, change_run, insert_runs
from vbm.ids import new_id
from vbm.security.roles import Role
from vbm.services import accounts, sign_in
from vbm.services.accounts import NewUser
from vbm.services.workspace import Workspace
from vbm.settings import Settings
from vbm.workflows.orders import document_of

pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

if TYPE_CHECKING:
    from playwright.sync_api import Page


@pytest.fixture
def space(tmp_path: Path) -> Iterator[Workspace]:
    with Workspace(Settings(tmp_path, f"sqlite:///{tmp_path}/vbm.db")) as made:
        accounts.create(made, NewUser("anna", Role.ADMIN, PASSWORD))
        yield made


@pytest.fixture
def page(space: Workspace) -> Iterator[Page]:
    with chromium() as browser:
        context = browser.new_context()
        cookie = sign_in.begin(space, accounts.get(space, "anna"), "127.0.0.1", "tests").cookie
        context.add_cookies([{"name": "vbm_session", "value": cookie, "domain": "127.0.0.1", "path": "/"}])
        made = context.new_page()
        made.set_default_timeout(45_000)
        yield made


def new_run(space: Workspace, name: str) -> str:
    now = space.clock.now()
    document = document_of("verify")
    run = RunRecord(new_id(now), "", "", "", "u", name, "v", "r", (), document, now, state="running")
    with space.catalog.writing() as session:
        insert_runs(session, [run])
    return run.id


def change(space: Workspace, run: str, **values: object) -> None:
    with space.catalog.writing() as session:
        assert change_run(session, run, 0, dict(values))


def test_the_dashboard_goes_on_after_the_server_was_away(space: Workspace, page: Page) -> None:
    with Served(space.settings.home, "--no-worker") as first:
        port = first.url.rpartition(":")[2]
        page.goto(first.url)
        loads: list[str] = []
        page.on("load", lambda loaded: loads.append(loaded.url))
        page.locator("#running").get_by_text("Nothing.").wait_for()
        run = new_run(space, "web01")
        page.locator("#running").get_by_text("web01").wait_for()
        page.locator("#live").get_by_text("running").wait_for()
        change(space, run, bytes_total=100, bytes_done=42)
        page.locator("#running").get_by_text("42 %").wait_for()
        first.process.send_signal(signal.SIGKILL)
        first.process.wait(20)
        page.locator("#lost").wait_for(state="visible")
    change(space, run, state="failed", error_message="the host went away", finished=space.clock.now())
    with Served(space.settings.home, "--port", port, "--no-worker"):
        page.locator("#lost").wait_for(state="hidden")
        page.locator("#running").get_by_text("Nothing.").wait_for()
        page.locator("#todo").get_by_text("web01").wait_for()
        page.locator("#day").get_by_text("1 failed").wait_for()
    assert loads == []  # no page was loaded anew


def test_what_has_the_focus_is_not_drawn_anew_under_it(space: Workspace, page: Page) -> None:
    new_run(space, "web01")
    with Served(space.settings.home, "--no-worker") as served:
        page.goto(served.url)
        page.locator("#running a").first.focus()
        new_run(space, "web02")
        page.locator("#live").get_by_text("2", exact=True).wait_for()
        assert page.locator("#running a").all_inner_texts() == ["web01"]
        assert page.evaluate("document.activeElement.textContent") == "web01"
        page.evaluate("document.activeElement.blur()")
        page.locator("#running").get_by_text("web02").wait_for()
