"""OVF descriptors: the least that an import of one VM needs, and what is needed of one from elsewhere.

Source: DMTF DSP0243. Reading refuses entities and external references.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final
from xml.etree.ElementTree import Element, ParseError, SubElement, register_namespace, tostring

from defusedxml.common import DefusedXmlException
from defusedxml.ElementTree import fromstring

from vbm.disk.vmdk.errors import MAX_CAPACITY_BYTES
from vbm.disk.vmdk.names import member_name
from vbm.errors import InputError
from vbm.units import MIB

MAX_OVF_BYTES: Final = 4 * MIB
STREAM_FORMAT: Final = "http://www.vmware.com/interfaces/specifications/vmdk.html#streamOptimized"
_OVF: Final = "http://schemas.dmtf.org/ovf/envelope/1"
_RASD: Final = "http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_ResourceAllocationSettingData"
_VSSD: Final = "http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_VirtualSystemSettingData"
_UNITS: Final = {"byte": 1, "byte * 2^10": 1 << 10, "byte * 2^20": 1 << 20, "byte * 2^30": 1 << 30}

for _prefix, _uri in (("ovf", _OVF), ("rasd", _RASD), ("vssd", _VSSD)):
    register_namespace(_prefix, _uri)


class OvfError(InputError):
    """An OVF descriptor that can't be used."""

    code = "ovf-invalid"


@dataclass(frozen=True, slots=True)
class OvfDisk:
    """One disk: its file beside the descriptor and its capacity."""

    file_name: str
    capacity_bytes: int
    file_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class OvfMachine:
    """One VM with an LSI Logic controller, at most 15 disks, and a network adapter for each network."""

    name: str
    cpus: int
    memory_bytes: int
    disks: tuple[OvfDisk, ...]
    networks: tuple[str, ...] = ()
    hardware_version: str = "vmx-13"


def render_ovf(machine: OvfMachine) -> bytes:
    """The descriptor, in UTF-8."""
    root = Element(_ovf("Envelope"))
    files = SubElement(root, _ovf("References"))
    section = _section(root, "DiskSection", "disks")
    for index, disk in enumerate(machine.disks):
        file = SubElement(
            files, _ovf("File"), {_ovf("id"): f"file{index}", _ovf("href"): member_name(disk.file_name)}
        )
        if disk.file_bytes is not None:
            file.set(_ovf("size"), str(disk.file_bytes))
        attributes = {"diskId": f"disk{index}", "fileRef": f"file{index}", "format": STREAM_FORMAT}
        attributes |= {"capacity": str(disk.capacity_bytes), "capacityAllocationUnits": "byte"}
        SubElement(section, _ovf("Disk"), {_ovf(key): value for key, value in attributes.items()})
    networks = _section(root, "NetworkSection", "networks")
    for name in dict.fromkeys(machine.networks):
        SubElement(networks, _ovf("Network"), {_ovf("name"): name})
    system = SubElement(root, _ovf("VirtualSystem"), {_ovf("id"): "vm"})
    SubElement(system, _ovf("Info")).text = "a virtual machine"
    SubElement(system, _ovf("Name")).text = machine.name
    _hardware(system, machine)
    result: bytes = tostring(root, encoding="utf-8", xml_declaration=True)
    return result


def parse_ovf(data: bytes) -> OvfMachine:
    """The first VM of the descriptor. Raises OvfError, also for entities, and for names that lead elsewhere."""
    if len(data) > MAX_OVF_BYTES:
        raise OvfError(f"an OVF descriptor of {len(data)} bytes: this is not one")
    try:
        root = fromstring(data)
    except (ParseError, DefusedXmlException, ValueError, LookupError) as error:
        raise OvfError(f"not an OVF descriptor: {error}") from error
    if root.tag != _ovf("Envelope"):
        raise OvfError("not an OVF descriptor: its root is no Envelope")
    system = next(root.iter(_ovf("VirtualSystem")), None)
    if system is None:
        raise OvfError("an OVF descriptor without a VM")
    amounts = {kind: _amount(item) for kind, item in _items(system)}
    return OvfMachine(
        name=system.findtext(_ovf("Name")) or system.get(_ovf("id")) or "",
        cpus=amounts.get("3", 1),
        memory_bytes=amounts.get("4", 0) * MIB,
        disks=tuple(_disks(root)),
        networks=tuple(n.get(_ovf("name")) or "" for n in root.iter(_ovf("Network"))),
        hardware_version=system.findtext(f".//{{{_VSSD}}}VirtualSystemType") or "",
    )


def _ovf(name: str) -> str:
    return f"{{{_OVF}}}{name}"


def _section(root: Element, name: str, info: str) -> Element:
    section = SubElement(root, _ovf(name))
    SubElement(section, _ovf("Info")).text = info
    return section


def _hardware(system: Element, machine: OvfMachine) -> None:
    hardware = _section(system, "VirtualHardwareSection", "hardware")
    description = SubElement(hardware, _ovf("System"))
    for name, value in (
        ("ElementName", "Virtual Hardware Family"),
        ("InstanceID", "0"),
        ("VirtualSystemIdentifier", machine.name),
        ("VirtualSystemType", machine.hardware_version),
    ):
        SubElement(description, f"{{{_VSSD}}}{name}").text = value
    memory = str(-(-machine.memory_bytes // MIB))
    _item(hardware, [("InstanceID", "1"), ("ResourceType", "3"), ("VirtualQuantity", str(machine.cpus))])
    _item(
        hardware,
        [
            ("AllocationUnits", "byte * 2^20"),
            ("InstanceID", "2"),
            ("ResourceType", "4"),
            ("VirtualQuantity", memory),
        ],
    )
    _item(hardware, [("InstanceID", "3"), ("ResourceSubType", "lsilogic"), ("ResourceType", "6")])
    for index in range(len(machine.disks)):
        unit = index if index < 7 else index + 1  # 7 is the controller's own
        fields = [("AddressOnParent", str(unit)), ("HostResource", f"ovf:/disk/disk{index}")]
        _item(hardware, [*fields, ("InstanceID", str(100 + index)), ("Parent", "3"), ("ResourceType", "17")])
    for index, network in enumerate(machine.networks):
        fields = [("AutomaticAllocation", "true"), ("Connection", network)]
        kind = [("InstanceID", str(200 + index)), ("ResourceSubType", "VmxNet3"), ("ResourceType", "10")]
        _item(hardware, [*fields, *kind])


def _item(hardware: Element, fields: Sequence[tuple[str, str]]) -> None:
    item = SubElement(hardware, _ovf("Item"))
    name = ("ElementName", f"device {dict(fields)['InstanceID']}")
    for key, value in sorted([*fields, name]):
        SubElement(item, f"{{{_RASD}}}{key}").text = value


def _items(system: Element) -> Iterator[tuple[str, Element]]:
    for item in system.iter(_ovf("Item")):
        yield item.findtext(f"{{{_RASD}}}ResourceType") or "", item


def _amount(item: Element) -> int:
    return _number(item.findtext(f"{{{_RASD}}}VirtualQuantity") or "0", 1 << 32)


def _disks(root: Element) -> Iterator[OvfDisk]:
    files = {file.get(_ovf("id")): file for file in root.iter(_ovf("File"))}
    for disk in root.iter(_ovf("Disk")):
        file = files.get(disk.get(_ovf("fileRef")))
        if file is None:
            continue  # an empty disk that comes without a file
        unit = _UNITS.get((disk.get(_ovf("capacityAllocationUnits")) or "byte").strip())
        if unit is None:
            raise OvfError("an OVF descriptor with a capacity in an unknown unit")
        capacity = _number(disk.get(_ovf("capacity")) or "0", MAX_CAPACITY_BYTES) * unit
        if capacity > MAX_CAPACITY_BYTES:
            raise OvfError(f"an OVF descriptor with a disk of {capacity} bytes")
        size = file.get(_ovf("size"))
        yield OvfDisk(
            member_name(file.get(_ovf("href")) or ""),
            capacity,
            None if size is None else _number(size, 1 << 60),
        )


def _number(text: str, most: int) -> int:
    text = text.strip()
    if not (text.isascii() and text.isdigit() and len(text) <= 20 and int(text) <= most):
        raise OvfError(f"not a sensible number in an OVF descriptor: {text[:40]!r}")
    return int(text)
