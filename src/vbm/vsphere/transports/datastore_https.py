"""Disks read from their datastore's files over HTTPS: any range, through the whole chain of snapshots.

Works where the datastore has extent files, that is VMFS and NFS, and where they hold plain text. Needs nothing
but the API's own port. See https://developer.broadcom.com, "Datastore HTTP access".
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Final

from vbm.cancel import CancelToken
from vbm.disk.vmdk.chain import ChainReader, Link
from vbm.disk.vmdk.errors import MAX_DESCRIPTOR_BYTES
from vbm.errors import NotFoundError
from vbm.ids import DiskKey
from vbm.units import MIB
from vbm.vsphere.datastore_files import FileTooLargeError, fetch_small
from vbm.vsphere.datastore_path import DatastorePath
from vbm.vsphere.model import VirtualDisk, VirtualMachine, VmSnapshot
from vbm.vsphere.properties import collect
from vbm.vsphere.session import Session
from vbm.vsphere.topology import unescape
from vbm.vsphere.transports.base import Capabilities, TransportUnsuitableError
from vbm.vsphere.transports.connections import ConnectionPool
from vbm.vsphere.transports.frozen import active_heads, refuse_active
from vbm.vsphere.transports.host_gate import GATES, HostGates
from vbm.vsphere.transports.http_range import RangedHttpSource, ReadPolicy, Web
from vbm.vsphere.transports.routes import Route, SessionRoute
from vbm.vsphere.transports.snapshot_chain import ExtentFile, walk

NAME: Final = "datastore-https"
RANGE_BYTES: Final = 8 * MIB
OBJECT_DATASTORES: Final = frozenset({"vsan", "vsand", "vvol", "pmem"})  # lower case: no extent files there


def unsuitable(disk: VirtualDisk) -> str:
    """Why this transport can't read the disk, as far as its configuration tells; "" where it may."""
    if disk.encrypted:
        return "it is encrypted, and the datastore gives out ciphertext"
    if disk.backing not in {"flat", "sparse", "se-sparse"}:
        return f"its backing is {disk.backing}: there is no file with its bytes"
    if disk.datastore_type.lower() in OBJECT_DATASTORES:
        return f"a datastore of type {disk.datastore_type} does not give out disk files"
    return ""


@dataclass(frozen=True, slots=True)
class Options:
    """``route`` replaces the way through the endpoint itself, for one that goes to the hosts by tickets."""

    gates: HostGates = field(default_factory=lambda: GATES)
    policy: ReadPolicy = field(default_factory=ReadPolicy)
    route: Route | None = None


class DatastoreHttps:
    """The transport of one snapshot. Open readers share its connections; ``close`` ends them."""

    def __init__(
        self, session: Session, vm: VirtualMachine, snapshot: VmSnapshot, options: Options | None = None
    ) -> None:
        self._session = session
        self._vm = vm
        self._disks = {disk.key: disk for disk in snapshot.disks}
        self._options = options or Options()
        route = self._options.route or SessionRoute(session, vm.datacenter)
        self._pool = ConnectionPool(route)
        self._gate = self._options.gates.of(route.host, route.port)
        self.capabilities = Capabilities(
            NAME,
            random_read=True,
            parallel_reads=self._options.gates.policy.most,
            range_bytes=RANGE_BYTES,
        )

    def open(self, disk: DiskKey, cancel: CancelToken) -> ChainReader:
        """Reads descriptors and the heads of the extent files; data only when asked for.

        Raises TransportUnsuitableError with the reason, ActiveFileError, FileMissingError and others.
        """
        frozen = self._disk(disk)
        reason = unsuitable(frozen)
        if reason:
            raise TransportUnsuitableError(f"{frozen.label}: {reason}")
        refuse_active(frozen, active_heads(self._session, self._vm))
        files = self.files(disk)
        if files[0].capacity_bytes != frozen.capacity_bytes:
            raise TransportUnsuitableError(
                f"{frozen.label} has {frozen.capacity_bytes} bytes, its descriptor says {files[0].capacity_bytes}"
            )
        return self._reader(files, cancel)

    def files(self, disk: DiskKey) -> list[ExtentFile]:
        """The extent files that the disk consists of, from the head to the base."""
        return walk(DatastorePath.parse(self._disk(disk).file_name), self._descriptor, self._datastore_of)

    def close(self) -> None:
        self._pool.close()

    def _disk(self, key: DiskKey) -> VirtualDisk:
        try:
            return self._disks[key]
        except KeyError as error:
            raise NotFoundError(f"the snapshot has no disk {key}") from error

    def _reader(self, files: Iterable[ExtentFile], cancel: CancelToken) -> ChainReader:
        web = Web(
            self._pool,
            self._gate,
            cancel,
            self._options.policy,
            self._session.clock,
            self._session.where,
        )
        return ChainReader(
            [Link(f.format, RangedHttpSource(web, f.path), f.capacity_bytes, f.offset) for f in files]
        )

    def _descriptor(self, path: DatastorePath) -> bytes:
        try:
            return fetch_small(self._session, str(path), self._vm.datacenter, MAX_DESCRIPTOR_BYTES)
        except FileTooLargeError as error:
            raise TransportUnsuitableError(f"{path} is no disk descriptor: {error.message}") from error

    def _datastore_of(self, volume: str) -> str:
        if volume in self._volumes:
            return self._volumes[volume]
        return volume if volume in self._volumes.values() else ""

    @cached_property
    def _volumes(self) -> dict[str, str]:
        """Volume ids of ``summary.url`` (``ds:///vmfs/volumes/<id>/``) → datastore names."""
        wanted = {"Datastore": ["name", "summary.url"]}
        found: dict[str, str] = {}
        for _reference, values in collect(self._session, wanted):
            volume = (values.get("summary.url") or "").rstrip("/").rpartition("/")[2]
            if volume:
                found[volume] = unescape(values.get("name", ""))
        return found
