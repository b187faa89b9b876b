"""HttpNfcLease: kept alive by progress, ended by completion, abortion or silence."""

from __future__ import annotations

from typing import Any

from vbm.lab.errors import make_fault, refusal
from vbm.lab.leases import DONE, ERROR, READY, Lease
from vbm.lab.nfc import lease_info
from vbm.lab.objects.base import ManagedObject, operation, prop
from vbm.lab.soap import Call
from vbm.lab.vmodl import vim


class HttpNfcLease(ManagedObject):
    type_name = "HttpNfcLease"

    def __init__(self, context: Any, lease: Lease) -> None:
        super().__init__(context, lease.moid)
        self.lease = lease

    @property
    def name(self) -> str:
        machine = self.context.state.machines.get(self.lease.machine)
        return machine.name if machine else self.moid

    @prop("state")
    def state(self) -> str:
        return self.lease.state

    @prop("initializeProgress")
    def initialize_progress(self) -> int:
        return 100 if self.lease.state != "initializing" else 0

    @prop("transferProgress")
    def transfer_progress(self) -> int:
        return self.lease.percent

    @prop("mode")
    def mode(self) -> str:
        return "pushOrGet"

    @prop("capabilities")
    def capabilities(self) -> Any:
        return vim.HttpNfcLease.Capabilities(pullModeSupported=False, corsSupported=False)

    @prop("info")
    def info(self) -> Any:
        return lease_info(self.context, self.lease) if self.lease.state in {READY, DONE} else None

    @prop("error")
    def error(self) -> Any:
        return self.lease.error

    def _require_open(self) -> None:
        if self.lease.state in {DONE, ERROR}:
            raise refusal("InvalidState", f"the lease is {self.lease.state}")

    @operation("HttpNfcLeaseProgress")
    def progress(self, call: Call) -> None:
        self._require_open()
        if not 0 <= call.args.percent <= 100:
            raise refusal("InvalidArgument", "a percentage", invalidProperty="percent")
        self.context.leases.renew(self.lease, call.args.percent)

    @operation("HttpNfcLeaseComplete")
    def complete(self, call: Call) -> None:  # noqa: ARG002
        self._require_open()
        if self.lease.state != READY:
            raise refusal("InvalidState", "the lease is not ready")
        self.context.leases.end(self.lease)

    @operation("HttpNfcLeaseAbort")
    def abort(self, call: Call) -> None:
        self._require_open()
        fault = call.args.fault or make_fault("RequestCanceled", "The lease was aborted.")
        self.context.leases.end(self.lease, error=fault, state=ERROR)

    @operation("HttpNfcLeaseGetManifest")
    def get_manifest(self, call: Call) -> Any:  # noqa: ARG002
        if self.lease.state == ERROR:
            raise refusal("InvalidState", "the lease has failed")
        return [
            vim.HttpNfcLease.ManifestEntry(
                key=f"/{self.lease.machine}{device.import_key}" if self.lease.export else device.import_key,
                sha1=device.sha1,
                checksum=device.sha1,
                checksumType="sha1",
                size=device.transferred_bytes,
                disk=device.disk_key != 0,
                capacity=device.capacity_bytes,
                populatedSize=device.populated_bytes,
            )
            for device in self.lease.devices
            if device.sha1
        ]
