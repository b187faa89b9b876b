"""Conditions of a change: called with the record as it is, in the transaction that changes it; they raise or do not."""

from __future__ import annotations

from typing import Any


def anything(_record: Any) -> None:
    """No condition."""
