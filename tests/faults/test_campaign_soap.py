"""Each SOAP call of a backup and of a restore is made to fail: it ends well or with one clear error.

Afterwards nothing is left behind, and doing it again ends well. Which calls there are is learnt from the lab's log.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from typer.testing import Result

from fixtures_campaign import MIB, Vbm, noise_image
from vbm.lab import guest
from vbm.lab.machine import Machine
from vbm.lab.server import Lab, LabOptions

RESTORED = "restored01"


@dataclass(frozen=True, slots=True)
class Moment:
    """The n-th call of a method, from 0."""

    method: str
    number: int

    @property
    def rule(self) -> str:
        return f"{self.method} fault=InvalidState skip={self.number} count=1"


class World:
    """A lab with one VM, and the command line beside it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.lab = Lab(folder / "state", LabOptions(preset="empty")).start()
        image = noise_image(folder / "disk.raw", 2 * MIB)
        guest.create_vm_from_raw(self.lab.state, "web01", [image], power_on=True)
        self.vbm = Vbm(folder / "home", self.lab.password)
        self.vbm.add_vcenter(self.lab.host, self.lab.port, self.lab.username, self.lab.thumbprint)
        self.vbm.create_repository(folder / "repo", "--no-encryption")

    @property
    def machine(self) -> Machine:
        return self.lab.machine("web01")

    def content(self, name: str = "web01") -> bytes:
        output = self.folder / "now.raw"
        guest.dump(self.lab.machine(name), 0, output)
        return output.read_bytes()

    def names(self) -> set[str]:
        return {machine.name for machine in self.lab.state.machines.values()}

    def calls(self, *arguments: str) -> list[Moment]:
        """Every SOAP call that a command makes while nothing fails."""
        log = self.lab.state.directory / "events.jsonl"
        before = len(log.read_text().splitlines())
        self.lab.fault("* delay=0")
        try:
            self.vbm.ok(*arguments)
        finally:
            self.lab.rules.clear()
        events = [json.loads(line) for line in log.read_text().splitlines()[before:]]
        targets = [event["target"] for event in events if event["event"] == "fault"]
        seen: Counter[str] = Counter()
        found = []
        for target in targets:
            if not target.startswith("/"):
                found.append(Moment(target, seen[target]))
                seen[target] += 1
        return found

    def struck(self, moment: Moment, *arguments: str) -> Result:
        """The command, with one call made to fail."""
        self.lab.fault(moment.rule)
        try:
            done = self.vbm(*arguments)
        finally:
            missed = self.lab.rules.list()
            self.lab.rules.clear()
        assert not missed or moment.number, f"{moment} was never called"  # how often it polls depends on time
        assert "Traceback" not in done.output
        assert "defect of vbm" not in done.output
        if done.exit_code:
            assert done.exit_code == 1, (moment, done.output)
            assert done.stderr.count("Error:") == 1, (moment, done.output)
        return done


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    made = World(tmp_path_factory.mktemp("soap"))
    yield made
    made.lab.stop()


def firsts(moments: list[Moment]) -> list[Moment]:
    """The first call of each method."""
    return [moment for moment in moments if moment.number == 0]


BACKUP = ("backup", "web01", "--repository", "main", "--json")


def backups_with_faults(world: World, moments: list[Moment]) -> None:
    for number, moment in enumerate(moments):
        world.machine.guest_write(0, MIB, f"{moment} {number}".encode() * 20)
        world.struck(moment, *BACKUP)
        world.vbm.ok("vm", "list")
        assert world.machine.all_snapshots() == [], moment
        made = json.loads(world.vbm.ok(*BACKUP).stdout)
        assert world.vbm.restore(made["restore_point"], world.folder / "o.raw") == world.content(), moment


def test_a_backup_whose_call_fails_ends_well_or_with_one_clear_error(world: World) -> None:
    first = world.calls(*BACKUP)
    world.machine.guest_write(0, MIB, b"changed" * 100)
    again = world.calls(*BACKUP)
    methods = {moment.method for moment in first + again}
    assert {"Login", "CreateSnapshot_Task", "QueryChangedDiskAreas", "RemoveSnapshot_Task"} <= methods
    backups_with_faults(world, firsts(again))


@pytest.mark.soak
@pytest.mark.timeout(900)
def test_a_backup_ends_well_whichever_of_all_its_calls_fails(world: World) -> None:
    world.vbm.ok(*BACKUP)
    world.machine.guest_write(0, MIB, b"changed" * 100)
    moments = world.calls(*BACKUP)
    backups_with_faults(world, moments)


def restores_with_faults(world: World, moments: list[Moment], *arguments: str) -> None:
    """As a new VM: what a failed restore made is gone, and the next one is whole."""
    wanted = world.content()
    for moment in moments:
        done = world.struck(moment, *arguments)
        if done.exit_code:
            assert world.names() == {"web01"}, (moment, done.output)
            world.vbm.ok(*arguments)
        assert world.names() == {"web01", RESTORED}, (moment, done.output)
        assert world.content(RESTORED) == wanted, moment
        world.lab.state.destroy(world.lab.machine(RESTORED).moref)


def restores_in_place_with_faults(world: World, moments: list[Moment], *arguments: str) -> None:
    """The VM is never half restored: its disk is the old one or the restored one, whole."""
    wanted = world.content()
    for number, moment in enumerate(moments):
        world.machine.guest_write(0, MIB, f"{moment} {number}".encode() * 20)
        old = world.content()
        done = world.struck(moment, *arguments)
        if done.exit_code:
            assert world.content() in (old, wanted), (moment, done.output)
            world.vbm.ok(*arguments)
        assert world.names() == {"web01"}, moment
        assert world.content() == wanted, moment
        assert len(world.machine.disks) == 1


def restore_of(world: World, *options: str) -> tuple[str, ...]:
    made = json.loads(world.vbm.ok(*BACKUP).stdout)
    return ("restore", "vm", made["restore_point"], "--vcenter", "lab", *options)


def test_a_restore_whose_call_fails_leaves_no_half_made_vm(world: World) -> None:
    arguments = restore_of(world, "--name", RESTORED)
    moments = world.calls(*arguments)
    world.lab.state.destroy(world.lab.machine(RESTORED).moref)
    assert {"ImportVApp", "HttpNfcLeaseComplete"} <= {moment.method for moment in moments}
    restores_with_faults(world, moments, *arguments)


def test_a_restore_in_place_whose_call_fails_leaves_the_vm_whole(world: World) -> None:
    world.machine.power_off()
    arguments = restore_of(world, "--in-place", "--yes")
    moments = world.calls(*arguments)
    assert {"MoveVirtualDisk_Task", "Destroy_Task"} <= {moment.method for moment in moments}
    looks = [moment for moment in moments if moment.method == "RetrievePropertiesEx"]
    restores_in_place_with_faults(world, firsts(moments) + looks[8:13], *arguments)


@pytest.mark.soak
@pytest.mark.timeout(900)
def test_a_restore_in_place_leaves_the_vm_whole_whichever_of_all_its_calls_fails(world: World) -> None:
    if world.machine.power_state == "poweredOn":
        world.machine.power_off()
    arguments = restore_of(world, "--in-place", "--yes")
    restores_in_place_with_faults(world, world.calls(*arguments), *arguments)
