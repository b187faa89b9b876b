"""What workflows are given: this workspace's database, sessions, repositories and channels."""

from __future__ import annotations

from pathlib import Path

from vbm.catalog.catalog import Catalog
from vbm.catalog.channels import ChannelRecord
from vbm.clock import Clock
from vbm.notifications.channels import Channel
from vbm.repository.repository import Repository
from vbm.services import channels, repositories, vcenters
from vbm.services.workspace import Workspace
from vbm.vsphere.session import Session


class WorkspaceDoors:
    """Thread-safe once made: database and vault are opened at once."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._catalog = workspace.catalog
        _ = workspace.vault

    @property
    def home(self) -> Path:
        return self._workspace.settings.home

    @property
    def clock(self) -> Clock:
        return self._workspace.clock

    @property
    def catalog(self) -> Catalog:
        return self._catalog

    def connect(self, vcenter_id: str) -> Session:
        return vcenters.connect(self._workspace, vcenter_id)

    def open_repository(self, repository_id: str) -> Repository:
        return repositories.open_stored(self._workspace, repositories.get(self._workspace, repository_id))

    def channel(self, record: ChannelRecord) -> Channel:
        return channels.opened(self._workspace, record)
