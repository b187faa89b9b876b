"""Where layers lie on the host, and the open files behind them."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Final

from vbm.disk.vmdk.descriptor import Descriptor, ExtentLine, disk_database, new_cid
from vbm.lab.ciphertext import EncryptedFile
from vbm.lab.delta_files import create_delta, open_delta
from vbm.lab.layer_files import FlatFile, LayerFile, copy_sparse, create_flat
from vbm.lab.model import FLAT, RDM, SE_SPARSE, VMFS_SPARSE, LabFault, Layer, VirtualDisk, split_path
from vbm.units import SECTOR

NO_PARENT: Final = 0xFFFFFFFF
_CREATE_TYPE: Final = {FLAT: "vmfs", VMFS_SPARSE: "vmfsSparse", SE_SPARSE: "seSparse"}
_EXTENT_TYPE: Final = {FLAT: "VMFS", VMFS_SPARSE: "VMFSSPARSE", SE_SPARSE: "SESPARSE"}


class LayerStore:
    """Thread-safe. A file is opened once and shared; who holds it may go on reading after it was deleted."""

    def __init__(
        self, state_directory: Path, resolve: Callable[[str], Path], volume: Callable[[str], str]
    ) -> None:
        self._directory = state_directory
        self._resolve = resolve
        self._volume = volume  # a datastore's name to its name below /vmfs/volumes
        self._files: dict[str, LayerFile] = {}
        self._lock = threading.Lock()

    def descriptor_path(self, layer: Layer) -> Path:
        return self._resolve(layer.file_name)

    def extent_path(self, layer: Layer) -> Path:
        """The file that has the bytes: beside the descriptor, or outside for an object store and a LUN."""
        if "://" in layer.extent_name:
            return self._directory / "objects" / layer.extent_name.partition("://")[2]
        if layer.format == RDM:
            return self._directory / "luns" / layer.id
        return self._resolve(layer.file_name).parent / layer.extent_name

    def ctk_path(self, layer: Layer) -> Path:
        path = self.descriptor_path(layer)
        return path.with_name(path.name.removesuffix(".vmdk") + "-ctk.vmdk")

    def file(self, layer: Layer) -> LayerFile:
        """Its open file. Raises LabFault FileNotFound."""
        with self._lock:
            found = self._files.get(layer.id)
            if found is None:
                found = self._files[layer.id] = self._open(layer)
            return found

    def files(self, layers: list[Layer]) -> list[LayerFile]:
        return [self.file(layer) for layer in layers]

    def _open(self, layer: Layer) -> LayerFile:
        path = self.extent_path(layer)
        try:
            if layer.format in {FLAT, RDM}:
                file: LayerFile = FlatFile(path, layer.capacity_bytes)
            else:
                file = open_delta(layer.format, path, layer.capacity_bytes)
        except FileNotFoundError as error:
            raise LabFault(
                "FileNotFound", f"no such file: {layer.file_name}", properties={"file": layer.file_name}
            ) from error
        return EncryptedFile(file, layer.key_id) if layer.key_id else file

    def reopen(self, layer: Layer) -> None:
        """Its file was replaced or has another size: the next use opens it again."""
        with self._lock:
            self._files.pop(layer.id, None)

    def exists(self, layer: Layer) -> bool:
        return self.descriptor_path(layer).exists() and self.extent_path(layer).exists()

    def create_base(self, layer: Layer, disk: VirtualDisk, source: Path | None = None) -> None:
        """Descriptor and extent of a disk without parent; the source's bytes copied, its holes kept."""
        path = self.extent_path(layer)
        create_flat(path, layer.capacity_bytes)
        if source is not None and not layer.key_id:
            copy_sparse(source, path)
        elif source is not None:
            self._fill(layer, source)
        if layer.format == RDM:
            create_flat(self.descriptor_path(layer).with_name(layer.extent_name), 0)
        self.write_descriptor(layer, None, disk)

    def _fill(self, layer: Layer, source: Path) -> None:
        plain = FlatFile(source, source.stat().st_size)
        target = self.file(layer)
        for start, length, _ in plain.present():
            for at in range(start, start + length, 1 << 20):
                buffer = bytearray(min(1 << 20, start + length - at))
                plain.readinto(at, memoryview(buffer))
                target.write(at, buffer)

    def create_delta(self, layer: Layer, parent: Layer, disk: VirtualDisk) -> None:
        """An empty child of ``parent``."""
        path = self.extent_path(layer)
        path.parent.mkdir(parents=True, exist_ok=True)
        create_delta(layer.format, path, layer.capacity_bytes)
        self.write_descriptor(layer, parent, disk)

    def grow(self, layer: Layer, capacity_bytes: int, disk: VirtualDisk) -> None:
        """A base only."""
        layer.capacity_bytes = capacity_bytes
        with self.extent_path(layer).open("r+b") as file:
            file.truncate(capacity_bytes)
        self.reopen(layer)
        self.write_descriptor(layer, None, disk)

    def write_descriptor(self, layer: Layer, parent: Layer | None, disk: VirtualDisk) -> None:
        """Replace the descriptor as a whole."""
        path = self.descriptor_path(layer)
        path.parent.mkdir(parents=True, exist_ok=True)
        text = self.describe(layer, parent, disk).render()
        temporary = path.with_name(f".{path.name}.new")
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)

    def describe(self, layer: Layer, parent: Layer | None, disk: VirtualDisk) -> Descriptor:
        sectors = layer.capacity_bytes // SECTOR
        ddb = {"uuid": spaced(disk.uuid), "longContentID": f"{layer.cid:08x}".rjust(32, "0")}
        if parent is None:
            ddb = disk_database(sectors) | ddb | ({"thinProvisioned": "1"} if layer.thin else {})
        if layer.key_id:
            ddb["keyID"] = layer.key_id
        other = {"changeTrackPath": self.ctk_path(layer).name} if layer.change_id is not None else {}
        return Descriptor(
            cid=layer.cid,
            parent_cid=NO_PARENT if parent is None else layer.parent_cid,
            create_type=_rdm_type(disk) if layer.format == RDM else _CREATE_TYPE[layer.format],
            extents=(ExtentLine("RW", sectors, _extent_type(layer, disk), layer.extent_name),),
            parent_file_name_hint="" if parent is None else self._hint(layer, parent),
            ddb=ddb,
            other=other,
        )

    def _hint(self, layer: Layer, parent: Layer) -> str:
        (here, below), (there, path) = split_path(layer.file_name), split_path(parent.file_name)
        if here == there and below.rpartition("/")[0] == path.rpartition("/")[0]:
            return path.rpartition("/")[2]
        return f"/vmfs/volumes/{self._volume(there)}/{path}"

    def seal(self, layer: Layer, parent: Layer | None, disk: VirtualDisk) -> None:
        """It is closed for writing: a new CID where it was written to."""
        if layer.written:
            layer.cid, layer.written = new_cid(), False
        self.write_descriptor(layer, parent, disk)

    def track(self, layer: Layer, *, on: bool) -> None:
        """The ``-ctk.vmdk`` beside the descriptor: present while the layer is tracked. Its content is ours."""
        path = self.ctk_path(layer)
        if not on:
            path.unlink(missing_ok=True)
        elif not path.exists():
            create_flat(path, 512 + (layer.capacity_bytes >> 16) * 4)

    def delete(self, layer: Layer) -> None:
        """Descriptor, extent and tracking file. What holds the open file may go on reading it."""
        self.reopen(layer)
        for path in (self.extent_path(layer), self.descriptor_path(layer), self.ctk_path(layer)):
            path.unlink(missing_ok=True)
        if layer.format == RDM:
            self.descriptor_path(layer).with_name(layer.extent_name).unlink(missing_ok=True)

    def close(self) -> None:
        with self._lock:
            self._files.clear()


def spaced(uuid: str) -> str:
    """``60 00 c2 9e 12 34 56 78-9a …`` as ``ddb.uuid`` writes ``6000C29e-1234-5678-9a…``."""
    digits = uuid.replace("-", "").lower()
    pairs = [digits[at : at + 2] for at in range(0, len(digits), 2)]
    return " ".join(pairs[:8]) + "-" + " ".join(pairs[8:])


def _rdm_type(disk: VirtualDisk) -> str:
    return "vmfsPassthroughRawDeviceMap" if disk.rdm == "physicalMode" else "vmfsRawDeviceMap"


def _extent_type(layer: Layer, disk: VirtualDisk) -> str:
    if layer.format == RDM:
        return "VMFSRDM" if disk.rdm == "virtualMode" else "VMFSRDMP"
    return _EXTENT_TYPE[layer.format]
