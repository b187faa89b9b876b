"""The operations, by what they are about. A dictionary that comes back is the server's own document."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, Final, cast
from urllib.parse import quote

from vbm.cancel import CancelToken
from vbm.client.documents import Execution, Job, LogLine, Point, Run, Vm
from vbm.client.server import Server
from vbm.client.transport import NotThisProductError, Transport
from vbm.clock import Clock
from vbm.errors import VbmError

ENDED: Final = frozenset({"succeeded", "warning", "failed", "cancelled"})
_POLL_SECONDS: Final = 1.0


class JobNotBegunError(VbmError):
    """The server could not begin the job."""

    code = "job-not-begun"


class Client:
    """A context manager. Lists are iterators that ask for the next page when they need it."""

    def __init__(self, server: Server, *, clock: Clock | None = None) -> None:
        self._transport = Transport(server, clock=clock)

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._transport.close()

    # -- any operation

    def call(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, Any] | None = None,
        body: Any = None,
        if_match: str = "",
    ) -> Any:
        """What is answered, None where nothing is. ``path`` is below ``/api/v1``."""
        headers = {"If-Match": if_match} if if_match else {}
        answer = self._transport.send(method, path, params=params, body=body, headers=headers)
        if not answer.content:
            return None
        try:
            return answer.json()
        except ValueError as error:
            raise NotThisProductError(
                f"{answer.url.host} answers {path} with no JSON",
                hint="does VBM_SERVER name vSphere Backup Manager itself?",
            ) from error

    def pages(self, path: str, params: Mapping[str, Any] | None = None) -> Iterator[Any]:
        """Every item of a list, however many pages it has; ``limit`` in ``params`` is the size of one."""
        cursor = ""
        while True:
            found = self.call("GET", path, params={"limit": 500, **(params or {}), "cursor": cursor})
            yield from found["items"]
            cursor = found["next_cursor"]
            if not cursor:
                return

    # -- jobs

    def jobs(self, **filters: Any) -> Iterator[Job]:
        """By name."""
        return cast("Iterator[Job]", self.pages("/jobs", filters))

    def job(self, name: str) -> Job:
        """The job of that name or id, with the next times at which it runs."""
        return cast("Job", self.call("GET", f"/jobs/{_part(name)}"))

    def create_job(self, document: Mapping[str, Any]) -> Job:
        return cast("Job", self.call("POST", "/jobs", body=dict(document)))

    def change_job(self, name: str, changes: Mapping[str, Any], if_match: str = "*") -> Job:
        """``if_match``: the ETag of what was read; ``*`` overwrites."""
        return cast("Job", self.call("PATCH", f"/jobs/{_part(name)}", body=dict(changes), if_match=if_match))

    def delete_job(self, name: str) -> None:
        self.call("DELETE", f"/jobs/{_part(name)}")

    def run_job(self, name: str, vms: Sequence[str] = (), mode: str = "") -> Execution:
        """Ask for it; ``wait_for_job`` waits for what becomes of it."""
        body = {"vms": list(vms), "mode": mode}
        return cast("Execution", self.call("POST", f"/jobs/{_part(name)}/run", body=body))

    def wait_for_job(self, begun: Execution, cancel: CancelToken | None = None) -> list[Run]:
        """Its runs, once all have ended. Raises JobNotBegunError."""
        cancel = cancel or CancelToken()
        path = f"/jobs/{_part(begun['job_id'])}/executions/{_part(begun['execution_id'])}"
        while True:
            found = cast("Execution", self.call("GET", path))
            if found["state"] == "failed":
                raise JobNotBegunError(found["error"] or "the job could not begin")
            if found["state"] == "started" and all(run["state"] in ENDED for run in found["runs"]):
                return found["runs"]
            cancel.wait(_POLL_SECONDS)
            cancel.check()

    # -- runs

    def runs(self, **filters: Any) -> Iterator[Run]:
        """The newest first. Filters: state, kind, job, vm, vcenter, repository, since, until."""
        return cast("Iterator[Run]", self.pages("/runs", filters))

    def run(self, run_id: str) -> Run:
        """The run of that id, or of an unambiguous beginning or end of one."""
        return cast("Run", self.call("GET", f"/runs/{_part(run_id)}"))

    def cancel_run(self, run_id: str) -> Run:
        return cast("Run", self.call("POST", f"/runs/{_part(run_id)}/cancel"))

    def log(self, run_id: str, after: int = 0) -> Iterator[LogLine]:
        """The oldest first, from the line after that number on."""
        path, params = f"/runs/{_part(run_id)}/log", {"after": after} if after else {}
        return cast("Iterator[LogLine]", self.pages(path, params))

    def wait_for_run(
        self,
        run_id: str,
        shown: Callable[[Run], None] = lambda _run: None,
        cancel: CancelToken | None = None,
    ) -> Run:
        """The run, once it has ended, however; ``shown`` is told how far it is."""
        cancel = cancel or CancelToken()
        while True:
            found = self.run(run_id)
            shown(found)
            if found["state"] in ENDED:
                return found
            cancel.wait(_POLL_SECONDS)
            cancel.check()

    # -- virtual machines and restore points

    def vms(self, **filters: Any) -> Iterator[Vm]:
        """By name. Filters: vcenter, name, protection."""
        return cast("Iterator[Vm]", self.pages("/vms", filters))

    def points(self, **filters: Any) -> Iterator[Point]:
        """Restore points, the newest first. Filters: vm, repository, vcenter, job, pinned, verified, since, until."""
        return cast("Iterator[Point]", self.pages("/backups", filters))

    def point(self, point_id: str) -> Point:
        return cast("Point", self.call("GET", f"/backups/{_part(point_id)}"))

    def manifest(self, point_id: str) -> dict[str, Any]:
        return cast("dict[str, Any]", self.call("GET", f"/backups/{_part(point_id)}/manifest"))

    def verify_point(self, point_id: str, mode: str = "full", repository: str = "") -> Run:
        """The run that will verify it."""
        body = {"mode": mode, "repository_id": repository}
        return cast("Run", self.call("POST", f"/backups/{_part(point_id)}/verify", body=body))

    def restore_point(self, point_id: str, wanted: Mapping[str, Any]) -> Run:
        """The run that will restore its VM."""
        return cast("Run", self.call("POST", f"/backups/{_part(point_id)}/restore", body=dict(wanted)))


def _part(name: str) -> str:
    return quote(name, safe="")
