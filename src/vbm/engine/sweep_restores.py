"""Removes the half-made VMs that dead restores have left; a VM that was whole already stays."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Final, Literal

from vbm.clock import parse_rfc3339
from vbm.engine.restore_ledger import RestoreLedger
from vbm.errors import NotFoundError, VbmError
from vbm.progress import Progress
from vbm.vsphere import half_made, in_place_restore
from vbm.vsphere.making import HalfMade
from vbm.vsphere.session import Session

Became = Literal["gone", "whole", "exchanged", "waiting"]
_WITH_LOOSE_DISKS: Final = ("loose", "exchanging")
_LATE: Final = timedelta(minutes=15)  # no call of a dead process is carried out later


@dataclass(frozen=True, slots=True)
class SweptVm:
    """One that was left, and what became of it. ``error`` says why it is still there."""

    mark: str
    name: str
    became: Became
    error: str = ""


def settle(
    session: Session, half: HalfMade, progress: Progress, *, waits: tuple[float, ...], by_run: bool
) -> Became:
    """What it is now; nothing half made of it is there any more, save where it is ``waiting``.

    ``by_run``: the same restore asks, shortly after its process died, and its last steps will follow. Raises
    HalfMadeVmError.
    """
    if half.stage == "done":
        return "exchanged" if half.target else "whole"
    if half.target and half.stage in _WITH_LOOSE_DISKS:
        exchanged = in_place_restore.settle(session, half, progress, keep_replaced=not by_run, waits=waits)
        return "exchanged" if exchanged else "gone"
    if half.stage == "whole":
        return "whole" if _kept(session, half, by_run=by_run) else "gone"
    if half_made.remove(session, half, waits):
        return "gone"
    late = session.clock.now() - parse_rfc3339(half.created) > _LATE
    return "gone" if late else "waiting"


def _kept(session: Session, half: HalfMade, *, by_run: bool) -> bool:
    """Whether the whole VM is there; its mark is taken off where nobody else will."""
    if half_made.is_gone(session, half.moref):
        return False
    if not by_run and half_made.find(session, half):
        half_made.take_off_mark(session, half.moref)
    return True


def sweep_restores(session: Session, ledger: RestoreLedger, progress: Progress) -> list[SweptVm]:
    """Every one that was left in this vCenter. Raises nothing: what can't be removed stays in the ledger."""
    left = ledger.leftovers(session.endpoint.name, session.about.get("instance_uuid", ""))
    return [_sweep(session, ledger, half, progress) for half in left if ledger.claim(half)]


def _sweep(session: Session, ledger: RestoreLedger, half: HalfMade, progress: Progress) -> SweptVm:
    try:
        became = settle(session, half, progress, waits=half_made.ONCE, by_run=False)
    except NotFoundError:
        became = "gone"
    except VbmError as error:
        ledger.release(half.mark)
        progress.warn(f"a restore that was interrupted has left {half.name}: {error.message}")
        return SweptVm(half.mark, half.name, "waiting", error.message)
    if became == "waiting":
        ledger.release(half.mark)
    else:
        ledger.forget(half.mark)
        progress.note(told(half, became))
    return SweptVm(half.mark, half.name, became)


def told(half: HalfMade, became: Became) -> str:
    """For people."""
    return {
        "gone": f"removed what an interrupted restore had made of {half.name}",
        "whole": f"the VM {half.name} of an interrupted restore is whole and stays",
        "exchanged": f"an interrupted restore had given {half.target} its disks; the VM stays as it is",
        "waiting": f"an interrupted restore may still be making {half.name}",
    }[became]
