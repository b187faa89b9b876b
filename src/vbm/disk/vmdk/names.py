"""Names that files from elsewhere give us: none may lead out of the folder where we look for them."""

from __future__ import annotations

import re

from vbm.disk.vmdk.errors import VmdkUnsupportedError

_VOLUME = re.compile(r"/vmfs/volumes/(?P<volume>[^/]+)/(?P<path>.+)", re.DOTALL)


def member_name(name: str) -> str:
    """The name itself if it is one plain file name; raises VmdkUnsupportedError for everything else."""
    bad = not name or name in {".", ".."} or any(c in "/\\" or ord(c) < 32 or ord(c) == 127 for c in name)
    if bad or len(name.encode("utf-8", "surrogatepass")) > 255:
        raise VmdkUnsupportedError(f"not the name of a file beside the descriptor: {name[:80]!r}")
    return name


def volume_path(hint: str) -> tuple[str, str]:
    """Volume and path of ``/vmfs/volumes/<volume>/<path>``; volume ``""`` for a plain name beside the child.

    The volume is a datastore's name or UUID, as the host writes it. Raises VmdkUnsupportedError for other
    absolute paths and for any segment ``..``, ``.`` or empty.
    """
    match = _VOLUME.fullmatch(hint)
    if match is None:
        return "", member_name(hint)
    return member_name(match["volume"]), "/".join(map(member_name, match["path"].split("/")))
