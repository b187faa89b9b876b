"""Where a file lies on a datastore, ``[datastore1] web/web.vmdk``, and its address below ``/folder``."""

from __future__ import annotations

from dataclasses import dataclass, replace
from urllib.parse import quote

from vbm.errors import InputError

_LONGEST = 2048


class BadDatastorePathError(InputError):
    """A text that names no file within a datastore."""

    code = "datastore-path"


@dataclass(frozen=True, slots=True)
class DatastorePath:
    """``path`` is relative to the datastore's root: no ``..``, no empty segment, no control character."""

    datastore: str
    path: str

    def __post_init__(self) -> None:
        segments = self.path.split("/")
        bad = not self.datastore or any(s in {"", ".", ".."} for s in segments)
        odd = any(ord(c) < 32 or ord(c) == 127 for c in self.datastore + self.path)
        if bad or odd or "]" in self.datastore or len(self.path) > _LONGEST:
            raise BadDatastorePathError(
                f"not a path within a datastore: {str(self)[:200]!r}",
                hint="it is written [datastore] folder/file, without ..",
            )

    @classmethod
    def parse(cls, text: str) -> DatastorePath:
        """Of ``[datastore] folder/file``. Raises BadDatastorePathError."""
        head, bracket, path = text.partition("]")
        if not bracket or not head.startswith("["):
            raise BadDatastorePathError(
                f"not a path within a datastore: {text[:200]!r}", hint="it is written [datastore] folder/file"
            )
        return cls(head[1:], path.lstrip(" "))

    def __str__(self) -> str:
        return f"[{self.datastore}] {self.path}"

    @property
    def name(self) -> str:
        return self.path.rsplit("/", 1)[-1]

    @property
    def folder(self) -> str:
        """The path of its folder, ``""`` at the datastore's root."""
        return self.path.rpartition("/")[0]

    def sibling(self, name: str) -> DatastorePath:
        """Another file of the same folder."""
        return replace(self, path=f"{self.folder}/{name}" if self.folder else name)

    def url(self, datacenter: str) -> str:
        """``/folder/web/web.vmdk?dcPath=…&dsName=…``: each segment percent-encoded, brackets and ``%`` too.

        ``datacenter`` is its whole inventory path as the server stores it, escapes kept; ``""`` on an ESXi host.
        """
        place = f"dcPath={quote(datacenter, safe='')}&" if datacenter else ""
        return f"/folder/{quote(self.path, safe='/')}?{place}dsName={quote(self.datastore, safe='')}"
