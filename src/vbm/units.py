"""Sizes and durations between people and integers. Binary units only: 1 KiB is 1024 bytes."""

from __future__ import annotations

import re
from typing import Final

from vbm.errors import InputError

KIB: Final = 1024
MIB: Final = 1024 * KIB
GIB: Final = 1024 * MIB
TIB: Final = 1024 * GIB
SECTOR: Final = 512

_UNITS: Final = {"": 1, "B": 1, "K": KIB, "M": MIB, "G": GIB, "T": TIB, "P": 1024 * TIB}
_SIZE: Final = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([KMGTP]?)(?:i?B)?\s*", re.IGNORECASE)


def parse_size(text: str) -> int:
    """Bytes of ``64KiB``, ``1MiB``, ``4GiB``, ``512``; ``M``, ``MB`` and ``MiB`` all mean 2**20.

    Raises InputError for anything else, for a negative size and for a fraction of a byte.
    """
    match = _SIZE.fullmatch(text)
    if match is None:
        raise InputError(f"not a size: {text!r}", hint="write it like 64KiB, 1MiB or 4GiB")
    size = float(match[1]) * _UNITS[match[2].upper()]
    if not size.is_integer():
        raise InputError(f"not a whole number of bytes: {text!r}")
    return int(size)


def format_size(size_bytes: float) -> str:
    """A size for humans with three significant digits at most: ``0 B``, ``1.50 GiB``, ``640 MiB``."""
    size = float(size_bytes)
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if abs(size) < 999.5:
            return f"{size:.0f} {unit}" if unit == "B" or abs(size) >= 99.95 else f"{size:.3g} {unit}"
        size /= 1024
    return f"{size:.3g} PiB"


def format_duration(seconds: float) -> str:
    """A duration for humans: ``0.4 s``, ``12 s``, ``3 min 05 s``, ``2 h 07 min``, ``3 d 04 h``."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    minutes, second = divmod(whole, 60)
    hours, minute = divmod(minutes, 60)
    days, hour = divmod(hours, 24)
    if days:
        return f"{days} d {hour:02d} h"
    if hours:
        return f"{hours} h {minute:02d} min"
    if minutes:
        return f"{minutes} min {second:02d} s"
    return f"{second} s"
