"""What can stop a backup or a restore as such."""

from __future__ import annotations

from typing import ClassVar

from vbm.errors import InputError, VbmError


class NothingToBackUpError(InputError):
    """No disk of the VM can be backed up, or the VM itself can't; the message has the reasons."""

    code = "nothing-to-back-up"


class VmInUseError(VbmError):
    """Another run of ours is at work on this VM."""

    code = "vm-in-use"
    permanent: ClassVar[bool] = False


class SnapshotLostError(VbmError):
    """While its disks were read, the snapshot went away or the disks moved: what was read is discarded."""

    code = "snapshot-lost"
    permanent: ClassVar[bool] = False


class OutputExistsError(InputError):
    """A restore never overwrites a file unless told to."""

    code = "output-exists"


class OutputWriteError(VbmError):
    """The file that is restored to can't be written."""

    code = "output-write"
