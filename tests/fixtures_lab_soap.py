"""A lab with one small machine, and clients that nobody of the product wrote: pyVmomi and plain HTTP."""

from __future__ import annotations

import base64
import http.client
import random
import ssl
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from pyVim.connect import Disconnect, SmartConnect
from pyVim.task import WaitForTask
from pyVmomi import vim

from vbm.lab.model import DiskSpec, MachineSpec
from vbm.lab.server import Lab, LabOptions

MIB = 1 << 20
PASSWORD = "open sesame"
DISK_MIB = 4


@contextmanager
def running_lab(folder: Path, **options: Any) -> Iterator[Lab]:
    with Lab(folder, LabOptions(preset="empty", password=PASSWORD, **options)) as lab:
        yield lab


def pattern(size: int, seed: str = "x") -> bytes:
    return random.Random(seed).randbytes(size)


def add_machine(
    lab: Lab, folder: Path, name: str = "vm one", disks: int = 1, *, on: bool = True, **spec: Any
) -> Any:
    """A machine whose disks hold 4 MiB each: 1 MiB of noise, holes, 64 KiB of noise at 3 MiB."""
    images = []
    for number in range(disks):
        image = folder / f"{name.replace('/', '-')}-{number}.raw"
        with image.open("wb") as file:
            file.write(pattern(MIB, f"{name}{number}"))
            file.truncate(DISK_MIB * MIB)
            file.seek(3 * MIB)
            file.write(pattern(64 << 10, "tail"))
        images.append(image)
    machine = lab.state.create_machine(
        MachineSpec(name, disks=tuple(DiskSpec(source=image) for image in images), **spec)
    )
    if on:
        machine.power_on()
    return machine


@contextmanager
def connected(lab: Lab, user: str = "", password: str = PASSWORD) -> Iterator[Any]:
    """A ServiceInstance of pyVmomi's."""
    instance = SmartConnect(
        host=lab.host, port=lab.port, user=user or lab.username, pwd=password, disableSslCertValidation=True
    )
    try:
        yield instance
    finally:
        with suppress(vim.fault.NotAuthenticated, OSError, http.client.HTTPException):
            Disconnect(instance)
        instance._stub.DropConnections()


def wait(task: Any) -> Any:
    """The task's result, or its fault raised."""
    WaitForTask(task)
    return task.info.result


def vm_named(instance: Any, name: str) -> Any:
    view = instance.content.viewManager.CreateContainerView(
        instance.content.rootFolder, [vim.VirtualMachine], True
    )
    try:
        return next(vm for vm in view.view if vm.name == name)
    finally:
        view.Destroy()


def basic(user: str, password: str = PASSWORD) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def cookie_of(instance: Any) -> str:
    return str(instance._stub.cookie.split(";")[0])


@dataclass(slots=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes


def connection(lab: Lab, timeout: float = 20) -> http.client.HTTPSConnection:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return http.client.HTTPSConnection(lab.host, lab.port, context=context, timeout=timeout)


def request(
    lab: Lab, method: str, path: str, headers: dict[str, str] | None = None, body: bytes | None = None
) -> Answer:
    """One request on a connection of its own, as the administrator unless the headers say otherwise."""
    given = {"Authorization": basic(lab.username)} if headers is None or "Cookie" not in headers else {}
    link = connection(lab)
    try:
        link.request(method, path, body, {**given, **(headers or {})})
        response = link.getresponse()
        return Answer(response.status, dict(response.getheaders()), response.read())
    finally:
        link.close()


def folder_url(path: str, datastore: str = "datastore1", datacenter: str = "DC1") -> str:
    return f"/folder/{quote(path)}?dcPath={quote(datacenter, safe='')}&dsName={quote(datastore, safe='')}"
