"""From a backup asked for on a page to the restored VM, with a worker at work all the while."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from fixtures_jobs import MIB, JobsRig
from fixtures_pages import PASSWORD, Browser
from vbm.catalog.restore_points import PointFilter
from vbm.security.roles import Role
from vbm.services import accounts, inventory_cache, points, runs, sign_in
from vbm.services.accounts import NewUser
from vbm.web.app import create_app
from vbm.web.options import WebOptions


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[JobsRig]:
    made = JobsRig(tmp_path)
    yield made
    made.close()


def _browser(rig: JobsRig) -> Browser:
    user = accounts.create(rig.workspace, NewUser("otto", Role.OPERATOR, PASSWORD))
    signed_in = sign_in.begin(rig.workspace, user, "127.0.0.1", "tests")
    client = TestClient(create_app(rig.workspace, WebOptions(allow_loopback=True)))
    client.cookies.set("vbm_session", signed_in.cookie)
    return Browser(client, signed_in.session.csrf)


def test_a_vm_is_backed_up_verified_and_restored_by_pages_alone(rig: JobsRig) -> None:
    source = rig.machine("web01", MIB)
    rig.job("nightly")
    inventory_cache.forget()
    browser, child = _browser(rig), rig.worker()
    uuid = inventory_cache.everything(rig.workspace)[0].machines[0].instance_uuid
    assert "Not protected yet: nightly has no schedule" in browser.page(f"/vms/{uuid}")
    assert browser.send(f"/vms/{uuid}/back-up", job="nightly").endswith("done=backup-asked")
    assert [run.state for run in rig.ended(1)] == ["succeeded"]
    point = points.listing(rig.workspace, PointFilter())[0].id
    assert "It can be restored to how it was" in browser.page(f"/vms/{uuid}")

    at = f"/restore-points/{point}"
    browser.send(f"{at}/verify", mode="full")
    rig.ended(2)
    assert "found whole when it was last verified" in browser.page(at)

    sent = browser.send(f"/restore/point/{point}/start", way="new", name="web01-again", vcenter="lab")
    rig.ended(3)
    restored = runs.get(rig.workspace, sent.removeprefix("/runs/"))
    assert restored.state in {"succeeded", "warning"}, restored.error_message
    again = next(m for m in rig.lab.state.machines.values() if m.name == "web01-again")
    assert again.guest_read(0, 0, MIB) == source.guest_read(0, 0, MIB)
    inventory_cache.forget()
    assert "web01-again" in browser.page("/vms")
    rig.stop(child)
