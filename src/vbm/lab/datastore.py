"""A datastore of the lab: a folder of the host, and how the datastore behaves."""

from __future__ import annotations

import shutil
import threading
from pathlib import Path
from typing import Final

from vbm.lab.model import LabFault
from vbm.units import KIB, MIB, TIB

WHOLE: Final = "whole"  # "*" answers one area: the whole disk
FAULT: Final = "fault"  # "*" is refused with noEpoch
ALLOCATED: Final = "allocated"  # "*" answers what is allocated


class Datastore:
    """Thread-safe. ``path`` is the only way from a datastore path to a path of the host."""

    def __init__(self, moref: str, name: str, kind: str, root: Path, **behaviour: object) -> None:
        self.moref = moref
        self.name = name
        self.type = kind  # VMFS | NFS | NFS41 | vsan | VVOL
        self.root = root
        self.capacity_bytes = int(str(behaviour.get("capacity_bytes", 4 * TIB)))
        self.serves_flats = bool(behaviour.get("serves_flats", kind not in {"vsan", "VVOL"}))
        self.star = str(behaviour.get("star", ALLOCATED if kind == "VMFS" else WHOLE))
        self.accessible = bool(behaviour.get("accessible", True))
        self.remote = str(behaviour.get("remote", ""))  # "host:/path" of a NAS mount
        free = behaviour.get("free_override")
        self._free_override = None if free is None else int(str(free))
        self._lock = threading.Lock()

    @property
    def allocation_bytes(self) -> int:
        """How coarse "*" sees allocation: VMFS-6 allocates 1 MiB file blocks."""
        return MIB if self.type == "VMFS" else 64 * KIB

    @property
    def url(self) -> str:
        return f"ds:///vmfs/volumes/{self.moref}/"

    def path(self, relative: str) -> Path:
        """The host's path of ``dir/file``. Raises LabFault InvalidDatastorePath for ``..`` and links outwards."""
        parts = [part for part in relative.split("/") if part not in {"", "."}]
        bad = ".." in parts or "\0" in relative or relative.startswith("/")
        path = self.root.joinpath(*parts)
        if bad or not path.resolve().is_relative_to(self.root.resolve()):
            text = f"[{self.name}] {relative}"
            raise LabFault(
                "InvalidDatastorePath",
                f"not within the datastore: {text}",
                properties={"datastorePath": text},
            )
        return path

    @property
    def free_bytes(self) -> int:
        with self._lock:
            if self._free_override is not None:
                return self._free_override
        return min(self.capacity_bytes, shutil.disk_usage(self.root).free)

    def set_free(self, size_bytes: int | None) -> None:
        """Pretend that so much is left (0 = full); None = the host's own free space again."""
        with self._lock:
            self._free_override = size_bytes

    def take_space(self, size_bytes: int) -> None:
        """About to allocate. Raises LabFault NoDiskSpace where a pretended limit is exceeded."""
        with self._lock:
            if self._free_override is None:
                return
            if size_bytes > self._free_override:
                message = f"no space left on datastore {self.name}"
                raise LabFault(
                    "NoDiskSpace", message, properties={"datastore": self.name, "file": f"[{self.name}]"}
                )
            self._free_override -= size_bytes

    def to_json(self) -> dict[str, object]:
        return {
            "moref": self.moref,
            "name": self.name,
            "kind": self.type,
            "root": str(self.root),
            "capacity_bytes": self.capacity_bytes,
            "serves_flats": self.serves_flats,
            "star": self.star,
            "accessible": self.accessible,
            "remote": self.remote,
            "free_override": self._free_override,
        }
