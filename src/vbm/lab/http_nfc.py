"""``/nfc/<lease>/<file>``: disks out of a lease, or into it, as streamOptimized VMDKs."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator

from vbm.disk.raw import is_zero
from vbm.disk.vmdk.stream_optimized import StreamOptimizedWriter
from vbm.disk.vmdk.stream_reader import StreamOptimizedReader
from vbm.errors import VbmError
from vbm.lab.context import Context
from vbm.lab.errors import HangUp, HttpError, make_fault
from vbm.lab.faults import Rule
from vbm.lab.http_exchange import Exchange
from vbm.lab.injection import after, before, strike
from vbm.lab.leases import READY, Device, Lease
from vbm.lab.machine import FrozenView, Machine
from vbm.lab.model import LabFault

_STREAM = "application/x-vnd.vmware-streamVmdk"
_READ_BYTES = 1 << 20
_SEND_BYTES = 256 << 10


def serve_nfc(context: Context, exchange: Exchange) -> None:
    """GET out of an export, POST or PUT into an import. The lease's secret in the path is the authorisation."""
    lease, device = _locate(context, exchange)
    machine = context.state.machines.get(lease.machine)
    if machine is None:
        raise HttpError(404, "the machine is gone")
    rules = strike(context, exchange.path, (machine.name, machine.moref)) if context.rules.any() else ()
    names = (machine.name, machine.moref)
    early = [rule for rule in rules if rule.effect not in {"fault", "reset"} or rule.when == "after"]
    before(context, early, exchange.handler.connection, names)
    if exchange.method == "GET" and lease.export and not device.disk_key:
        _send_file(context, exchange, device, machine)
    elif exchange.method == "GET" and lease.export:
        _export(context, exchange, lease, device, machine, rules)
    elif exchange.method in {"POST", "PUT"} and not lease.export:
        _import(context, exchange, lease, device, machine)
    else:
        raise HttpError(405, "not what this lease is for")
    after(context, early, exchange.handler.connection, names)


def _locate(context: Context, exchange: Exchange) -> tuple[Lease, Device]:
    parts = exchange.path.split("/")
    lease = context.leases.by_token(parts[2]) if len(parts) == 4 else None
    if lease is None or lease.state != READY:
        raise HttpError(404, "no such lease, or it has ended")
    device = lease.device(parts[3])
    if device is None:
        raise HttpError(404, "the lease has no such file")
    return lease, device


class _Chunks:
    """A chunked body: small pieces are gathered; ``cut`` bytes after which a fault rule ends it."""

    def __init__(self, exchange: Exchange, rules: tuple[Rule, ...], alive: Callable[[], bool]) -> None:
        self._send = exchange.connection.sendall
        self._parts: list[bytes] = []
        self._size = 0
        self._sent = 0
        self._alive = alive
        self.sha1 = hashlib.sha1(usedforsecurity=False)
        self._rule = next((rule for rule in rules if rule.effect in {"reset", "short"}), None)

    @property
    def total(self) -> int:
        return self._sent

    def write(self, data: bytes) -> None:
        self.sha1.update(data)
        self._parts.append(data)
        self._size += len(data)
        if self._size >= _SEND_BYTES:
            self.flush()

    def flush(self) -> None:
        if not self._size:
            return
        if not self._alive():
            raise HangUp(reset=True)
        self._send(b"".join([b"%x\r\n" % self._size, *self._parts, b"\r\n"]))
        self._sent += self._size
        self._parts, self._size = [], 0
        if self._rule is not None and self._sent >= self._rule.after_bytes:
            raise HangUp(reset=self._rule.effect == "reset")

    def close(self) -> None:
        self.flush()
        if self._rule is not None:
            raise HangUp(reset=self._rule.effect == "reset")
        self._send(b"0\r\n\r\n")


def _export(
    context: Context,
    exchange: Exchange,
    lease: Lease,
    device: Device,
    machine: Machine,
    rules: tuple[Rule, ...],
) -> None:
    view = (
        machine.frozen_reader(lease.snapshot, device.disk_key)
        if lease.snapshot
        else machine.current_reader(device.disk_key)
    )
    try:
        exchange.start(200, {"Content-Type": _STREAM, "Transfer-Encoding": "chunked"})
        body = _Chunks(exchange, rules, lambda: lease.state == READY)
        context.log("nfc-get", machine=machine.name, key=device.disk_key)
        device.populated_bytes = _encode(view, body.write, device.target)
        body.close()
        device.sha1, device.transferred_bytes = body.sha1.hexdigest(), body.total
        context.log("nfc-got", machine=machine.name, key=device.disk_key, length=body.total)
    except LabFault:
        raise HangUp(reset=True) from None
    finally:
        view.close()


def _send_file(context: Context, exchange: Exchange, device: Device, machine: Machine) -> None:
    folder = machine.vmx_path.rpartition("/")[0]
    try:
        data = context.state.resolve(f"{folder}/{device.target}").read_bytes()
    except FileNotFoundError:
        raise HttpError(404, "the file is gone") from None
    device.sha1 = hashlib.sha1(data, usedforsecurity=False).hexdigest()
    device.transferred_bytes = len(data)
    exchange.reply(200, data, "application/octet-stream")


def _encode(view: FrozenView, sink: Callable[[bytes], None], name: str) -> int:
    writer = StreamOptimizedWriter(sink, view.size_bytes, name)
    populated = 0
    for start, length in view.allocated():
        for offset in range(start, start + length, _READ_BYTES):
            piece = view.read_at(offset, min(_READ_BYTES, start + length - offset))
            if not is_zero(piece):
                populated += len(piece)
                writer.write(offset, piece)
    writer.close()
    return populated


class _Body:
    """Reads a request's body by size, as a decoder wants it, hashing what passes."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._rest = b""
        self.sha1 = hashlib.sha1(usedforsecurity=False)
        self.total = 0

    def read(self, size: int) -> bytes:
        while len(self._rest) < size:
            piece = next(self._pieces, b"")
            if not piece:
                break
            self.sha1.update(piece)
            self.total += len(piece)
            self._rest = self._rest + piece if self._rest else piece
        taken, self._rest = self._rest[:size], self._rest[size:]
        return taken

    def drain(self) -> None:
        while self.read(_READ_BYTES):
            pass


def _import(context: Context, exchange: Exchange, lease: Lease, device: Device, machine: Machine) -> None:
    body = _Body(exchange.body())
    try:
        device.populated_bytes = _decode(machine, device, body, lambda: lease.state == READY)
        body.drain()
    except (VbmError, LabFault) as error:
        fault = make_fault(
            "FileFault", f"the upload of {device.target} is not usable: {error}", file=device.target
        )
        context.leases.end(lease, error=fault)
        raise HttpError(500, str(error)) from error
    device.sha1, device.transferred_bytes = body.sha1.hexdigest(), body.total
    context.log("nfc-put", machine=machine.name, key=device.disk_key, length=body.total)
    exchange.reply(201, b"", "text/plain")


def _decode(machine: Machine, device: Device, body: _Body, alive: Callable[[], bool]) -> int:
    reader = StreamOptimizedReader(body.read)
    if reader.capacity_bytes > device.capacity_bytes:
        raise LabFault("InvalidArgument", "the stream holds a larger disk than the specification says")
    populated = 0
    for offset, data in reader.grains():
        if not alive():
            raise HangUp(reset=True)
        machine.import_write(device.disk_key, offset, data)
        populated += len(data)
    return populated
