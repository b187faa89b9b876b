"""A lab, a home that knows it, one backup that worked, and the API in front of it; nothing works on it any more."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

from fixtures_jobs import MIB, JobsRig
from vbm.catalog.restore_points import PointFilter
from vbm.catalog.runs import RunFilter
from vbm.errors import NotFoundError, VbmError
from vbm.security.roles import Role
from vbm.services import accounts, api_keys, channels, identity, jobs, points, repository_runs, runs
from vbm.services.accounts import NewUser
from vbm.services.api_keys import NewApiKey
from vbm.services.channels import NewChannel
from vbm.web.app import create_app
from vbm.web.options import WebOptions
from vbm.web.rate_limits import Limits

PASSWORD = "correct horse battery 7"
NOWHERE = "https://127.0.0.1:1/hook"


class ApiLab(JobsRig):
    """``keys``: an API key of each role."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.machine("web01", MIB)
        self.job()
        child = self.worker()
        jobs.run_now(self.workspace, "nightly")
        self.ended(1)
        self.stop(child)
        self.backup = points.listing(self.workspace, PointFilter())[0].id
        self.done = runs.listing(self.workspace, RunFilter())[0].id
        self.keys = {
            role.value: api_keys.create(self.workspace, NewApiKey(role.value, role))[1] for role in Role
        }
        accounts.create(self.workspace, NewUser("root", Role.ADMIN, PASSWORD))
        options = WebOptions(allow_loopback=True, limits=Limits(per_minute=0, refused_per_minute=0))
        self.app = create_app(self.workspace, options)
        self._made = 0

    def endless(self, is_so: bool) -> None:
        """A stream without an end ends at once."""
        stopping = self.app.state.vbm.stopping
        (stopping.set if is_so else stopping.clear)()

    def known(self, name: str, operation: str) -> str:
        """Something real for a parameter of a path, made anew where an earlier request has taken it away."""
        with identity.acting(identity.at_the_command_line()):
            return str(getattr(self, f"_{name}")(operation))

    def _job(self, _operation: str) -> str:
        found = jobs.listing(self.workspace)
        if not found:
            self.job("again")
        return jobs.listing(self.workspace)[0].id

    def _run(self, operation: str) -> str:
        if operation in {"cancel_run", "get_run"}:
            with suppress(VbmError):
                return repository_runs.check(self.workspace, "main", "quick").id
        return self.done

    def _execution(self, _operation: str) -> str:
        return jobs.run_now(self.workspace, self._job(""))[1]

    def _backup(self, _operation: str) -> str:
        return self.backup

    def _vcenter(self, _operation: str) -> str:
        return "lab"

    def _vm(self, _operation: str) -> str:
        return "web01"

    def _repository(self, _operation: str) -> str:
        return "main"

    def _channel(self, _operation: str) -> str:
        try:
            return channels.get(self.workspace, "ops").id
        except NotFoundError:
            return channels.add(self.workspace, NewChannel("ops", NOWHERE, "webhook")).id

    def _user(self, _operation: str) -> str:
        try:
            return accounts.get(self.workspace, "anna").id
        except NotFoundError:
            return accounts.create(self.workspace, NewUser("anna", Role.VIEWER, PASSWORD)).id

    def _key_id(self, _operation: str) -> str:
        return api_keys.create(self.workspace, NewApiKey("short", Role.VIEWER))[0].id

    def sensible(self, operation: str, example: dict[str, Any]) -> dict[str, Any]:
        """The example of the document, with names of what is here."""
        self._made += 1
        names = {
            "name": f"made {self._made}",
            "vcenter_id": "lab",
            "repository_id": "main",
            "vcenters": ["lab"],
            "folders": [{"vcenter_id": "lab", "path": "Tenants/Blue"}],
        }
        trust = {
            "host": f"127.0.0.1:{self.lab.port}",
            "thumbprint": self.lab.thumbprint,
            "username": self.lab.username,
        }
        secret = self.lab.password if operation in {"add_vcenter", "change_vcenter"} else PASSWORD
        better = names | trust | {"password": secret, "passphrase": secret, "selection": {"vms": ["*"]}}
        if operation == "change_repository":
            return {"name": "main"}
        return {key: better.get(key, value) for key, value in example.items()}

    def harmless(self, operation: str, body: Any) -> Any:
        """The body with addresses that lead to the lab, to nobody, or into this folder, whatever was made up."""
        if not isinstance(body, dict):
            return body
        self._made += 1
        ours = f"127.0.0.1:{self.lab.port}"
        host = ours if body.get("host") == ours or self._made % 2 else "127.0.0.1:1"
        places = {
            "add_vcenter": {"host": host},
            "ask_thumbprint": {"host": host},
            "create_repository": {"url": (self.folder / f"made-{self._made}").as_uri()},
            "change_repository": {"url": (self.folder / f"none-{self._made}").as_uri()},
            "add_channel": {"url": NOWHERE},
            "change_channel": {"url": NOWHERE},
        }
        kept = {
            name: value
            for name, value in places.get(operation, {}).items()
            if isinstance(body.get(name), str)
        }
        return body | kept
