"""Sixty VMs and three workers on hosts of their own: one killed, one frozen and thawed, the database restarted, the
network to the vCenter cut for a minute. All runs end well, no snapshot is left, and the lab's own log shows that no
limit was ever exceeded.
"""

from __future__ import annotations

import json
import signal
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import pytest

from fixtures_jobs import MIB, JobsRig
from fixtures_namespaces import Hosts, hosts
from fixtures_postgresql import Server, postgresql
from vbm.catalog.preferences import set_preference
from vbm.catalog.runs import ENDED
from vbm.clock import SystemClock
from vbm.lab.model import DiskSpec, MachineSpec
from vbm.lab.server import LabOptions
from vbm.repository.format import RepositoryOptions
from vbm.repository.keys import NoKey
from vbm.services import jobs, repositories, working
from vbm.services.repositories import Key

VMS = 60
SIZE = 6 * MIB
LIMITS = {"max_runs": 7, "max_runs_per_vcenter": 6, "max_runs_per_datastore": 4, "max_runs_per_repository": 5}
GAP_SECONDS = 2.0  # a VM that nobody has read for so long is not being read: its worker is dead or frozen


@dataclass(frozen=True, slots=True)
class Reading:
    """A VM was read without a long pause from ``start`` to ``end``."""

    vm: str
    datastore: str
    start: float
    end: float


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with postgresql() as running:
        yield running


@pytest.fixture
def apart(tmp_path: Path) -> Iterator[Hosts]:
    with hosts("w0", "w1", "w2") as made:
        yield made


@pytest.fixture
def rig(server: Server, apart: Hosts, tmp_path: Path) -> Iterator[JobsRig]:
    name = f"vbm_{tmp_path.parent.name}_{tmp_path.name}".lower().replace("-", "_")[-60:]
    server.run("createdb", "-h", server.folder, "-U", "vbm", name)
    made = JobsRig(tmp_path, server.url.format(name), LabOptions(host=apart.address, preset="empty"))
    made.lab.state.mount_datastore("datastore2", "VMFS")
    options = RepositoryOptions(chunk_size_bytes=256 * 1024)
    repositories.create(made.workspace, "second", (tmp_path / "second").as_uri(), Key(NoKey()), options)
    yield made
    made.close()


def make_vms(rig: JobsRig) -> dict[str, bytes]:
    """Half of them on each datastore, half of each job: what each holds."""
    found = {}
    for number in range(VMS):
        name = f"{'ab'[number % 2]}{number:02d}"
        image = rig.folder / "vm.img"
        image.write_bytes(name.encode() * (SIZE // len(name)) + bytes(SIZE % len(name)))
        datastore = ["datastore1", "datastore2"][number // 2 % 2]
        spec = MachineSpec(name=name, disks=(DiskSpec(source=image),), datastore=datastore)
        rig.lab.state.create_machine(spec).power_on()
        found[name] = image.read_bytes()
    return found


def readings(rig: JobsRig) -> list[Reading]:
    """From the lab's log of what was read of flat files."""
    times: dict[tuple[str, str], list[float]] = defaultdict(list)
    for line in (rig.folder / "lab/events.jsonl").read_text().splitlines():
        event = json.loads(line)
        if event["event"] in {"get-start", "get-end"} and event["path"].endswith("-flat.vmdk"):
            datastore, _, path = event["path"].removeprefix("[").partition("] ")
            key = path.partition("/")[0], datastore
            times[key].append(datetime.fromisoformat(event["time"]).timestamp())
    found = []
    for (vm, datastore), moments in times.items():
        moments.sort()
        start = last = moments[0]
        for moment in moments[1:]:
            if moment - last > GAP_SECONDS:
                found.append(Reading(vm, datastore, start, last))
                start = moment
            last = moment
        found.append(Reading(vm, datastore, start, last))
    return found


def most_at_once(found: list[Reading]) -> int:
    edges = sorted([(r.start, 1) for r in found] + [(r.end, -1) for r in found])
    most = now = 0
    for _, change in edges:
        now += change
        most = max(most, now)
    return most


@pytest.mark.soak
@pytest.mark.timeout(1200)
def test_sixty_vms_outlive_a_killed_and_a_frozen_worker_and_the_loss_of_database_and_vcenter(
    rig: JobsRig, server: Server, apart: Hosts
) -> None:
    expected = make_vms(rig)
    with rig.workspace.catalog.writing() as session:
        for limit, value in LIMITS.items():
            set_preference(session, limit, value)
    common = {
        "limits": {"bytes_per_second": MIB, "parallel_vms": 30},
        "retries": {"attempts": 6, "wait_seconds": 10},
    }
    rig.job("first", selection={"vms": ["a*"]}, **common)
    rig.job("second", selection={"vms": ["b*"]}, repository_id="second", **common)
    workers = [rig.worker(f"name=w{n}", "ttl=6", "slots=4", prefix=apart.prefix(f"w{n}")) for n in range(3)]
    jobs.run_now(rig.workspace, "first")
    jobs.run_now(rig.workspace, "second")
    clock = SystemClock()

    def done() -> int:
        return sum(run.state in ENDED for run in rig.runs())

    def reading(worker: str) -> bool:
        names = {w.id for w in working.workers(rig.workspace) if w.name == worker}
        return any(r.worker_id in names and r.state == "running" and r.bytes_done for r in rig.runs())

    rig.until(lambda: done() >= 5 and reading("w0"), "it goes", 120)
    workers[0].kill()
    rig.until(lambda: done() >= 12 and reading("w1"), "it goes on", 120)
    workers[1].send_signal(signal.SIGSTOP)
    rig.until(
        lambda: {w.name for w in working.workers(rig.workspace) if w.dead} == {"w0", "w1"},
        "both were found out",
    )
    workers[1].send_signal(signal.SIGCONT)
    assert workers[1].wait(60) == 75
    workers[1] = rig.worker("name=w3", "ttl=6", "slots=4", prefix=apart.prefix("w1"))
    rig.until(lambda: done() >= 22, "it goes on", 120)
    server.stop()
    clock.sleep(3)
    server.start()
    rig.until(lambda: answers(rig) and done() >= 30, "it goes on without the database for a while", 180)
    apart.cut()
    clock.sleep(60)
    apart.mend()
    rig.ended(VMS, 600)

    assert {run.state for run in rig.runs(limit=200)} <= {"succeeded", "warning"}, rig.runs()
    assert {run.snapshot_state for run in rig.runs(limit=200)} == {"removed"}
    assert len(rig.runs(limit=200)) == VMS
    assert rig.ours() == []
    found = readings(rig)
    assert {r.vm for r in found} == set(expected)
    assert 4 <= most_at_once(found) <= LIMITS["max_runs_per_vcenter"]
    for datastore in ("datastore1", "datastore2"):
        there = [r for r in found if r.datastore == datastore]
        assert 2 <= most_at_once(there) <= LIMITS["max_runs_per_datastore"]
    for letter in "ab":
        there = [r for r in found if r.vm.startswith(letter)]
        assert 2 <= most_at_once(there) <= LIMITS["max_runs_per_repository"]
    for name, repository in (("a", "main"), ("b", "second")):
        points = rig.points(repository)
        assert sorted(p.vm_name for p in points) == sorted(v for v in expected if v.startswith(name))
        for point in points:
            assert rig.stored(point, repository) == expected[point.vm_name], point.vm_name
    rig.stop(workers[1])
    rig.stop(workers[2])
    assert (workers[1].returncode, workers[2].returncode) == (0, 0)


def answers(rig: JobsRig) -> bool:
    try:
        return bool(rig.runs())
    except Exception:  # noqa: BLE001 - until it does
        return False
