"""Identifiers: distinct static types for things that are all strings, ints or bytes at run time."""

from __future__ import annotations

import secrets
from datetime import datetime
from typing import Final, NewType

ChunkId = NewType("ChunkId", bytes)  # 32 bytes; ZERO_CHUNK stands for a chunk of zeros, never stored
PackId = NewType("PackId", str)  # 64 hex digits: SHA-256 of the pack object as stored
RestorePointId = NewType("RestorePointId", str)
RunId = NewType("RunId", str)
SessionId = NewType("SessionId", str)
VmUuid = NewType("VmUuid", str)  # config.instanceUuid, lower case: the identity of a VM
MoRef = NewType("MoRef", str)  # managed object id within one vCenter, such as "vm-42"
DiskKey = NewType("DiskKey", int)  # VirtualDisk.key, such as 2000
ChangeId = NewType("ChangeId", str)  # "<uuid>/<sequence>"

ZERO_CHUNK: Final = ChunkId(bytes(32))


def new_id(now: datetime) -> str:
    """29 characters that sort by time: UTC to the millisecond, then 40 random bits.

    Example: ``20261123T064837123-9f1c2ab03e``. Safe in file names, object keys and URLs.
    """
    stamp = now.strftime("%Y%m%dT%H%M%S") + f"{now.microsecond // 1000:03d}"
    return f"{stamp}-{secrets.token_hex(5)}"
