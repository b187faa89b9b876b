"""A person who has never seen it: from the set-up page to a verified restore, in Chromium, without a word of help."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from fixtures_jobs import MIB
from fixtures_pages import PASSWORD
from fixtures_serve import Served
from vbm.lab.machine import Machine
from vbm.lab.model import DiskSpec, MachineSpec
from vbm.lab.server import Lab, LabOptions

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    with Lab(tmp_path / "lab", LabOptions(preset="empty")) as made:
        yield made


@pytest.fixture
def machine(lab: Lab, tmp_path: Path) -> Machine:
    image = tmp_path / "web01.img"
    image.write_bytes(b"what must come back" * 100_000)
    with image.open("r+b") as file:
        file.truncate(2 * MIB)
    made = lab.state.create_machine(MachineSpec(name="web01", disks=(DiskSpec(source=image),)))
    made.power_on()
    return made


@pytest.fixture
def page(tmp_path: Path) -> Iterator[sync_api.Page]:
    """A page that reaches nothing but the served address, and that fails on any error of its scripts."""
    program = shutil.which("chromium")
    if program is None:
        pytest.skip("chromium is not installed")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=FLAGS)
        context = browser.new_context(viewport={"width": 1440, "height": 900})
        made = context.new_page()
        outside: list[str] = []
        errors: list[str] = []
        made.on("request", lambda request: outside.append(request.url))
        made.on("pageerror", lambda error: errors.append(str(error)))
        made.set_default_timeout(20_000)
        yield made
        assert {url.split("/")[2].split(":")[0] for url in outside if url.startswith("http")} == {"127.0.0.1"}
        assert errors == []
        browser.close()


def test_from_the_set_up_page_to_a_verified_restore(
    page: sync_api.Page, lab: Lab, machine: Machine, tmp_path: Path
) -> None:
    with Served(tmp_path / "home", VBM_ALLOW_LOOPBACK="1") as served:
        page.goto(served.url)
        page.get_by_label("Name").fill("anna")
        page.get_by_label("Password", exact=True).fill(PASSWORD)
        page.get_by_label("The same password again").fill(PASSWORD)
        page.get_by_role("button", name="Make the administrator").click()
        page.get_by_role("heading", level=1).wait_for()

        page.goto(f"{served.url}/repositories/new")
        page.get_by_label("Name").fill("main")
        page.get_by_label("Address").fill(str(tmp_path / "store"))
        page.get_by_label("Passphrase", exact=True).fill(PASSWORD)
        page.get_by_label("Passphrase again").fill(PASSWORD)
        page.get_by_role("button", name="Add it").click()
        page.wait_for_url("**/repositories**")

        page.goto(f"{served.url}/vcenters/new")
        page.get_by_label("Name").fill("lab")
        page.get_by_label("Address").fill(f"{lab.host}:{lab.port}")
        page.get_by_role("button", name="Look").click()
        assert lab.thumbprint.replace(":", "").lower() in page.locator("#thumbprint").inner_text().replace(
            ":", ""
        ).lower().replace(" ", "")
        page.get_by_label("I have compared it").check()
        page.locator("#f-username").fill(lab.username)
        page.get_by_label("Password", exact=True).fill(lab.password)
        page.get_by_role("button", name="Log in and add").click()
        page.wait_for_url("**/vcenters**")

        page.goto(f"{served.url}/jobs/new")
        page.get_by_label("Name of the job").fill("nightly")
        page.get_by_label("VMs", exact=True).fill("web*")
        page.locator("#preview-vms", has_text="web01").wait_for()
        page.get_by_role("button", name="Make the job").click()
        page.get_by_role("heading", level=1, name="nightly").wait_for()
        page.get_by_role("button", name="Run now").first.click()

        page.goto(f"{served.url}/runs")
        page.get_by_role("link", name="web01").first.click()
        page.get_by_text("succeeded", exact=False).first.wait_for(timeout=60_000)

        page.goto(f"{served.url}/restore-points")
        page.get_by_role("link", name="web01").first.click()
        page.locator("a[href^='/restore-points/2']").first.click()
        page.get_by_role("button", name="Verify").first.click()
        page.get_by_text("succeeded", exact=False).first.wait_for(timeout=60_000)

        page.goto(f"{served.url}/restore")
        page.get_by_role("link", name="web01").first.click()
        page.locator("main a[href*='/restore/point/']").first.click()
        page.get_by_role("link", name="Choose").first.click()
        page.get_by_role("button", name="Review").click()
        page.get_by_role("button", name="Restore", exact=True).click()
        page.wait_for_url("**/runs/**")
        page.get_by_text("succeeded", exact=False).first.wait_for(timeout=60_000)
        restored = next(m for m in lab.state.machines.values() if m.name not in {"web01"})
        assert restored.guest_read(0, 0, 2 * MIB) == machine.guest_read(0, 0, 2 * MIB)
        assert machine.all_snapshots() == []
