"""Three workers as on three machines, many VMs, two vCenters: each of the machines has its accident meanwhile.

Limits are read from what the vCenters saw, never from the catalog that the workers decide by.
"""

from __future__ import annotations

import signal
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from fixtures_fleet import GROUPS, Fleet, Limits
from fixtures_jobs import MIB
from fixtures_namespaces import Hosts, hosts
from fixtures_postgresql import Server, postgresql
from vbm.services import working


@dataclass(frozen=True, slots=True)
class Campaign:
    """``crowded``: the limits within which so many VMs are sure to be read at once that the log shows several."""

    vms: int
    mib: int
    ttl_seconds: int
    vcenter_gone_seconds: float
    crowded: frozenset[str]


SHORT = Campaign(12, mib=2, ttl_seconds=3, vcenter_gone_seconds=4, crowded=frozenset({"max_runs"}))
WHOLE = Campaign(60, mib=4, ttl_seconds=6, vcenter_gone_seconds=60, crowded=frozenset(GROUPS))


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with postgresql() as running:
        yield running


def test_accidents_of_every_machine_lose_no_run(server: Server, tmp_path: Path) -> None:
    play(SHORT, server, None, tmp_path)


@pytest.mark.soak
@pytest.mark.timeout(1200)
def test_accidents_of_every_machine_lose_none_of_many_runs(server: Server, tmp_path: Path) -> None:
    with hosts("w0", "w1", "w2") as apart:
        play(WHOLE, server, apart, tmp_path)


def play(campaign: Campaign, server: Server, apart: Hosts | None, folder: Path) -> None:
    database = f"fleet{campaign.vms}"
    server.run("createdb", "-h", server.folder, "-U", "vbm", database)
    url = server.url.format(database)
    with closing(Fleet(folder, url, apart, campaign.vms, campaign.mib * MIB)) as fleet:
        accidents(campaign, fleet, server)
        judge(campaign, fleet)


def accidents(campaign: Campaign, fleet: Fleet, server: Server) -> None:
    ttl = f"ttl={campaign.ttl_seconds}"
    killed, frozen, steady = (fleet.begin(f"w{n}", ttl, "slots=2") for n in range(3))
    for worker in (killed, frozen, steady):
        fleet.ready(worker)
    fleet.start_jobs(limits={"bytes_per_second": MIB // 2}, retries={"attempts": 20, "wait_seconds": 3})
    fleet.until(lambda: {"w0", "w1"} <= reading(fleet) and fleet.is_read("paris"), "all of them read")
    killed.kill()
    frozen.send_signal(signal.SIGSTOP)
    fleet.vcenter_goes("paris")
    server.stop()
    server.start()
    fleet.until(lambda: answers(fleet), "the database answers again")
    fleet.pass_time(campaign.vcenter_gone_seconds)
    fleet.vcenter_returns("paris")
    fleet.until(lambda: dead(fleet) == {"w0", "w1"}, "both were found out")
    second, third = (fleet.begin(f"w{n}", ttl, "slots=2") for n in range(2))
    frozen.send_signal(signal.SIGCONT)
    assert frozen.wait(30) == 75
    fleet.ended(campaign.vms, 400)
    fleet.until(lambda: fleet.left() == [], "no snapshot is left", 120)
    for worker in (second, third):
        fleet.ready(worker)
    for worker in (steady, second, third):
        assert worker.poll() is None, fleet.log()
        fleet.stop(worker)
        assert worker.returncode == 0


def judge(campaign: Campaign, fleet: Fleet) -> None:
    runs = fleet.runs(limit=1000)
    assert Counter(run.vm_name for run in runs) == {place.vm: 1 for place in fleet.places}
    assert {run.state for run in runs} <= {"succeeded", "warning"}, runs
    assert {run.snapshot_state for run in runs} == {"removed"}
    assert fleet.exceeded(fleet.limits) == []
    assert {broken.partition(":")[0] for broken in fleet.exceeded(Limits(1, 1, 1, 1))} >= campaign.crowded
    assert fleet.wrong_points() == []


def reading(fleet: Fleet) -> set[str]:
    """Names of the workers that read now."""
    names = {worker.id: worker.name for worker in working.workers(fleet.workspace) if not worker.dead}
    runs = [run for run in fleet.runs(states=("running",)) if run.phase == "downloading"]
    return {names[run.worker_id] for run in runs if run.worker_id in names}


def dead(fleet: Fleet) -> set[str]:
    return {worker.name for worker in working.workers(fleet.workspace) if worker.dead}


def answers(fleet: Fleet) -> bool:
    try:
        return bool(fleet.runs())
    except Exception:  # noqa: BLE001 - until it does
        return False
