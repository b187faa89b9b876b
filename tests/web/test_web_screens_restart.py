"""The server dies in the middle of a run: the page says so, finds it again, and shows the run to its end."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from fixtures_jobs import MIB, JobsRig
from fixtures_pages import PASSWORD
from fixtures_screens import chromium
from fixtures_serve import Served
from vbm.security.roles import Role
from vbm.services import accounts, jobs, runs, sign_in
from vbm.services.accounts import NewUser

pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

if TYPE_CHECKING:
    from playwright.sync_api import Page

_KEEP_WHAT_IS_SAID = """document.addEventListener('DOMContentLoaded', () => {
  const log = document.querySelector('[data-live] [data-log]');
  if (!log) return;
  const said = (one) => one.querySelector('.message').textContent;
  const keep = () => sessionStorage.setItem('said', JSON.stringify([...log.children].map(said)));
  keep();
  new MutationObserver(keep).observe(log, {childList: true});
})"""


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[JobsRig]:
    made = JobsRig(tmp_path)
    made.machine("web01", 24 * MIB)  # read in as many seconds: longer than a browser takes to come
    made.job(selection={"vms": ["web01"]}, limits={"bytes_per_second": 1024 * 1024})
    accounts.create(made.workspace, NewUser("anna", Role.ADMIN, PASSWORD))
    yield made
    made.close()


@pytest.fixture
def page(rig: JobsRig) -> Iterator[Page]:
    with chromium() as browser:
        context = browser.new_context()
        cookie = sign_in.begin(
            rig.workspace, accounts.get(rig.workspace, "anna"), "127.0.0.1", "tests"
        ).cookie
        context.add_cookies([{"name": "vbm_session", "value": cookie, "domain": "127.0.0.1", "path": "/"}])
        context.add_init_script(_KEEP_WHAT_IS_SAID)
        made = context.new_page()
        made.set_default_timeout(30_000)
        yield made


@pytest.mark.parametrize(
    ("how", "own_worker"),
    [
        (signal.SIGKILL, False),
        pytest.param(signal.SIGKILL, True, marks=pytest.mark.soak),  # its run is taken up after half a minute
        pytest.param(signal.SIGTERM, True, marks=pytest.mark.soak),
    ],
)
def test_the_page_of_a_run_outlives_the_server(
    rig: JobsRig, page: Page, how: signal.Signals, *, own_worker: bool
) -> None:
    more = () if own_worker else ("--no-worker",)
    if not own_worker:
        rig.worker()
    with Served(rig.home, *more, VBM_ALLOW_LOOPBACK="1") as served:
        port = served.url.rpartition(":")[2]
        jobs.run_now(rig.workspace, "nightly")
        rig.until(lambda: any(r.bytes_done for r in rig.runs(states=("running",))), "it reads")
        (run,) = rig.runs()
        page.goto(f"{served.url}/runs/{run.id}")
        loads: list[str] = []
        page.on("load", lambda loaded: loads.append(loaded.url))
        page.locator("[data-lost]").wait_for(state="attached")  # the run is still under way
        page.locator("[data-lost]").wait_for(state="hidden")
        served.process.send_signal(how)
        served.process.wait(20)
        page.locator("[data-lost]").wait_for(state="visible")
    assert loads == []
    with Served(rig.home, "--port", port, *more, VBM_ALLOW_LOOPBACK="1"):
        page.locator("[data-lost]").wait_for(state="hidden")
        page.get_by_text("This backup succeeded.").wait_for()
        assert len(loads) == 1  # the report, once it is done
        said = json.loads(page.evaluate("sessionStorage.getItem('said')"))
        assert said == [line.message for _, line in runs.logs(rig.workspace, run)]  # none lost, none twice
    assert [r.state for r in rig.runs()] == ["succeeded"]
    assert rig.ours() == []
