"""A server, through its API."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from itertools import islice
from typing import Any, Final, cast

from vbm.cancel import CancelToken
from vbm.cli.site import Document, Site, Told
from vbm.client import Client, Run, Server
from vbm.client.documents import Execution, Point
from vbm.errors import CancelledError, InputError, NotAllowedError, NotFoundError, VbmError
from vbm.ids import DiskKey
from vbm.progress import Progress
from vbm.repository.manifest import Manifest
from vbm.services.access import Where
from vbm.vsphere.restore_spec import RestoreSpec

_SHORTEST: Final = 4  # characters of an id that may stand for all of it
_MADE: Final = (
    *("restore_point", "name", "moref", "vcenter", "disks", "left_out", "capacity_bytes", "duration_seconds"),
)


@contextmanager
def opened(url: str) -> Iterator[Site]:
    """The server at that address, with the key that the environment holds."""
    with Client(Server.from_environment(url)) as client:
        yield RemoteSite(client)


class RemoteSite:
    def __init__(self, client: Client) -> None:
        self._client = client

    def names(self) -> Mapping[str, str]:
        found = [*self._client.pages("/vcenters"), *self._client.pages("/repositories")]
        return {one["id"]: one["name"] for one in found}

    def jobs(self) -> list[Document]:
        return [dict(one) for one in self._client.jobs()]

    def job(self, name: str) -> Document:
        return dict(self._client.job(name))

    def run_job(self, name: str, vms: Sequence[str], mode: str) -> Document:
        begun = self._client.run_job(name, vms, mode)
        return {**begun, "job": name}

    def wait_for_job(self, execution: Document, cancel: CancelToken) -> list[Document]:
        return [dict(one) for one in self._client.wait_for_job(cast("Execution", execution), cancel)]

    def runs(self, wanted: Mapping[str, Any], limit: int) -> list[Document]:
        given = {name: value for name, value in wanted.items() if value and name != "before"}
        given["limit"] = min(limit, 500)
        before = wanted.get("before") or ""
        found = (dict(one) for one in self._client.runs(**given) if not before or one["id"] < before)
        return list(islice(found, limit))

    def run(self, run_id: str) -> Document:
        return dict(self._client.run(run_id))

    def cancel_run(self, run_id: str) -> Document:
        return dict(self._client.cancel_run(run_id))

    def log(self, run_id: str, after: int) -> list[Document]:
        return [dict(line) for line in self._client.log(run_id, after)]

    def vms(self, vcenter: str | None, cancel: CancelToken) -> list[Document]:
        found = []
        for one in self._client.vms(vcenter=vcenter or ""):
            cancel.check()
            found.append(dict(one))
        return found

    def points(self, where: Where, vm: str | None, failed: Told) -> Iterator[Document]:  # noqa: ARG002
        for one in self._client.points(vm=vm or "", repository=where.name or ""):
            yield dict(one)

    def manifest(self, where: Where, given: str) -> tuple[str, Manifest]:
        point = self._point(where, given)
        stored = json.dumps(self._client.manifest(point["id"])).encode()
        return point["repository"] or "", Manifest.from_json(stored, point["id"])

    def verify(
        self, where: Where, given: str, *, read_data: bool, progress: Progress, cancel: CancelToken
    ) -> Document:
        point = self._point(where, given)
        run = self._client.verify_point(point["id"], "full" if read_data else "quick", point["repository_id"])
        return self._result(run, progress, cancel)

    def restore_vm(
        self,
        where: Where,
        manifest: Manifest,
        vcenter: str,
        spec: RestoreSpec,
        progress: Progress,
        cancel: CancelToken,
    ) -> Document:
        wanted = {
            "name": "" if spec.in_place else spec.name,
            "in_place": spec.in_place,
            "vcenter_id": vcenter,
            "datastore": spec.datastore,
            "host": spec.host,
            "folder": spec.folder,
            "network": dict(spec.network_map),
            "power_on": spec.power_on,
            "repository_id": where.name or "",
        }
        run = self._client.restore_point(manifest.restore_point_id, wanted)
        done = self._result(run, progress, cancel)
        return {name: done[name] for name in _MADE}

    def _point(self, where: Where, given: str) -> Point:
        """Of that id, or of an unambiguous beginning or end of one."""
        try:
            return self._client.point(given)
        except NotFoundError:
            if len(given) < _SHORTEST:
                raise
            known = self._client.points(repository=where.name or "")
            fits = [one for one in known if one["id"].startswith(given) or one["id"].endswith(given)]
            if not fits:
                raise
        if len(fits) > 1:
            ids = ", ".join(sorted(one["id"] for one in fits)[:5])
            raise InputError(f"{len(fits)} restore points fit {given!r}", hint=ids)
        return fits[0]

    def _result(self, begun: Run, progress: Progress, cancel: CancelToken) -> Document:
        """What the run has found or made. One that fails without a result raises its error; a cancel stops it there."""
        progress.note(f"run {begun['id']} on the server")
        shown = _shown_by(progress)
        try:
            run = self._client.wait_for_run(begun["id"], shown, cancel)
        except CancelledError:
            with suppress(NotAllowedError):  # it has ended meanwhile
                self._client.cancel_run(begun["id"])
            self._client.wait_for_run(begun["id"], shown)
            raise
        for warning in run["warnings"]:
            progress.warn(warning)
        if run["result"]:
            return run["result"]
        failure = run["error"] or {"code": "failed", "message": f"the run ended {run['state']}", "hint": ""}
        kind = CancelledError if run["state"] == "cancelled" else VbmError
        error = kind(failure["message"], hint=failure["hint"])
        error.code = failure["code"]  # type: ignore[misc]
        raise error


def _shown_by(progress: Progress) -> Callable[[Run], None]:
    """Tells the listener of local work what a run's document says."""
    done: dict[int, int] = {}

    def shown(run: Run) -> None:
        progress.phase(run["phase"] or "connecting")
        for disk in run["disks"]:
            key = DiskKey(disk["key"])
            if key not in done:
                progress.disk(key, disk["label"], disk["bytes_total"])
            progress.advance(key, disk["bytes_done"] - done.get(key, 0))
            done[key] = disk["bytes_done"]

    return shown
