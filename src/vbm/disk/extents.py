"""Ranges of a disk: what holds data, what reads as zeros, what changed."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class ExtentKind(Enum):
    DATA = "data"  # must be read
    ZERO = "zero"  # reads as zeros; need not be read


@dataclass(frozen=True, slots=True, order=True)
class Extent:
    """``length`` > 0 bytes from ``start`` ≥ 0, all of one kind."""

    start: int
    length: int
    kind: ExtentKind = ExtentKind.DATA

    @property
    def end(self) -> int:
        return self.start + self.length
