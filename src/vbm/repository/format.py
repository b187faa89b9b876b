"""The constants of format version 1; the byte tables are in docs/design/repository-format.md."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from vbm.errors import DamagedError, InputError, NotFoundError, VbmError
from vbm.ids import PackId, RestorePointId, VmUuid
from vbm.units import KIB, MIB

FORMAT_VERSION: Final = 1
CONFIG_KEY: Final = "config"
MANIFEST_NAME: Final = "manifest.json"
PACKS_PREFIX: Final = "packs/"
DEFAULT_CHUNK_BYTES: Final = MIB
SMALLEST_CHUNK_BYTES: Final = 256 * KIB
LARGEST_CHUNK_BYTES: Final = 4 * MIB
PACK_BYTES: Final = 32 * MIB
LEVELS: Final = {"fast": 1, "default": 3, "archive": 9}
SAFE_SEGMENT: Final = re.compile(r"(?!\.)[A-Za-z0-9._-]{1,128}")


class FormatError(DamagedError):
    """An object is not what its place says: cut short, altered, swapped with another."""

    code = "object-damaged"


class NotARepositoryError(NotFoundError):
    """There is no repository at that place."""

    code = "not-a-repository"


class NewerFormatError(VbmError):
    """The repository was written by a newer version of the product."""

    code = "repository-newer"


@dataclass(frozen=True, slots=True)
class RepositoryOptions:
    """What is chosen once, when a repository is made."""

    chunk_size_bytes: int = DEFAULT_CHUNK_BYTES
    compression: str = "default"  # fast, default, archive

    def __post_init__(self) -> None:
        size = self.chunk_size_bytes
        if size & (size - 1) or not SMALLEST_CHUNK_BYTES <= size <= LARGEST_CHUNK_BYTES:
            raise InputError(
                f"chunk size {size} is not possible", hint="use 256KiB, 512KiB, 1MiB, 2MiB or 4MiB"
            )
        if self.compression not in LEVELS:
            raise InputError(
                f"no such compression: {self.compression!r}", hint=f"use one of {', '.join(LEVELS)}"
            )


def pack_key(pack: PackId) -> str:
    return f"{PACKS_PREFIX}{pack[:2]}/{pack}"


def restore_point_prefix(vm: VmUuid, restore_point: RestorePointId) -> str:
    """Raises InputError where one of the two can't be part of an object's name."""
    for segment in (vm, restore_point):
        if not SAFE_SEGMENT.fullmatch(segment):
            raise InputError(f"not an id: {segment[:80]!r}")
    return f"restore-points/{vm}/{restore_point}/"


def manifest_key(vm: VmUuid, restore_point: RestorePointId) -> str:
    return f"{restore_point_prefix(vm, restore_point)}{MANIFEST_NAME}"
