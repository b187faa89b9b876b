"""How reading a disk from a datastore or a host goes wrong."""

from __future__ import annotations

from vbm.errors import DamagedError, NotAllowedError, NotFoundError, TransientError, VbmError
from vbm.vsphere.transports.base import TransportUnsuitableError


class RangeNotHonouredError(TransportUnsuitableError):
    """The server sends the whole file where a part was asked for: reading this way would take for ever."""

    code = "range-not-honoured"


class WrongRangeError(TransientError):
    """The server answered with another part of the file than it was asked for, time and again."""

    code = "wrong-range"


class ReadBrokenOffError(TransientError):
    """Connections broke off more often than is worth another try."""

    code = "read-broken-off"


class HostTooBusyError(TransientError):
    """The host kept on refusing requests for being too busy."""

    code = "host-too-busy"


class FileAccessRefusedError(NotAllowedError):
    """The host does not give this file to this account."""

    code = "datastore-file-refused"


class FileMissingError(NotFoundError):
    """The file is not on the datastore (any more)."""

    code = "datastore-file-missing"


class FileChangedError(DamagedError):
    """A file that a snapshot had frozen has another size than before: nothing read of it can be relied on."""

    code = "datastore-file-changed"


class ActiveFileError(TransportUnsuitableError):
    """The file is the one that a running VM writes to now: reading it would give a disk of no moment in time."""

    code = "file-in-use"


class SnapshotMovedError(VbmError):
    """The snapshot, or the files that it froze, changed during the reading: what was read must be dropped."""

    code = "snapshot-moved"


class StreamBrokenError(TransientError):
    """The stream of an exported disk broke off; it can't be resumed, only begun again."""

    code = "stream-broken"
