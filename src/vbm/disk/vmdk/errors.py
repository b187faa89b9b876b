"""What can be wrong with a VMDK, and the limits under which none is believed."""

from __future__ import annotations

from typing import Final

from vbm.errors import DamagedError, InputError
from vbm.units import KIB, SECTOR

MAX_CAPACITY_BYTES: Final = 1 << 50  # 1 PiB; vSphere ends at 62 TiB
MAX_DESCRIPTOR_BYTES: Final = 64 * KIB
MAX_CHAIN: Final = 32  # vSphere's own limit of snapshot levels


class VmdkDamagedError(DamagedError):
    """A VMDK contradicts itself: it was cut, overwritten, or made to mislead."""

    code = "vmdk-damaged"


class VmdkUnsupportedError(InputError):
    """A VMDK of a kind or version that can't be read here."""

    code = "vmdk-unsupported"


class VmdkDirtyError(VmdkUnsupportedError):
    """A delta extent whose journal was not replayed: its host died, or it is still being written."""

    code = "vmdk-dirty"


def checked_capacity(sectors: int, what: str) -> int:
    """The capacity in bytes of a sector count that a file claims."""
    if not 0 < sectors <= MAX_CAPACITY_BYTES // SECTOR:
        raise VmdkDamagedError(f"{what} claims an impossible capacity of {sectors} sectors")
    return sectors * SECTOR


def whole_sectors(capacity_bytes: int) -> int:
    """The sectors of a disk to be written; a VMDK can't have a part of one."""
    if capacity_bytes % SECTOR or not 0 < capacity_bytes <= MAX_CAPACITY_BYTES:
        raise VmdkUnsupportedError(
            f"a VMDK can't have {capacity_bytes} bytes", hint=f"it needs a positive multiple of {SECTOR}"
        )
    return capacity_bytes // SECTOR


def agreed_capacity(claimed_bytes: int, expected_bytes: int | None) -> int:
    """The capacity that the descriptor expects, if the extent has as much."""
    if expected_bytes is not None and claimed_bytes < expected_bytes:
        raise VmdkDamagedError(
            f"an extent of {claimed_bytes} bytes where its descriptor says {expected_bytes}"
        )
    return claimed_bytes if expected_bytes is None else expected_bytes
