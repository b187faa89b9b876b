"""Where a command works: on this machine's own data, or at a server by its API. Commands see documents, not which.

The documents are the API's (``services.documents``). A command that is not in ``AT_A_SERVER`` works here alone and
says so where a server is named.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final, Protocol

from vbm.errors import InputError, VbmError

if TYPE_CHECKING:  # the top level's help and completion load none of this
    from vbm.cancel import CancelToken
    from vbm.progress import Progress
    from vbm.repository.manifest import Manifest
    from vbm.services.access import Where
    from vbm.vsphere.restore_spec import RestoreSpec

Document = dict[str, Any]
Told = Callable[[str, VbmError], None]
AT_A_SERVER: Final = frozenset(
    {
        *("job list", "job show", "job run"),
        *("run list", "run show", "run cancel", "run logs"),
        "vm list",
        *("restore-point list", "restore-point show", "restore-point verify"),
        "restore vm",
    }
)
_ANYWHERE: Final = frozenset({"demo", "lab"})  # they have a home of their own
_SERVER: Final[ContextVar[str]] = ContextVar("vbm_server", default="")


class LocalOnlyError(InputError):
    """The command works on this machine's own data only."""

    code = "local-only"


class Site(Protocol):
    """Times in documents are RFC 3339. Every method raises VbmError."""

    def names(self) -> Mapping[str, str]:
        """Id → name of each vCenter and repository."""

    def jobs(self) -> list[Document]:
        """By name."""

    def job(self, name: str) -> Document:
        """With ``upcoming``: when it runs next."""

    def run_job(self, name: str, vms: Sequence[str], mode: str) -> Document:
        """The execution, and ``job``: the job's name."""

    def wait_for_job(self, execution: Document, cancel: CancelToken) -> list[Document]:
        """Its runs, once all have ended."""

    def runs(self, wanted: Mapping[str, Any], limit: int) -> list[Document]:
        """The newest first; ``wanted``: state, kind, job, vm, before."""

    def run(self, run_id: str) -> Document: ...

    def cancel_run(self, run_id: str) -> Document: ...

    def log(self, run_id: str, after: int) -> list[Document]:
        """Lines with a higher number, the oldest first."""

    def vms(self, vcenter: str | None, cancel: CancelToken) -> list[Document]: ...

    def points(self, where: Where, vm: str | None, failed: Told) -> Iterator[Document]:
        """Restore points; what can't be read is told to ``failed``."""

    def manifest(self, where: Where, given: str) -> tuple[str, Manifest]:
        """(the repository's name, the manifest) of the restore point of that id, or part of one."""

    def verify(
        self, where: Where, given: str, *, read_data: bool, progress: Progress, cancel: CancelToken
    ) -> Document:
        """What was found: good, restore_points, chunks_checked, bytes_checked, damages."""

    def restore_vm(
        self,
        where: Where,
        manifest: Manifest,
        vcenter: str,
        spec: RestoreSpec,
        progress: Progress,
        cancel: CancelToken,
    ) -> Document:
        """What was made."""


def work_at(server: str) -> None:
    """From here on commands work at that server; empty: here."""
    _SERVER.set(server)


def opened(where: Where | None = None) -> AbstractContextManager[Site]:
    """The site of this command. A repository named by its address is always worked on from here."""
    remote = bool(_SERVER.get()) and (where is None or where.url is None)
    if remote:
        site: AbstractContextManager[Site] = importlib.import_module("vbm.cli.site_remote").opened(
            _SERVER.get()
        )
    else:
        site = importlib.import_module("vbm.cli.site_local").opened()
    return site


def local_only(command: Any, path: str) -> None:
    """Let every command of the tree that has to be run where the data is refuse to work at a server."""
    for name, child in getattr(command, "commands", {}).items():
        local_only(child, f"{path} {name}")
    work = command.callback
    if hasattr(command, "commands") or path in AT_A_SERVER or path.split(maxsplit=1)[0] in _ANYWHERE:
        return

    @functools.wraps(work)
    def refusing(*arguments: Any, **options: Any) -> Any:
        if _SERVER.get() and not options.get("repository_url"):
            raise LocalOnlyError(
                f"vbm {path} works on this machine's own data, not at a server",
                hint="run it on the server, or leave out --server and unset VBM_SERVER",
            )
        return work(*arguments, **options)

    command.callback = refusing
