"""Pages of a served home as Chromium shows them: what is wrong with each, and pictures."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from fixtures_filled import PASSWORD, Filled
from vbm.security.roles import Role
from vbm.services import accounts, sign_in
from vbm.services.accounts import NewUser
from vbm.services.workspace import Workspace
from vbm.settings import Settings
from vbm.web.options import WebOptions
from vbm.web.serving import Address, WebServer

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page

AXE: Final = Path(__file__).resolve().parents[1] / "assets/node_modules/axe-core/axe.min.js"
FLAGS: Final = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
]
WIDE, NARROW = 1440, 390
_OVERFLOW: Final = """() => {
  const room = document.documentElement.clientWidth;
  const clipped = (one) => { for (let up = one.parentElement; up; up = up.parentElement) {
    if (['auto', 'scroll', 'hidden', 'clip'].includes(getComputedStyle(up).overflowX)) return true; } return false; };
  return document.documentElement.scrollWidth <= room ? [] : [...document.body.querySelectorAll('*')]
    .filter((one) => one.getBoundingClientRect().right > room + 1 && !clipped(one))
    .slice(0, 5).map((one) => `${one.tagName.toLowerCase()}.${one.className} ${one.textContent.trim().slice(0, 40)}`);
}"""
_FINDINGS: Final = """async () => (await axe.run(document, {resultTypes: ['violations']})).violations
  .filter((one) => ['serious', 'critical'].includes(one.impact))
  .map((one) => `${one.id}: ${one.nodes.slice(0, 3).map((node) => node.target.join(' ')).join(', ')}`)"""


@dataclass(frozen=True, slots=True)
class View:
    """How a page is looked at."""

    width: int = WIDE
    dark: bool = False

    @property
    def name(self) -> str:
        return f"{self.width}-{'dark' if self.dark else 'light'}"


VIEWS: Final = tuple(View(width, dark) for width in (WIDE, NARROW) for dark in (False, True))


class Empty:
    """A home with an administrator and nothing else."""

    def __init__(self, folder: Path) -> None:
        self.workspace = Workspace(Settings(folder / "home", f"sqlite:///{folder}/home/vbm.db"))
        accounts.create(self.workspace, NewUser("anna", Role.ADMIN, PASSWORD))

    def fresh(self) -> None:
        """Nothing goes stale where nothing is."""

    def close(self) -> None:
        self.workspace.close()


EMPTY_PAGES: Final = {
    "dashboard": "/",
    "vms": "/vms",
    "jobs": "/jobs",
    "job-new": "/jobs/new",
    "runs": "/runs",
    "restore-points": "/restore-points",
    "restore": "/restore",
    "calendar": "/calendar",
    "storage": "/storage",
    "repositories": "/repositories",
    "vcenters": "/vcenters",
    "notifications": "/notifications",
    "users": "/users",
    "audit": "/audit",
    "settings": "/settings",
    "nothing-here": "/nothing-here",
}


def full_pages(filled: Filled) -> dict[str, str]:
    """Every kind of page, where there is much to show."""
    real, point = filled.machines[0].instance_uuid, filled.real_point
    job = filled.jobs[1].id
    return EMPTY_PAGES | {
        "vms-failing": "/vms?show=failing&sort=oldest",
        "vm": f"/vms/{real}",
        "jobs-failing": "/jobs?show=failing",
        "job": f"/jobs/{job}",
        "job-edit": f"/jobs/{job}/edit",
        "run-live": f"/runs/{filled.live}",
        "run-failed": f"/runs/{filled.failed}",
        "run-done": f"/runs/{filled.done}",
        "restore-points-of-vm": f"/restore-points/vm/{filled.machines[1].instance_uuid}",
        "restore-point": f"/restore-points/{point}",
        "restore-point-delete": f"/restore-points/{point}/delete",
        "restore-2-point": f"/restore/vm/{real}",
        "restore-3-way": f"/restore/point/{point}",
        "calendar-day": f"/calendar/{filled.now:%Y-%m-%d}",
        "storage-90": "/storage?days=90",
        "search": "/search?q=web",
        "repository": "/repositories/main",
        "repository-new": "/repositories/new",
        "vcenter": "/vcenters/paris",
        "vcenter-new": "/vcenters/new",
        "notification-new": "/notifications/new",
        "user": "/users/vera",
        "key-new": "/api-keys/new",
        "account": "/account",
    }


@contextmanager
def served(workspace: Workspace) -> Iterator[str]:
    """Its address while it answers."""
    server = WebServer(workspace, Address(port=0), WebOptions(allow_loopback=True))
    server.start(lambda: None)
    try:
        yield f"http://127.0.0.1:{server._socket.getsockname()[1]}"
    finally:
        server.stop()
        server.join()


@contextmanager
def chromium() -> Iterator[Browser]:
    """The browser of the machine."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
        yield browser
        browser.close()


class Screens:
    """One home, served and signed in to; a page of the browser for each view."""

    def __init__(self, browser: Browser, home: Filled | Empty, url: str) -> None:
        self.browser, self.home, self.url = browser, home, url
        self._pages: dict[View, Page] = {}
        self._wrong: list[str] = []

    def context(self, view: View) -> BrowserContext:
        """A browser of its own, signed in as anna, in Paris."""
        made = self.browser.new_context(
            viewport={"width": view.width, "height": 900},
            color_scheme="dark" if view.dark else "light",
            timezone_id="Europe/Paris",
            reduced_motion="reduce",
        )
        space = self.home.workspace
        cookie = sign_in.begin(space, accounts.get(space, "anna"), "127.0.0.1", "tests").cookie
        made.add_cookies([{"name": "vbm_session", "value": cookie, "url": self.url}])
        made.set_default_timeout(15_000)
        return made

    def page(self, view: View) -> Page:
        if view not in self._pages:
            page = self.context(view).new_page()
            page.on("console", self._console)
            page.on("pageerror", lambda error: self._wrong.append(f"script: {error}"))
            page.on("request", lambda request: self._request(request.url))
            self._pages[view] = page
        return self._pages[view]

    def _console(self, said: Any) -> None:
        if said.type == "error" and "404 (Not Found)" not in said.text:
            self._wrong.append(f"console: {said.text}")

    def _request(self, url: str) -> None:
        if not url.startswith((self.url, "data:", "blob:")):
            self._wrong.append(f"asks elsewhere: {url}")

    def show(self, path: str, view: View) -> Page:
        """The page, once its parts are there."""
        self.home.fresh()
        page = self.page(view)
        page.goto(self.url + path)
        page.wait_for_load_state("load")
        page.locator("[hx-trigger=load] .placeholder").first.wait_for(state="detached")
        return page

    def wrong(self, path: str, view: View) -> list[str]:
        """What axe finds serious, what overflows in a narrow window, what scripts complain of, who else is asked."""
        self._wrong.clear()
        page = self.show(path, view)
        page.evaluate(AXE.read_text(encoding="utf-8") + "; undefined")
        found = [*self._wrong, *page.evaluate(_FINDINGS)]
        page.set_viewport_size({"width": NARROW, "height": 900})
        found += [f"too wide: {one}" for one in page.evaluate(_OVERFLOW)]
        page.set_viewport_size({"width": view.width, "height": 900})
        return found
