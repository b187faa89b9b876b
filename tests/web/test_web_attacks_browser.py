"""A VM whose name is a script, in a real browser: it is shown as it is called, and nothing of it runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from fixtures_pages import HOSTILE, PagesRig
from fixtures_screens import chromium, served
from vbm.catalog.restore_points import PointFilter
from vbm.services import accounts, points, sign_in

pytest.importorskip("playwright.sync_api", reason="playwright is not installed")


def test_the_name_of_a_vm_runs_nothing(tmp_path: Path) -> None:
    rig = PagesRig(tmp_path)
    cookie = sign_in.begin(rig.workspace, accounts.get(rig.workspace, "anna"), "127.0.0.1", "tests").cookie
    point = points.listing(rig.workspace, PointFilter(vm=HOSTILE))[0]
    paths = (
        "/",
        "/vms",
        f"/vms/{point.vm_uuid}",
        "/runs",
        "/jobs",
        "/restore-points",
        "/calendar",
        "/storage",
    )
    paths += (f"/restore-points/{point.id}", f"/restore/point/{point.id}/new", "/search?q=script", "/audit")
    ran: list[str] = []
    seen = 0
    with served(rig.workspace) as url, chromium() as browser:
        page = browser.new_page()
        page.context.add_cookies([{"name": "vbm_session", "value": cookie, "url": url}])
        page.on("dialog", lambda dialog: (ran.append(dialog.message), dialog.dismiss()))
        page.on("console", lambda said: ran.append(said.text) if said.type == "error" else None)
        page.on("request", lambda asked: ran.append(asked.url) if asked.url.endswith("/x") else None)
        for path in paths:
            page.goto(url + path)
            page.wait_for_load_state("networkidle")
            assert page.locator("img[src=x]").count() == 0, path
            seen += HOSTILE in page.inner_text("body")
    rig.close()
    assert ran == []
    assert seen > 4
