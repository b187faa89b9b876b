"""The text part of a VMDK: what the disk consists of, and what its parent is.

Source: VMware's *Virtual Disk Format* note and the descriptors that vSphere writes. Keys are
case-insensitive. A descriptor is small: more than 64 KiB is refused, since flat extents of terabytes carry
the same file extension.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

from vbm.disk.vmdk.errors import (
    MAX_CAPACITY_BYTES,
    MAX_DESCRIPTOR_BYTES,
    VmdkDamagedError,
    VmdkUnsupportedError,
    checked_capacity,
    whole_sectors,
)
from vbm.disk.vmdk.names import member_name
from vbm.units import SECTOR

NO_PARENT: Final = 0xFFFFFFFF
MAGIC: Final = "# Disk DescriptorFile"
# Codecs by the names that hosts write; never by whatever name a file gives: some codecs are not character sets.
_ENCODINGS: Final = frozenset(
    {"utf-8", "us-ascii", "iso-8859-1", "shift_jis", "gbk", "gb18030", "big5", "euc-jp", "euc-kr"}
    | {f"windows-{page}" for page in (874, 932, 936, 949, 950, *range(1250, 1259))}
)
_EXTENT = re.compile(
    r"(?P<access>RW|RDONLY|NOACCESS)\s+(?P<sectors>\d{1,19})\s+(?P<type>[A-Z]+)"
    r'(?:\s+"(?P<name>[^"]*)"(?:\s+(?P<offset>\d{1,19}))?)?(?:\s+\S+)*',
    re.IGNORECASE,
)
_SETTING = re.compile(r"(?P<key>[\w.:\-]+)\s*=\s*(?P<value>.*)")
_ENCODING_LINE = re.compile(
    rb'^[ \t]*+encoding[ \t]*+=[ \t]*+"?([\w\-]{1,40})"?[ \t\r]*+$', re.IGNORECASE | re.MULTILINE
)

DeltaKind = Literal["vmfsSparse", "seSparse"]
_DELTA_TYPE: Final[Mapping[DeltaKind, str]] = {"vmfsSparse": "VMFSSPARSE", "seSparse": "SESPARSE"}


@dataclass(frozen=True, slots=True)
class ExtentLine:
    """One file of the disk. ``sectors`` and ``offset`` (where its data begins in the file) of 512 bytes."""

    access: str
    sectors: int
    type: str  # upper case: VMFS, FLAT, VMFSSPARSE, SESPARSE, SPARSE, ZERO, VMFSRDM, …
    file_name: str = ""
    offset: int = 0


@dataclass(frozen=True, slots=True)
class Descriptor:
    """A parsed descriptor. ``ddb`` has the disk database without its ``ddb.`` prefix, in the file's order."""

    cid: int
    parent_cid: int
    create_type: str
    extents: tuple[ExtentLine, ...]
    parent_file_name_hint: str = ""
    ddb: Mapping[str, str] = field(default_factory=dict)
    other: Mapping[str, str] = field(default_factory=dict)  # header keys not named above

    @property
    def capacity_bytes(self) -> int:
        return sum(extent.sectors for extent in self.extents) * SECTOR

    @property
    def has_parent(self) -> bool:
        return self.parent_cid != NO_PARENT or bool(self.parent_file_name_hint)

    @property
    def encrypted(self) -> bool:
        names = {key.lower() for key in (*self.ddb, *self.other)}
        return not names.isdisjoint({"keyid", "encryptionkeys", "encryption.keysafe"})

    @classmethod
    def parse(cls, text: bytes | str) -> Descriptor:
        """Raises VmdkUnsupportedError where it is no descriptor, VmdkDamagedError where it makes no sense."""
        if len(text) > MAX_DESCRIPTOR_BYTES:
            raise VmdkUnsupportedError(f"a descriptor of {len(text)} bytes: this is not one")
        lines = (text if isinstance(text, str) else _decode(text)).split("\0", 1)[0].splitlines()
        if not lines or not lines[0].strip().lower().startswith(MAGIC.lower()):
            raise VmdkUnsupportedError(f"not a VMDK descriptor: it does not begin with {MAGIC!r}")
        return _from_lines(line.strip() for line in lines)

    def render(self) -> str:
        """The text that ``parse`` reads back as an equal value."""
        header = {"version": "1", "encoding": "UTF-8", "CID": f"{self.cid:08x}"}
        header |= {"parentCID": f"{self.parent_cid:08x}", "createType": self.create_type}
        if self.parent_file_name_hint:
            header["parentFileNameHint"] = self.parent_file_name_hint
        header |= {key: value for key, value in self.other.items() if key not in header}
        bare = {"version", "CID", "parentCID"}
        lines = [MAGIC, *(f"{k}={v}" if k in bare else f"{k}={_quoted(v)}" for k, v in header.items())]
        lines += ["", "# Extent description", *map(_extent_text, self.extents)]
        lines += ["", "# The Disk Data Base", "#DDB", ""]
        lines += [f"ddb.{key} = {_quoted(value)}" for key, value in self.ddb.items()]
        return "\n".join([*lines, ""])


def flat_descriptor(
    capacity_bytes: int,
    extent_name: str,
    *,
    create_type: str = "vmfs",
    cid: int | None = None,
    uuid: str = "",
    thin: bool = True,
) -> Descriptor:
    """A disk without a parent whose bytes are those of one file."""
    sectors = whole_sectors(capacity_bytes)
    extent = ExtentLine("RW", sectors, "VMFS" if create_type == "vmfs" else "FLAT", member_name(extent_name))
    ddb = (
        disk_database(sectors) | ({"uuid": uuid} if uuid else {}) | ({"thinProvisioned": "1"} if thin else {})
    )
    return Descriptor(new_cid() if cid is None else cid, NO_PARENT, create_type, (extent,), ddb=ddb)


def delta_descriptor(
    kind: DeltaKind,
    capacity_bytes: int,
    extent_name: str,
    parent_hint: str,
    parent_cid: int,
    *,
    cid: int | None = None,
    uuid: str = "",
) -> Descriptor:
    """The child of a snapshot. ``cid`` is the parent's own until the child is closed, as vSphere does it."""
    extent = ExtentLine("RW", whole_sectors(capacity_bytes), _DELTA_TYPE[kind], member_name(extent_name))
    ddb = {"uuid": uuid} if uuid else {}
    return Descriptor(parent_cid if cid is None else cid, parent_cid, kind, (extent,), parent_hint, ddb)


def disk_database(sectors: int) -> dict[str, str]:
    """Geometry and adapter of an LSI Logic disk. Without ``toolsVersion`` vSphere complains."""
    return {
        "adapterType": "lsilogic",
        "geometry.cylinders": str(min(sectors // (255 * 63), 0xFFFFFFFF)),
        "geometry.heads": "255",
        "geometry.sectors": "63",
        "toolsVersion": "2147483647",
        "virtualHWVersion": "19",
    }


def new_cid() -> int:
    """A random content id that is not the mark of a missing parent."""
    return secrets.randbelow(NO_PARENT - 2) + 1


def _decode(data: bytes) -> str:
    data = data.split(b"\0", 1)[0]
    named = _ENCODING_LINE.search(data)
    encoding = named[1].decode().lower() if named else "utf-8"
    if encoding not in _ENCODINGS:
        raise VmdkUnsupportedError(f"a descriptor in an unknown encoding: {encoding[:40]!r}")
    try:
        return data.decode(encoding.replace("windows-9", "cp9").replace("windows-874", "cp874"))
    except ValueError as error:
        raise VmdkDamagedError(f"a descriptor that is not the {encoding} it says it is") from error


def _from_lines(lines: Iterable[str]) -> Descriptor:
    header: dict[str, str] = {}
    names: dict[str, str] = {}  # as the file writes them
    ddb: dict[str, str] = {}
    extents: list[ExtentLine] = []
    for line in lines:
        if not line or line.startswith("#"):
            continue
        if (extent := _EXTENT.fullmatch(line)) is not None:
            extents.append(_extent(extent))
        elif (setting := _SETTING.fullmatch(line)) is not None:
            key, value = setting["key"], _unquoted(setting["value"])
            if key.lower().startswith("ddb."):
                ddb[key[4:]] = value
            else:
                header[key.lower()] = value
                names[key.lower()] = key
    return _assemble(header, names, tuple(extents), ddb)


def _assemble(
    header: dict[str, str], names: dict[str, str], extents: tuple[ExtentLine, ...], ddb: dict[str, str]
) -> Descriptor:
    if not extents:
        raise VmdkDamagedError("a descriptor that names no extent")
    if sum(extent.sectors for extent in extents) > MAX_CAPACITY_BYTES // SECTOR:
        raise VmdkDamagedError("a descriptor that claims an impossible capacity")
    known = {"version", "encoding", "cid", "parentcid", "createtype", "parentfilenamehint"}
    return Descriptor(
        cid=_cid(header.get("cid", "0")),
        parent_cid=_cid(header.get("parentcid", "ffffffff")),
        create_type=header.get("createtype", ""),
        extents=extents,
        parent_file_name_hint=header.get("parentfilenamehint", ""),
        ddb=ddb,
        other={names[key]: value for key, value in header.items() if key not in known},
    )


def _extent(match: re.Match[str]) -> ExtentLine:
    sectors = int(match["sectors"])
    checked_capacity(sectors, "an extent of a descriptor")
    offset = int(match["offset"] or 0)
    if offset > MAX_CAPACITY_BYTES // SECTOR:
        raise VmdkDamagedError(f"an extent of a descriptor begins at an impossible sector {offset}")
    return ExtentLine(match["access"].upper(), sectors, match["type"].upper(), match["name"] or "", offset)


def _extent_text(extent: ExtentLine) -> str:
    text = f"{extent.access} {extent.sectors} {extent.type}"
    if extent.file_name:
        text += " " + _quoted(extent.file_name)
    return f"{text} {extent.offset}" if extent.offset or extent.type == "FLAT" else text


def _cid(text: str) -> int:
    if not re.fullmatch(r"[0-9a-fA-F]{1,8}", text):
        raise VmdkDamagedError(f"not a content id: {text[:40]!r}")
    return int(text, 16)


def _unquoted(value: str) -> str:
    value = value.strip()
    return value[1:-1] if len(value) >= 2 and value[0] == value[-1] == '"' else value


def _quoted(value: str) -> str:
    if any(c == '"' or not (c.isprintable() or c == "\t") for c in value):
        raise VmdkUnsupportedError(f"a descriptor can't hold {value[:80]!r}")
    return f'"{value}"'
