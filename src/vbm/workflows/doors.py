"""What workflows need from outside: database, logged-in sessions, open repositories, channels with their secrets."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from vbm.catalog.catalog import Catalog
from vbm.catalog.channels import ChannelRecord
from vbm.clock import Clock
from vbm.notifications.channels import Channel
from vbm.repository.repository import Repository
from vbm.vsphere.session import Session


class Doors(Protocol):
    """Thread-safe. Ids are the catalog's. The caller closes sessions and repositories."""

    @property
    def home(self) -> Path: ...

    @property
    def clock(self) -> Clock: ...

    @property
    def catalog(self) -> Catalog: ...

    def connect(self, vcenter_id: str) -> Session:
        """Raises UnknownNameError where the vCenter was removed, and the errors of Session.connect."""

    def open_repository(self, repository_id: str) -> Repository:
        """Raises UnknownNameError, and what opening a repository raises."""

    def channel(self, record: ChannelRecord) -> Channel: ...
