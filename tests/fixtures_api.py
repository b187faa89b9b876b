"""A home without a lab: a repository, two vCenters that answer nobody, a job, a run, restore points, and its API."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fastapi.testclient import TestClient
from httpx import Response

from vbm.catalog.restore_points import PointRecord, put_points
from vbm.catalog.runs import RunRecord, insert_runs
from vbm.catalog.vcenters import VcenterRecord, insert_vcenter
from vbm.clock import SystemClock
from vbm.ids import new_id
from vbm.repository.format import RepositoryOptions
from vbm.repository.keys import NoKey
from vbm.security.roles import Role
from vbm.services import api_keys, jobs, repositories
from vbm.services.api_keys import NewApiKey
from vbm.services.repositories import Key
from vbm.services.workspace import Workspace
from vbm.settings import Settings
from vbm.web.app import create_app
from vbm.web.options import WebOptions
from vbm.workflows.orders import document_of

JOB = {"name": "nightly", "vcenter_id": "ours", "repository_id": "main", "selection": {"vms": ["*"]}}


@dataclass
class ApiSite:
    """``keys``: by role."""

    folder: Path
    options: WebOptions = field(default_factory=lambda: WebOptions(allow_loopback=True))
    keys: dict[str, str] = field(default_factory=dict)
    database_url: str = ""  # SQLite in the home

    def __post_init__(self) -> None:
        home = self.folder / "home"
        self.space = Workspace(Settings(home, self.database_url or f"sqlite:///{home}/vbm.db"))
        store = (self.folder / "store").as_uri()
        repositories.create(self.space, "main", store, Key(NoKey()), RepositoryOptions(256 * 1024))
        self.repository = repositories.get(self.space, "main").id
        for name in ("ours", "theirs"):
            self._vcenter(name)
        self.job = jobs.create(self.space, JOB)
        for role in Role:
            self.keys[role.value] = api_keys.create(self.space, NewApiKey(role.value, role))[1]
        self.again()

    def again(self) -> None:
        """The server is restarted."""
        self.app = create_app(self.space, self.options)
        self.client = TestClient(self.app, raise_server_exceptions=False)

    def close(self) -> None:
        self.space.close()

    def ask(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        role: str = "admin",
        headers: Mapping[str, str] | None = None,
    ) -> Response:
        given = {"x-api-key": self.keys[role]} if role else {}
        return self.client.request(method, f"/api/v1{path}", json=body, headers={**given, **(headers or {})})

    def _vcenter(self, name: str) -> None:
        password = self.space.vault.seal("x", f"vcenter/{name}/password")
        now = self.space.clock.now()
        record = VcenterRecord(
            name, name, "127.0.0.1", 1, "u", "00" * 32, "", "", "", now, sealed_password=password
        )
        with self.space.catalog.writing() as session:
            insert_vcenter(session, record)

    def points(self, count: int, **more: Any) -> list[str]:
        """So many restore points in the catalog alone; their ids, the oldest first."""
        now = SystemClock().now()
        ids = [new_id(now) for _ in range(count)]
        made = [
            PointRecord(
                one, self.repository, "u", "web01", "ours", now, now, "full", "crash", 9, 9, "", "run", **more
            )
            for one in ids
        ]
        with self.space.catalog.writing() as session:
            put_points(session, made)
        return sorted(ids)

    def runs(self, count: int, kind: str = "verify") -> list[str]:
        """So many queued runs; their ids, the oldest first."""
        now = SystemClock().now()
        ids = [new_id(now) for _ in range(count)]
        records = [
            RunRecord(
                one,
                "",
                "",
                "",
                "u",
                "web01",
                "ours",
                self.repository,
                (),
                document_of(kind),
                now,
                kind=kind,
                parameters={"mode": "quick"},
            )
            for one in ids
        ]
        with self.space.catalog.writing() as session:
            insert_runs(session, records)
        return sorted(ids)
