"""The demonstration: the main job from end to end on a simulated vSphere, its results compared byte for byte.

A virtual machine is backed up while its guest goes on writing; what is restored must be the disk at the
instant of the snapshot. That is read from the lab's files while the snapshot holds them still, and by ``cp``.
"""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol

from vbm.cancel import CancelToken
from vbm.clock import Clock, SystemClock
from vbm.engine.result import BackupResult
from vbm.errors import InputError, VbmError
from vbm.progress import Progress, Silent
from vbm.repository.format import RepositoryOptions
from vbm.repository.keys import Passphrase
from vbm.services import backup, repositories, restore, restore_points, vcenters, verify
from vbm.services.access import Where
from vbm.services.backup import BackupOrder
from vbm.services.demo_lab import BusyGuest, DemoLab, copy_sparse, file_system_is_clean, identical
from vbm.services.repositories import Key
from vbm.services.restore import DiskOrder
from vbm.services.restore_vm import restore_vm
from vbm.services.vcenters import NewVcenter
from vbm.services.workspace import Workspace
from vbm.settings import Settings
from vbm.units import format_size
from vbm.vsphere.restore_spec import RestoreSpec

MARKER: Final = ".vbm-demo"
_FIRST, _SECOND = "web01", "db01"
_RESTORED = "web01-restored"


class DemoFailedError(VbmError):
    """Something differs that must be the same: the product is not to be trusted as it is."""

    code = "demo-failed"


class Teller(Protocol):
    """Shows how far the demo is."""

    def step(self, title: str) -> None:
        """A step begins."""

    def done(self, outcome: str) -> None:
        """It ended well."""


@dataclass(frozen=True, slots=True)
class BackupRow:
    """One backup of the demo."""

    title: str
    result: BackupResult


@dataclass(frozen=True, slots=True)
class Comparison:
    """One restore compared with the disk at the instant of its snapshot."""

    title: str
    identical: bool
    file_system_clean: bool | None  # None: e2fsck is not installed


@dataclass(slots=True)
class DemoReport:
    """What the demo showed. ``good`` is its verdict."""

    home: Path
    rows: list[BackupRow] = field(default_factory=list)
    comparisons: list[Comparison] = field(default_factory=list)
    guest_bytes_written: int = 0  # by the guest while the second backup ran
    verified: bool = False
    snapshots_left: int = 0
    seconds: float = 0.0

    @property
    def good(self) -> bool:
        """Nothing differs, nothing is left behind, and the repository is whole."""
        return (
            self.verified
            and self.snapshots_left == 0
            and len(self.comparisons) == 2
            and all(c.identical and c.file_system_clean is not False for c in self.comparisons)
            and all(r.result.snapshot_removed for r in self.rows)
        )


def run(home: Path, teller: Teller, cancel: CancelToken, clock: Clock | None = None) -> DemoReport:
    """Show everything below ``home``, which is emptied first if an earlier demo left it. The lab ends with it."""
    clock = clock or SystemClock()
    began = clock.monotonic()
    prepare_home(home)
    report = DemoReport(home=home)
    teller.step("Start a simulated vSphere with two virtual machines")
    with (
        DemoLab(home / "lab", "small") as lab,
        Workspace(
            Settings(home=home / "vbm", database_url=f"sqlite:///{home / 'vbm' / 'vbm.db'}")
        ) as workspace,
    ):
        teller.done(f"it answers at {lab.address.host}:{lab.address.port}")
        _Demo(lab, workspace, report, teller, cancel).run()
    report.seconds = clock.monotonic() - began
    return report


def prepare_home(home: Path) -> None:
    """An empty folder with our mark. Never empties a folder that no demo made: InputError."""
    if home.exists() and not home.is_dir():
        raise InputError(f"{home} is not a folder", hint="name another with --home")
    if home.is_dir() and any(home.iterdir()):
        if not (home / MARKER).is_file():
            raise InputError(f"{home} holds other things", hint="name an empty or a new folder with --home")
        shutil.rmtree(home)
    home.mkdir(parents=True, exist_ok=True)
    (home / MARKER).write_text("Made by vbm demo, which may empty this folder.\n")


class _Demo:
    def __init__(
        self, lab: DemoLab, workspace: Workspace, report: DemoReport, teller: Teller, cancel: CancelToken
    ) -> None:
        self._lab = lab
        self._workspace = workspace
        self._report = report
        self._teller = teller
        self._cancel = cancel
        self._truth = report.home / "truth"
        self._truth.mkdir()

    def run(self) -> None:
        self._set_up()
        self._back_up("Full backup", _FIRST)
        self._back_up("Full backup", _SECOND)
        busy = self._back_up_while_the_guest_writes()
        last = self._back_up("Incremental backup", _FIRST, on_frozen=self._freeze("last.raw"))
        self._verify()
        self._restore_file(busy, self._truth / "busy.raw")
        self._restore_vm(last, self._truth / "last.raw")
        self._report.snapshots_left = sum(self._lab.has_snapshot_files(vm) for vm in (_FIRST, _SECOND))

    def _set_up(self) -> None:
        address = self._lab.address
        self._teller.step("Add the vCenter, trusted by its certificate's thumbprint")
        record = vcenters.add(
            self._workspace,
            NewVcenter(
                name="lab",
                address=f"{address.host}:{address.port}",
                username=address.username,
                password=address.password,
                thumbprint=address.thumbprint,
            ),
            self._cancel,
        )
        self._teller.done(record.product)
        self._teller.step("Create an encrypted repository")
        key = Key(Passphrase(secrets.token_urlsafe(24)))
        url = (self._report.home / "repository").absolute().as_uri()
        repositories.create(self._workspace, "demo", url, key, RepositoryOptions())
        self._teller.done(url)

    def _back_up(self, title: str, vm: str, *, on_frozen: Callable[[], None] | None = None) -> BackupResult:
        self._teller.step(f"{title} of {vm}")
        progress: Progress = _AtSnapshot(on_frozen) if on_frozen is not None else Silent()
        result = backup.run(self._workspace, BackupOrder(vm=vm, repository="demo"), progress, self._cancel)
        if isinstance(progress, _AtSnapshot):
            progress.check()
        self._report.rows.append(BackupRow(title=f"{vm}, {result.read_mode}", result=result))
        read, new = format_size(result.bytes_read), format_size(result.bytes_new)
        self._teller.done(f"read {read}, stored {new}")
        return result

    def _back_up_while_the_guest_writes(self) -> BackupResult:
        self._teller.step(f"Let the guest of {_FIRST} work for a day, and go on working")
        with BusyGuest(self._lab, _FIRST, first_seed=1) as guest:
            guest.wait_for_a_day(self._cancel)
            self._teller.done(f"{format_size(guest.bytes_written)} written so far")
            before = guest.bytes_written
            result = self._back_up(
                "Backup, while it writes,", _FIRST, on_frozen=self._freeze("busy.raw", guest.wait_for_a_day)
            )
            self._report.guest_bytes_written = guest.bytes_written - before  # days that ended by now
        return result

    def _freeze(self, name: str, then: Callable[[CancelToken], None] | None = None) -> Callable[[], None]:
        """Copy the frozen disk, at the snapshot, before a byte of it is read by the product."""

        def copy() -> None:
            if then is not None:
                then(self._cancel)  # the guest writes on, into the delta
            self._lab.copy_frozen(_FIRST, self._truth / name)

        return copy

    def _verify(self) -> None:
        self._teller.step("Verify every restore point: read, decrypt and check each chunk")
        done = verify.everything(self._workspace, Where(name="demo"), Silent(), self._cancel)
        self._report.verified = done.good
        if not done.good:
            raise DemoFailedError(
                "the repository does not verify", hint="look at it: vbm repository check demo"
            )
        self._teller.done(done.sentence)

    def _restore_file(self, result: BackupResult, truth: Path) -> None:
        self._teller.step(f"Restore {_FIRST}'s disk, as it was while the guest wrote, to a file")
        output = self._report.home / "restored.raw"
        with restore_points.found(self._workspace, Where(name="demo"), result.restore_point) as found:
            restore.disk_to_file(found, DiskOrder(disk="0", output=output), Silent(), self._cancel)
        self._compare("file", output, truth)

    def _restore_vm(self, result: BackupResult, truth: Path) -> None:
        self._teller.step(f"Restore {_FIRST} as a new virtual machine, {_RESTORED}")
        with restore_points.found(self._workspace, Where(name="demo"), result.restore_point) as found:
            restore_vm(self._workspace, found, "lab", RestoreSpec(name=_RESTORED), Silent(), self._cancel)
        disks = self._lab.files(_RESTORED, "*-flat.vmdk")
        if len(disks) != 1:
            raise DemoFailedError(f"{_RESTORED} has {len(disks)} disks on the lab's datastore instead of one")
        output = self._report.home / "restored-vm.raw"
        copy_sparse(disks[0], output)
        self._compare("virtual machine", output, truth)

    def _compare(self, title: str, restored: Path, truth: Path) -> None:
        same, clean = identical(restored, truth), file_system_is_clean(restored)
        self._report.comparisons.append(Comparison(title, same, clean))
        if not same or clean is False:
            what = "differs from the disk at the snapshot" if not same else "has a damaged file system"
            raise DemoFailedError(f"the restored {title} {what}", hint=f"compare {restored} with {truth}")
        self._teller.done(f"identical to the disk at the instant of the snapshot{_fsck(clean)}")


def _fsck(clean: bool | None) -> str:
    return "" if clean is None else "; e2fsck finds its file system clean"


class _AtSnapshot(Silent):
    """Does something once, when the snapshot is there and before the first byte is read."""

    def __init__(self, action: Callable[[], None]) -> None:
        self._action = action
        self._done = False

    def phase(self, name: str) -> None:
        if name != "downloading" or self._done:
            return
        self._done = True
        self._action()

    def check(self) -> None:
        """Raises DemoFailedError where the moment never came."""
        if not self._done:
            raise DemoFailedError("the backup never said that it reads")
