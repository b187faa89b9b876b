"""An encrypted disk: what lies on the datastore is ciphertext; the guest and NFC see plain bytes.

AES-256-CTR by disk offset under a key derived from the key id. It stands for VM encryption's behaviour, not
for its strength. A sector of zeros on the host stays zeros, so that thin disks stay thin.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Final

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from vbm.lab.layer_files import Data, LayerFile, Piece
from vbm.units import SECTOR

_BLOCK: Final = 16


class EncryptedFile:
    """A LayerFile over another one."""

    def __init__(self, file: LayerFile, key_id: str) -> None:
        self._file = file
        self._key = hashlib.sha256(key_id.encode()).digest()
        self.grain_bytes = max(file.grain_bytes, SECTOR)
        self.capacity_bytes = file.capacity_bytes

    def _mask(self, offset: int, length: int) -> bytes:
        counter = (offset // _BLOCK).to_bytes(_BLOCK, "big")
        stream = Cipher(algorithms.AES(self._key), modes.CTR(counter)).encryptor()
        skip = offset % _BLOCK
        return stream.update(bytes(skip + length))[skip:]

    def readinto(self, offset: int, buffer: memoryview) -> None:
        start = offset // SECTOR * SECTOR
        end = -(-(offset + len(buffer)) // SECTOR) * SECTOR
        whole = bytearray(end - start)
        self._file.readinto(start, memoryview(whole))
        sealed = np.frombuffer(whole, dtype=np.uint8).reshape(-1, SECTOR)
        plain = np.frombuffer(self._mask(start, end - start), dtype=np.uint8).reshape(-1, SECTOR) ^ sealed
        plain[~sealed.any(axis=1)] = 0
        buffer[:] = plain.tobytes()[offset - start : offset - start + len(buffer)]

    def write(self, offset: int, data: Data) -> None:
        plain = np.frombuffer(data, dtype=np.uint8)
        sealed = plain ^ np.frombuffer(self._mask(offset, len(plain)), dtype=np.uint8)
        rows = sealed.reshape(-1, SECTOR)
        rows[~plain.reshape(-1, SECTOR).any(axis=1)] = 0
        self._file.write(offset, sealed.tobytes())

    def locate(self, offset: int, length: int) -> list[Piece]:
        return self._file.locate(offset, length)

    def zero(self, offset: int, length: int) -> None:
        self._file.zero(offset, length)

    def present(self) -> Iterator[Piece]:
        return self._file.present()
