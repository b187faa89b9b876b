"""How long the server takes for every page and list with 5,000 VMs, 200 jobs and 50,000 runs: median and worst of 5.

Each page is asked for in this process, through the whole application, by a signed-in administrator; the first
answer warms what a running server has warm (templates, the inventory's index) and is told apart.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

sys.path[0] = str(
    Path(__file__).resolve().parents[1] / "tests"
)  # in place of this folder, which has a limits.py

from fastapi.testclient import TestClient

from fixtures_filled import FULL, Filled, Measure
from vbm.catalog.restore_points import PointFilter
from vbm.clock import SystemClock
from vbm.services import points
from vbm.web.app import create_app
from vbm.web.options import WebOptions

ALLOWED_MS = 300
ROUNDS = 5


def paths(filled: Filled) -> Iterator[str]:
    """Every page, and every list of the API."""
    vm = filled.machines[40].instance_uuid
    point = next(p for p in points.listing(filled.workspace, PointFilter(limit=500)) if p.vm_uuid == vm or p)
    real = points.listing(filled.workspace, PointFilter(vm=filled.machines[0].instance_uuid))[0]
    month = f"{filled.now:%Y-%m}"
    yield from ("/", "/parts/running", "/parts/capacity", "/parts/top")
    yield from (
        "/vms",
        "/vms?show=unprotected",
        "/vms?show=failing&sort=oldest",
        "/vms?q=web&sort=largest&page=3",
    )
    yield from (f"/vms/{vm}", "/jobs", "/jobs?show=failing", f"/jobs/{filled.jobs[0].id}", "/jobs/new")
    yield from (
        f"/jobs/{filled.jobs[1].id}/edit",
        "/runs",
        "/runs?state=failed",
        "/runs?state=cancelled&kind=restore",
    )
    yield from (
        f"/runs?job={filled.jobs[2].id}",
        f"/runs?vm={vm}",
        f"/runs/{filled.live}",
        f"/runs/{filled.failed}",
    )
    yield from ("/restore-points", "/restore-points?q=db&page=3", f"/restore-points/vm/{vm}")
    yield from (
        f"/restore-points/{real.id}",
        f"/restore-points/{point.id}",
        f"/restore-points/{real.id}/manifest",
    )
    yield from ("/restore", f"/restore/vm/{vm}", f"/restore/point/{real.id}")
    yield from (
        "/calendar",
        f"/calendar/{filled.now:%Y-%m-%d}",
        "/storage",
        "/storage?days=90",
        "/storage?days=400",
    )
    yield from ("/search?q=web", f"/search?q={vm}", "/search?q=nothing-has-this-name")
    yield from ("/repositories", "/repositories/main", "/vcenters", "/vcenters/paris", "/notifications")
    yield from ("/users", "/account", "/audit", "/audit?action=job&target=00", "/settings")
    yield from (
        "/api/v1/vms",
        "/api/v1/vms?limit=1000",
        "/api/v1/jobs",
        "/api/v1/runs",
        "/api/v1/runs?limit=1000",
    )
    yield from (
        "/api/v1/runs?state=failed",
        "/api/v1/backups",
        f"/api/v1/backups?vm={filled.machines[40].name}",
    )
    yield from (
        f"/api/v1/calendar?month={month}",
        "/api/v1/analytics/storage",
        "/api/v1/audit",
        "/api/v1/users",
    )
    yield from (
        "/api/v1/vcenters",
        "/api/v1/repositories",
        "/api/v1/api-keys",
        "/healthz",
        "/readyz",
        "/metrics",
    )


def label(path: str, filled: Filled) -> str:
    """Without ids, so that two tables can be compared."""
    for number, machine in ((40, filled.machines[40]),):
        path = path.replace(machine.instance_uuid, "UUID").replace(machine.name, f"vm{number}")
    return "/".join("ID" if part[:8].isdigit() and "T" in part else part for part in path.split("/"))


def measure(client: TestClient, path: str) -> tuple[list[float], float]:
    """(milliseconds of each time, of the processor in the middle)."""
    clock, times, busy = SystemClock(), [], []
    for _ in range(ROUNDS + 1):
        begun, before = clock.monotonic(), sum(os.times()[:2])
        answer = client.get(path, headers={"accept": "text/html"})
        times.append((clock.monotonic() - begun) * 1000)
        busy.append((sum(os.times()[:2]) - before) * 1000)
        assert answer.status_code == 200, (path, answer.status_code, answer.text[:300])
    return times, statistics.median(busy[1:])


def main() -> None:
    clock = SystemClock()
    with tempfile.TemporaryDirectory() as folder:
        begun = clock.monotonic()
        wanted = Measure(vms=300, jobs=40, runs=3000, audit=400, users=12) if "small" in sys.argv else FULL
        filled = Filled(Path(folder), wanted)
        print(f"filled in {clock.monotonic() - begun:.1f} s: {wanted}\n")
        client = TestClient(
            create_app(filled.workspace, WebOptions(allow_loopback=True)), follow_redirects=True
        )
        client.cookies.set("vbm_session", filled.signed_in().cookie)
        print("| Page | first ms | median ms | worst ms | CPU ms |\n|---|---|---|---|---|")
        slow = []
        for path in paths(filled):
            filled.fresh()
            (first, *times), busy = measure(client, path)
            median, worst = statistics.median(times), max(times)
            name = label(path, filled)
            print(f"| `{name}` | {first:.0f} | {median:.0f} | {worst:.0f} | {busy:.0f} |", flush=True)
            if worst >= ALLOWED_MS:
                slow.append(name)
        filled.close()
    print(f"\nslower than {ALLOWED_MS} ms: {', '.join(slow) or 'none'}")
    sys.exit(bool(slow))


if __name__ == "__main__":
    main()
