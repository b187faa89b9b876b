"""One run of ours a VM at a time, among all processes of one home."""

from __future__ import annotations

import fcntl
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from vbm.engine.errors import VmInUseError
from vbm.ids import VmUuid

_UNSAFE: Final = re.compile(r"[^A-Za-z0-9._-]")


@contextmanager
def vm_lock(home: Path, vm: VmUuid, name: str) -> Iterator[None]:
    """Held while the body runs; it ends with the process, however that dies. Raises VmInUseError at once."""
    folder = home / "locks"
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"vm-{_UNSAFE.sub('_', vm)}.lock"
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(descriptor)
        raise VmInUseError(
            f"another backup of {name} is running", hint="wait for it to end, or cancel it"
        ) from error
    try:
        yield
    finally:
        os.close(descriptor)
