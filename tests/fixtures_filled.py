"""A home as a big company's: thousands of VMs in folders of three vCenters, hundreds of jobs, a year of runs.

One VM of a lab is really backed up and verified; the others are written to the catalog in bulk, a VM of that
lab with another name each, and stand in the cache of inventories as if just asked for.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

from sqlalchemy import insert

from vbm.cancel import CancelToken
from vbm.catalog import audit
from vbm.catalog.audit import AuditEntry, AuditRow
from vbm.catalog.jobs import JobRecord, insert_job
from vbm.catalog.restore_points import PointRow, put_points
from vbm.catalog.run_log import RunLogRow
from vbm.catalog.runs import RunRow
from vbm.catalog.snapshots import SnapshotRecord, record_snapshot
from vbm.catalog.users import insert_user
from vbm.catalog.vcenters import VcenterRecord, insert_vcenter
from vbm.catalog.workers import WorkerRecord, insert_worker
from vbm.ids import MoRef, VmUuid, new_id
from vbm.lab.model import DiskSpec, MachineSpec
from vbm.lab.server import Lab, LabOptions
from vbm.policy.job import Job
from vbm.progress import Silent
from vbm.repository.format import RepositoryOptions
from vbm.repository.keys import NoKey
from vbm.security.roles import Role
from vbm.services import (
    accounts,
    api_keys,
    backup,
    channels,
    inventory_cache,
    repositories,
    sign_in,
    vcenters,
)
from vbm.services.accounts import NewUser
from vbm.services.api_keys import NewApiKey
from vbm.services.backup import BackupOrder
from vbm.services.channels import NewChannel
from vbm.services.inventory_cache import Seen
from vbm.services.repositories import Key
from vbm.services.sign_in import SignedIn
from vbm.services.vcenters import NewVcenter
from vbm.services.workspace import Workspace
from vbm.settings import Settings
from vbm.units import GIB, KIB, MIB
from vbm.vsphere.model import VirtualMachine
from vbm.workflows.phases import point_of

PASSWORD: Final = "correct horse battery 7"
CITIES: Final = ("paris", "oslo", "são-paulo")
TIERS: Final = ("production", "staging", "Büro & Verwaltung", "desktops")
ROLES: Final = ("web", "db", "mail", "file", "build", "app", "cache", "queue")
LONG: Final = "Überwachungsserver-für-die-Qualitätssicherung-der-Fertigungslinie-日本語サーバー-0001"
FAILURES: Final = (
    (
        "vcenter-busy",
        "the vCenter paris did not answer within 120 s while the snapshot was being made",
        "look at the load of the vCenter; the next attempt comes by itself",
    ),
    (
        "datastore-full",
        "the datastore ssd-03 has 1.2 GiB free; a snapshot of this VM may need 40 GiB",
        "free space on it, or exclude the VM's scratch disk",
    ),
    (
        "connection-lost",
        "the connection to esx-14.example.net was lost after 31 GiB",
        "nothing: it is tried again",
    ),
)


@dataclass(frozen=True, slots=True)
class Measure:
    """How much of everything."""

    vms: int = 5_000
    jobs: int = 200
    runs: int = 50_000
    audit: int = 10_000
    users: int = 60


FULL: Final = Measure()
SMALL: Final = Measure(vms=300, jobs=40, runs=3_000, audit=400, users=12)


class Filled:
    """``fresh`` keeps its vCenters as just asked; ``close`` gives everything back."""

    def __init__(self, folder: Path, measure: Measure = FULL) -> None:
        self.folder, self.measure, self.chance = folder, measure, random.Random("filled")
        self.home = folder / "home"
        self.workspace = Workspace(Settings(self.home, f"sqlite:///{self.home}/vbm.db"))
        self.now = self.workspace.clock.now()
        self.repositories = [self._repository(name) for name in ("main", "archive")]
        real = self._really_backed_up()
        self.centers = [self._vcenter(name) for name in CITIES]
        self.machines = [self._machine(real, number) for number in range(measure.vms)]
        self.jobs = [self._job(number) for number in range(measure.jobs)]
        self._history()
        self._snapshots()
        self._people()
        self._trail()
        self.fresh()

    def close(self) -> None:
        inventory_cache.forget()
        self.workspace.close()

    def fresh(self) -> None:
        """As if every vCenter had been asked this moment."""
        moment = self.workspace.clock.now()
        for number, center in enumerate(self.centers):
            mine = tuple(self.machines[number :: len(self.centers)])
            inventory_cache._SHELF.seen[center.id] = Seen(center, moment, mine)

    def signed_in(self, name: str = "anna") -> SignedIn:
        return sign_in.begin(self.workspace, accounts.get(self.workspace, name), "127.0.0.1", "tests")

    # --- what is real

    def _repository(self, name: str) -> str:
        store = (self.folder / name).as_uri()
        options = RepositoryOptions(chunk_size_bytes=256 * KIB)
        return repositories.create(self.workspace, name, store, Key(NoKey()), options).id

    def _really_backed_up(self) -> VirtualMachine:
        """The VM whose restore point is in the repository, as the lab's vCenter shows it."""
        image = self.folder / "real.img"
        image.write_bytes(self.chance.randbytes(2 * MIB))
        with Lab(self.folder / "lab", LabOptions(preset="empty")) as lab:
            lab.state.create_machine(
                MachineSpec(name=_name(0), disks=(DiskSpec(source=image), DiskSpec(MIB)))
            ).power_on()
            new = NewVcenter("lab", f"{lab.host}:{lab.port}", lab.username, lab.password, lab.thumbprint)
            vcenters.add(self.workspace, new)
            backup.run(self.workspace, BackupOrder(_name(0), "main", "lab"), Silent(), CancelToken())
            machine = inventory_cache.everything(self.workspace)[0].machines[0]
            vcenters.remove(self.workspace, "lab")
        inventory_cache.forget()
        record = repositories.get(self.workspace, "main")
        with closing(repositories.open_stored(self.workspace, record)) as repository:
            found = [point_of(manifest, record.id) for manifest in repository.restore_points()]
        with self.workspace.catalog.writing() as session:
            put_points(session, found)
        self.real_point = found[0].id
        return machine

    def _vcenter(self, name: str) -> VcenterRecord:
        record_id = new_id(self.now)
        record = VcenterRecord(
            id=record_id,
            name=name,
            host=f"vcenter.{name.encode('idna').decode()}.example.net",
            port=443,
            username="backup@vsphere.local",
            thumbprint="ab" * 32,
            ca_file="",
            product="VMware vCenter Server 8.0.3 build-24022515",
            instance_uuid=f"00000000-0000-4000-8000-{len(name):012}",
            created=self.now - timedelta(days=400),
            sealed_password=self.workspace.vault.seal(PASSWORD, f"vcenter/{record_id}/password"),
        )
        with self.workspace.catalog.writing() as session:
            insert_vcenter(session, record)
        return record

    # --- what is written in bulk

    def _machine(self, real: VirtualMachine, number: int) -> VirtualMachine:
        per_job = max(1, self.measure.vms * 24 // 25 // self.measure.jobs)
        job = number // (per_job * 3) * 3 + number % 3
        folder = _folder(job) if job < self.measure.jobs else "scratch"
        disks = tuple(
            replace(disk, capacity_bytes=self.chance.choice((20, 40, 100, 500)) * GIB) for disk in real.disks
        )
        if number == 0:
            return replace(real, folder=folder, vcenter=CITIES[0])
        return replace(
            real,
            name=_name(number),
            moref=MoRef(f"vm-{number}"),
            instance_uuid=_uuid(number),
            vcenter=CITIES[number % 3],
            folder=folder,
            power_state="poweredOff" if number % 11 == 0 else "poweredOn",
            cbt_enabled=number % 17 != 0,
            snapshot_names=("before the upgrade",) if number % 97 == 0 else (),
            skip_reason="it is fault tolerant" if number % 499 == 7 else "",
            disks=disks,
        )

    def _job(self, number: int) -> JobRecord:
        center, hour = self.centers[number % 3], number % 24
        document = Job.from_document(
            {
                "name": f"{TIERS[number % 4]} {number:03} täglich"
                if number % 40 != 39
                else f"{LONG} {number}",
                "vcenter_id": center.id,
                "repository_id": self.repositories[number % 10 == 0],
                "selection": {"folders": [_folder(number)]},
                "schedule": {"cron": f"{number % 60} {hour} * * *", "timezone": "Europe/Paris"},
                "retention": {"keep_days": 14, "gfs": {"daily": 7, "weekly": 4, "monthly": 12, "yearly": 1}},
                "enabled": number % 20 != 3,
            }
        ).to_document()
        record = JobRecord(
            id=new_id(self.now - timedelta(days=380)),
            name=document["name"],
            enabled=document["enabled"],
            vcenter_id=center.id,
            repository_id=document["repository_id"],
            document=document,
            created=self.now - timedelta(days=380),
            updated=self.now - timedelta(days=3),
            last_slot=self.now - timedelta(hours=3),
            next_run=self.now + timedelta(minutes=7 * number + 3) if document["enabled"] else None,
            last_started=self.now - timedelta(hours=3),
            last_success=self.now - timedelta(hours=2),
            last_state=self.chance.choices(("succeeded", "warning", "failed"), (88, 7, 5))[0],
        )
        with self.workspace.catalog.writing() as session:
            insert_job(session, record)
        return record

    def _history(self) -> None:
        members: dict[str, list[VirtualMachine]] = {}
        for machine in self.machines:
            members.setdefault(f"{machine.vcenter}/{machine.folder}", []).append(machine)
        runs, points = [], []
        for number, created in enumerate(_moments(self.measure.runs, self.now)):
            at = number // 10 % len(self.jobs)
            job = self.jobs[at]
            mine = members[f"{CITIES[at % 3]}/{_folder(at)}"]
            vm = mine[(number // 10 // len(self.jobs) * 10 + number % 10) % len(mine)]
            run = self._run(number, created, job, vm)
            runs.append(run)
            if run["restore_point_id"]:
                points.append(self._point(number, run, vm, at))
        lines = [line for run in runs[-40:] for line in self._lines(run)]
        with self.workspace.catalog.writing() as session:
            for table, rows in ((RunRow, runs), (PointRow, points), (RunLogRow, lines)):
                for first in range(0, len(rows), 5_000):
                    session.execute(insert(table), rows[first : first + 5_000])
        self.live = runs[-1]["id"]
        self.done = next(run["id"] for run in reversed(runs) if run["restore_point_id"])
        self.failed = next(run["id"] for run in reversed(runs) if run["state"] == "failed")

    def _run(self, number: int, created: datetime, job: JobRecord, vm: VirtualMachine) -> dict[str, Any]:
        left = self.measure.runs - number
        states, weights = ("succeeded", "warning", "failed", "cancelled"), (92, 4, 3, 1)
        state = self.chance.choices(states, weights)[0]
        state = "running" if left <= 5 else "queued" if left <= 9 else state
        kind = "backup" if number % 50 or left <= 9 else self.chance.choice(("verify", "restore"))
        total, seconds = vm.disks[0].capacity_bytes, self.chance.randint(40, 2400)
        code, message, hint = self.chance.choice(FAILURES) if state == "failed" else ("", "", "")
        done = {"running": total * (left * 19) // 100, "queued": 0}.get(state, total)
        good = state in {"succeeded", "warning"}
        began = None if state == "queued" else created + timedelta(seconds=2)
        read = total * self.chance.randint(1, 9) // 100
        bytes_of = {
            "capacity_bytes": total,
            "bytes_read": read,
            "bytes_changed": read,
            "bytes_new": read // 3,
        }
        return {
            "id": _id(created, number),
            "execution_id": f"e{number // 10:08}",
            "job_id": job.id,
            "job_name": job.name,
            "vm_uuid": vm.instance_uuid,
            "vm_name": vm.name,
            "vcenter_id": job.vcenter_id,
            "repository_id": job.repository_id,
            "datastores": ["ssd-03"],
            "document": job.document,
            "created": created,
            "trigger": "schedule",
            "priority": 100,
            "state": state,
            "phase": {"running": "downloading", "queued": ""}.get(state, "done"),
            "bytes_total": total,
            "bytes_done": done,
            "started": began,
            "reading_since": began,
            "finished": began + timedelta(seconds=seconds) if began and state not in {"running"} else None,
            "attempts": 1,
            "worker_id": "backup-1",
            "token": 1,
            "cancel_requested_at": None,
            "cancel_reason": "",
            "deadline": None,
            "error_code": code,
            "error_message": message,
            "error_hint": hint,
            "restore_point_id": _id(created, number) if good and kind == "backup" else "",
            "snapshot_state": "present" if state == "running" else "removed",
            "warnings": ["the guest was not quiesced: VMware Tools do not run"] if state == "warning" else [],
            "result": bytes_of if good and kind == "backup" else {},
            "kind": kind,
            "parameters": {},
            "disks": [
                {"key": disk.key, "label": disk.label, "bytes_total": total, "bytes_done": done}
                for disk in vm.disks
            ]
            if state == "running"
            else [],
        }

    def _point(self, number: int, run: dict[str, Any], vm: VirtualMachine, job: int) -> dict[str, Any]:
        verified = run["finished"] if number % 9 == 0 else None
        return {
            "repository_id": run["repository_id"],
            "id": run["restore_point_id"],
            "vm_uuid": run["vm_uuid"],
            "vm_name": run["vm_name"],
            "vcenter": CITIES[job % 3],
            "started": run["started"],
            "finished": run["finished"],
            "read_mode": "incremental" if number % 30 else "full",
            "consistency": "crash",
            "size_bytes": vm.disks[0].capacity_bytes,
            "new_bytes": run["result"]["bytes_new"] // 100_000,
            "job_id": run["job_id"],
            "run_id": run["id"],
            "pinned": number % 211 == 0,
            "verified": verified,
            "verified_mode": "full" if verified else "",
            "verified_good": number % 900 != 0 if verified else None,
        }

    @staticmethod
    def _lines(run: dict[str, Any]) -> Iterator[dict[str, Any]]:
        for number in range(40 if run["started"] else 0):
            yield {
                "run_id": run["id"],
                "time": run["started"] + timedelta(seconds=number),
                "level": "warning" if number == 17 else "info",
                "message": "the server asks for patience: 429"
                if number == 17
                else f"{number} GiB of disk 2000 read",
            }

    def _snapshots(self) -> None:
        with self.workspace.catalog.writing() as session:
            for number, hours in enumerate((1, 2, 5, 30)):
                vm = self.machines[number]
                record = SnapshotRecord(
                    name=f"vbm-{number}",
                    run_id=self.failed,
                    engine_run_id="e",
                    job_name=self.jobs[0].name,
                    vcenter_id=self.centers[number % 3].id,
                    vcenter_name=CITIES[number % 3],
                    vcenter_uuid="u",
                    vm_moref=vm.moref,
                    vm_uuid=vm.instance_uuid,
                    vm_name=vm.name,
                    repository_id=self.repositories[0],
                    created=self.now - timedelta(hours=hours),
                    timeout_seconds=4 * 3600,
                    released=True,
                    tries=3,
                    last_error="The VM is being migrated.",
                )
                record_snapshot(session, record)

    def _people(self) -> None:
        for name, role in (("anna", Role.ADMIN), ("otto", Role.OPERATOR), ("vera", Role.VIEWER)):
            accounts.create(self.workspace, NewUser(name, role, PASSWORD))
        anna = accounts.get(self.workspace, "anna")
        with self.workspace.catalog.writing() as session:
            for number in range(self.measure.users):
                insert_user(
                    session,
                    replace(
                        anna, id=f"u{number:04}", name=f"Zoë Müller-{number:03}", role="viewer", source="oidc"
                    ),
                )
            for name in ("backup-1", "backup-2"):
                worker = WorkerRecord(
                    f"w-{name}", name, "esx-jump.example.net", os.getpid(), name, 4, self.now, "0.1.0"
                )
                insert_worker(session, worker)
        for number in range(max(3, self.measure.users // 3)):
            api_keys.create(self.workspace, NewApiKey(f"grafana {number}", Role.VIEWER))
        for number in range(4):
            address = f"https://hooks.example.net/services/{number}"
            channels.add(self.workspace, NewChannel(f"on call {number}", address, "webhook"))

    def _trail(self) -> None:
        """As long a chain as ``append_entry`` would write, in one go."""
        with self.workspace.catalog.writing() as session:
            known = audit.entries(session, audit.AuditFilter(limit=1))
            number, last, rows = known[0].number, known[0].hash, []
            for more in range(self.measure.audit):
                number += 1
                moment = self.now - timedelta(minutes=self.measure.audit - more)
                action = ("sign-in", "job.run", "restore-point.pin", "job.update")[more % 4]
                entry = AuditEntry(
                    moment,
                    "anna",
                    action,
                    self.jobs[more % len(self.jobs)].name,
                    {"n": more},
                    source="10.0.0.7",
                )
                last = audit._hash(last, entry, number)
                rows.append(
                    {
                        "number": number,
                        "time": moment,
                        "actor": entry.actor,
                        "action": action,
                        "target": entry.target,
                        "detail": entry.detail,
                        "source": entry.source,
                        "result": "",
                        "hash": last,
                    }
                )
            session.execute(insert(AuditRow), rows)


def _name(number: int) -> str:
    return LONG if number == 31 else f"{ROLES[number % len(ROLES)]}-{number:04}"


def _uuid(number: int) -> VmUuid:
    return VmUuid(f"52000000-0000-4000-8000-{number:012x}")


def _folder(job: int) -> str:
    return f"{TIERS[job % 4]}/team {job % 12:02}/application {job:03}"


def _id(moment: datetime, number: int) -> str:
    return f"{moment:%Y%m%dT%H%M%S}000-{number:010x}"


def _moments(count: int, now: datetime) -> Sequence[datetime]:
    """Most of them in the last ten days, the others over a year."""
    old = count * 6 // 10
    year, late = timedelta(days=355) / old, timedelta(days=10) / (count - old)
    begun = now - timedelta(days=365)
    before = [begun + year * n for n in range(old)]
    return [*before, *(now - timedelta(days=10) + late * n for n in range(count - old))]
