"""What is asked of a restore of a whole VM, and how it is refused."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

from vbm.errors import InputError, VbmError

_LONGEST_NAME: Final = 80
LEAVE_OUT: Final = "-"  # as the target of a network map: the adapter is left out


class NameTakenError(InputError):
    """A VM of that name is already in that folder; nothing was changed."""

    code = "vm-name-taken"


class PlacementError(InputError):
    """Datastore, host, folder, pool or network do not exist there or do not go together."""

    code = "restore-placement"


class RestoreFailedError(VbmError):
    """The VM could not be made; what was made of it is removed again."""

    code = "restore-failed"


class UploadDamagedError(VbmError):
    """The server says that it received other bytes than were sent."""

    code = "upload-damaged"


class HalfMadeVmError(VbmError):
    """A restore failed and its half-made VM could not be removed; the message names it."""

    code = "half-made-vm-left"


@dataclass(frozen=True, slots=True)
class RestoreSpec:
    """Empty texts mean: as it was, where that still exists, else where there is only one choice.

    ``host`` is a name; ``folder`` a path below the datacenter's VM folder; ``resource_pool`` a path such as
    ``cluster/Resources/pool``, or a cluster's name. ``network_map``: name at the time of the backup → name now, or
    ``-`` to leave the adapter out. ``keep_identity`` keeps MAC addresses and UUIDs: right only where the original
    is gone for good. ``in_place``: the disks of the very VM that was backed up are replaced and nothing else;
    ``name`` is not looked at. ``method``: auto tries nfc, and upload where that is not possible.
    """

    name: str = ""
    datastore: str = ""
    host: str = ""
    folder: str = ""
    resource_pool: str = ""
    datacenter: str = ""
    network_map: Mapping[str, str] = field(default_factory=dict)
    power_on: bool = False
    connect_networks: bool = True
    keep_identity: bool = False
    in_place: bool = False
    method: Literal["auto", "nfc", "upload"] = "auto"

    def check(self) -> None:
        """Raises InputError for what can't be right in any vCenter."""
        name = self.name
        if not self.in_place and (
            not name.strip() or len(name) > _LONGEST_NAME or any(ord(c) < 32 for c in name)
        ):
            raise InputError(f"not a name for a VM: {name!r}", hint=f"1 to {_LONGEST_NAME} characters")
        if self.method not in ("auto", "nfc", "upload"):
            raise InputError(f"no method {self.method!r}", hint="one of auto, nfc, upload")
