"""OVF descriptors, as far as one machine with disks and adapters needs them (DMTF DSP0243)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any
from xml.sax.saxutils import escape, quoteattr

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import ParseError, fromstring

from vbm.lab.device_view import CONTROLLER_TYPES
from vbm.lab.machine import Machine
from vbm.lab.vmodl import support, vim

_OVF = "{http://schemas.dmtf.org/ovf/envelope/1}"
_RASD = "{http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_ResourceAllocationSettingData}"
_VSSD = "{http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_VirtualSystemSettingData}"
_VMW = "{http://www.vmware.com/schema/ovf}"
_UNITS = {
    "byte": 1,
    "byte * 2^10": 1 << 10,
    "byte * 2^20": 1 << 20,
    "byte * 2^30": 1 << 30,
    "byte * 2^40": 1 << 40,
}
_CPU, _MEMORY, _IDE, _SCSI, _ADAPTER, _DISK, _OTHER_STORAGE = "3", "4", "5", "6", "10", "17", "20"
_SUBTYPES = {
    "lsilogic": "lsilogic",
    "lsilogicsas": "lsilogicsas",
    "virtualscsi": "pvscsi",
    "buslogic": "buslogic",
    "ahci": "ahci",
    "vmware.sata.ahci": "ahci",
    "vmware.nvme.controller": "nvme",
}


class OvfError(Exception):
    """The descriptor can't be used."""


@dataclass(slots=True)
class OvfFile:
    id: str
    href: str
    size: int


@dataclass(slots=True)
class OvfDisk:
    id: str
    file: str
    capacity_bytes: int


@dataclass(slots=True)
class Item:
    kind: str
    instance: str
    parent: str
    address: str
    subtype: str
    resource: str
    quantity: int
    name: str
    connection: str


@dataclass(slots=True)
class Document:
    name: str
    files: list[OvfFile] = field(default_factory=list)
    disks: list[OvfDisk] = field(default_factory=list)
    networks: list[str] = field(default_factory=list)
    items: list[Item] = field(default_factory=list)
    guest_id: str = "otherGuest64"
    version: str = "vmx-13"


def parse(text: str) -> Document:
    """Raises OvfError."""
    try:
        root = fromstring(text.encode(), forbid_dtd=True)
    except (ParseError, DefusedXmlException, ValueError) as error:
        raise OvfError(f"not an OVF descriptor: {error}") from error
    system = root.find(f"{_OVF}VirtualSystem")
    if system is None:
        raise OvfError("the descriptor describes no single virtual system")
    document = Document(name=system.findtext(f"{_OVF}Name") or system.get(f"{_OVF}id") or "vm")
    for node in root.iterfind(f"{_OVF}References/{_OVF}File"):
        size = node.get(f"{_OVF}size", "0")
        document.files.append(
            OvfFile(
                node.get(f"{_OVF}id", ""), node.get(f"{_OVF}href", ""), int(size) if size.isdigit() else 0
            )
        )
    for node in root.iterfind(f"{_OVF}DiskSection/{_OVF}Disk"):
        document.disks.append(_disk(node))
    document.networks = [
        node.get(f"{_OVF}name", "") for node in root.iterfind(f"{_OVF}NetworkSection/{_OVF}Network")
    ]
    guest = system.find(f"{_OVF}OperatingSystemSection")
    if guest is not None:
        document.guest_id = guest.get(f"{_VMW}osType") or document.guest_id
    hardware = system.find(f"{_OVF}VirtualHardwareSection")
    if hardware is None:
        raise OvfError("the virtual system has no hardware")
    document.version = hardware.findtext(f"{_OVF}System/{_VSSD}VirtualSystemType") or document.version
    document.items = [_item(node) for node in hardware.iterfind(f"{_OVF}Item")]
    return document


def _disk(node: Any) -> OvfDisk:
    unit = node.get(f"{_OVF}capacityAllocationUnits", "byte")
    text = node.get(f"{_OVF}capacity", "0")
    if unit not in _UNITS or not text.isdigit():
        raise OvfError(f"a disk's capacity is not understood: {text} {unit}")
    return OvfDisk(node.get(f"{_OVF}diskId", ""), node.get(f"{_OVF}fileRef", ""), int(text) * _UNITS[unit])


def _item(node: Any) -> Item:
    def text(name: str) -> str:
        return (node.findtext(f"{_RASD}{name}") or "").strip()

    quantity = text("VirtualQuantity")
    return Item(
        kind=text("ResourceType"),
        instance=text("InstanceID"),
        parent=text("Parent"),
        address=text("AddressOnParent") or text("Address"),
        subtype=text("ResourceSubType"),
        resource=text("HostResource"),
        quantity=int(quantity) if quantity.isdigit() else 0,
        name=text("ElementName"),
        connection=text("Connection"),
    )


def import_spec(
    document: Document, name: str, networks: dict[str, Any], *, thin: bool
) -> tuple[Any, list[Any]]:
    """The VmImportSpec and the files to be uploaded, keyed as the lease will key them."""
    config = vim.vm.ConfigSpec(
        name=name,
        guestId=document.guest_id,
        version=document.version,
        numCPUs=1,
        memoryMB=512,
        deviceChange=[],
    )
    controllers: dict[str, Any] = {}
    for item in document.items:
        if item.kind == _CPU:
            config.numCPUs = item.quantity or 1
        elif item.kind == _MEMORY:
            config.memoryMB = item.quantity or 512
        elif item.kind in {_SCSI, _OTHER_STORAGE, _IDE}:
            controllers[item.instance] = _add_controller(config, item, controllers)
        elif item.kind == _ADAPTER:
            _add_adapter(config, item, networks)
    items = [
        _add_disk(config, document, item, controllers, thin=thin)
        for item in document.items
        if item.kind == _DISK
    ]
    for entry in items:
        if entry is not None:
            entry.deviceId = f"/{name}/{entry.deviceId}"
    return vim.vm.VmImportSpec(configSpec=config), [entry for entry in items if entry is not None]


def _add(config: Any, device: Any, file_operation: str | None = None) -> None:
    config.deviceChange.append(
        vim.vm.device.VirtualDeviceSpec(operation="add", fileOperation=file_operation, device=device)
    )


def _add_controller(config: Any, item: Item, controllers: dict[str, Any]) -> Any:
    kind = "ide" if item.kind == _IDE else _SUBTYPES.get(item.subtype.casefold(), "lsilogic")
    cls = CONTROLLER_TYPES[kind]
    bus = sum(1 for other in controllers.values() if type(other) is cls)
    device = cls(key=-100 - len(controllers), busNumber=int(item.address) if item.address.isdigit() else bus)
    if issubclass(cls, vim.vm.device.VirtualSCSIController):
        device.sharedBus = "noSharing"
        device.busNumber = sum(
            isinstance(c, vim.vm.device.VirtualSCSIController) for c in controllers.values()
        )
    _add(config, device)
    return device


def _add_adapter(config: Any, item: Item, networks: dict[str, Any]) -> None:
    network = networks.get(item.connection)
    backing = vim.vm.device.VirtualEthernetCard.NetworkBackingInfo(
        deviceName=item.connection, network=network
    )
    cls = {"vmxnet3": vim.vm.device.VirtualVmxnet3, "e1000e": vim.vm.device.VirtualE1000e}.get(
        item.subtype.casefold(), vim.vm.device.VirtualE1000
    )
    _add(config, cls(key=-200 - len(config.deviceChange), backing=backing))


def _add_disk(config: Any, document: Document, item: Item, controllers: dict[str, Any], *, thin: bool) -> Any:
    wanted = item.resource.rpartition("/")[2]
    disk = next((each for each in document.disks if each.id == wanted), None)
    controller = controllers.get(item.parent)
    if disk is None or controller is None:
        raise OvfError(f"disk {item.name or wanted!r} refers to nothing")
    unit = int(item.address) if item.address.isdigit() else 0
    device = vim.vm.device.VirtualDisk(
        key=-300 - len(config.deviceChange),
        controllerKey=controller.key,
        unitNumber=unit,
        capacityInKB=disk.capacity_bytes // 1024,
        capacityInBytes=disk.capacity_bytes,
        backing=vim.vm.device.VirtualDisk.FlatVer2BackingInfo(
            fileName="", diskMode="persistent", thinProvisioned=thin
        ),
    )
    _add(config, device, "create")
    file = next((each for each in document.files if each.id == disk.file), None)
    if file is None:
        return None
    place = f"{support.GetWsdlName(type(controller))}{controller.busNumber}:{unit}"
    return vim.OvfManager.FileItem(
        deviceId=place, path=file.href, size=file.size or None, cimType=17, create=False
    )


def describe(machine: Machine, files: list[Any]) -> str:
    """The OVF descriptor of a machine whose files were just exported."""
    config = machine.config
    references = []
    disks = []
    items = [
        _hardware_item(1, _CPU, f"{config.cpus} virtual CPU(s)", quantity=config.cpus),
        _hardware_item(
            2, _MEMORY, f"{config.memory_mb} MB of memory", quantity=config.memory_mb, units="byte * 2^20"
        ),
    ]
    instances: dict[int, int] = {}
    for number, controller in enumerate(config.controllers):
        instances[controller.key] = 3 + number
        kind = {"ide": _IDE, "nvme": _OTHER_STORAGE, "ahci": _OTHER_STORAGE}.get(controller.kind, _SCSI)
        subtype = {value: key for key, value in _SUBTYPES.items()}.get(controller.kind, "")
        items.append(
            _hardware_item(
                3 + number, kind, f"Controller {number}", address=str(controller.bus_number), subtype=subtype
            )
        )
    images = [file for file in files if file.path.endswith(".vmdk")]
    for number, (file, disk) in enumerate(zip(images, config.disks, strict=False)):
        references.append(
            f'<File ovf:href={quoteattr(file.path)} ovf:id="file{number}" ovf:size="{file.size}"/>'
        )
        disks.append(
            f'<Disk ovf:capacity="{disk.capacity_bytes}" ovf:capacityAllocationUnits="byte" '
            f'ovf:diskId="vmdisk{number}" ovf:fileRef="file{number}" '
            'ovf:format="http://www.vmware.com/interfaces/specifications/vmdk.html#streamOptimized"/>'
        )
        parent = instances.get(disk.controller_key, 3)
        items.append(
            _hardware_item(
                20 + number,
                _DISK,
                disk.label,
                parent=str(parent),
                address_on_parent=str(disk.unit),
                resource=f"ovf:/disk/vmdisk{number}",
            )
        )
    return _TEMPLATE.format(
        references="".join(references),
        disks="".join(disks),
        name=escape(machine.name),
        id=quoteattr(machine.name),
        guest=quoteattr(config.guest_id),
        version=escape(config.hardware_version),
        items="".join(items),
    )


def _hardware_item(instance: int, kind: str, name: str, **fields: Any) -> str:
    """The elements of an Item, which the schema wants in alphabetical order."""
    names = {
        "address": "Address",
        "address_on_parent": "AddressOnParent",
        "units": "AllocationUnits",
        "resource": "HostResource",
        "parent": "Parent",
        "subtype": "ResourceSubType",
        "quantity": "VirtualQuantity",
    }
    values = {names[key]: str(value) for key, value in fields.items() if value != ""}
    values |= {"ElementName": name, "InstanceID": str(instance), "ResourceType": kind}
    inner = "".join(f"<rasd:{key}>{escape(values[key])}</rasd:{key}>" for key in sorted(values))
    return f"<Item>{inner}</Item>"


_TEMPLATE = (
    '<?xml version="1.0" encoding="UTF-8"?>\n'
    '<Envelope xmlns="http://schemas.dmtf.org/ovf/envelope/1" '
    'xmlns:ovf="http://schemas.dmtf.org/ovf/envelope/1" '
    'xmlns:rasd="http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_ResourceAllocationSettingData" '
    'xmlns:vssd="http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_VirtualSystemSettingData" '
    'xmlns:vmw="http://www.vmware.com/schema/ovf">'
    "<References>{references}</References>"
    "<DiskSection><Info>Virtual disk information</Info>{disks}</DiskSection>"
    "<VirtualSystem ovf:id={id}><Info>A virtual machine</Info><Name>{name}</Name>"
    '<OperatingSystemSection ovf:id="1" vmw:osType={guest}><Info>The operating system</Info>'
    "</OperatingSystemSection><VirtualHardwareSection><Info>Virtual hardware</Info><System>"
    "<vssd:ElementName>Virtual Hardware Family</vssd:ElementName><vssd:InstanceID>0</vssd:InstanceID>"
    "<vssd:VirtualSystemType>{version}</vssd:VirtualSystemType></System>{items}"
    "</VirtualHardwareSection></VirtualSystem></Envelope>\n"
)
