"""What two cores allow at best: the rates of the single operations, measured, and the limit they add up to."""

from __future__ import annotations

import hmac
import time
from collections.abc import Callable
from pathlib import Path

import zstandard
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

MIB = 1024 * 1024


def sample(image: Path, size_bytes: int = 192 * MIB) -> list[bytes]:
    """Chunks of 1 MiB that hold data, spread over the image."""
    chunks = []
    with image.open("rb") as disk:
        for start in range(0, image.stat().st_size, MIB):
            disk.seek(start)
            chunk = disk.read(MIB)
            if any(chunk):
                chunks.append(chunk)
    step = max(1, len(chunks) * MIB // size_bytes)
    return chunks[::step]


def rate(chunks: list[bytes], work: Callable[[bytes], object]) -> float:
    """Bytes a second on one core."""
    begin = time.perf_counter()
    for chunk in chunks:
        work(chunk)
    return sum(map(len, chunks)) / (time.perf_counter() - begin)


def single_rates(image: Path) -> dict[str, float]:
    """SHA-256 (keyed), zstd level 3, AES-256-GCM of what zstd left: bytes of disk a second and core."""
    chunks = sample(image)
    compressor = zstandard.ZstdCompressor(level=3)
    cipher = AESGCM(bytes(32))
    packed = [compressor.compress(chunk) for chunk in chunks]
    ratio = sum(map(len, chunks)) / sum(map(len, packed))
    return {
        "sha256": rate(chunks, lambda chunk: hmac.digest(b"k" * 32, chunk, "sha256")),
        "zstd-3": rate(chunks, compressor.compress),
        "aes-256-gcm": rate(packed, lambda chunk: cipher.encrypt(bytes(12), chunk, None)) * ratio,
    }


def limit(rates: dict[str, float], cores: int) -> float:
    """Bytes a second if every core did nothing but these operations, one after the other on each byte."""
    return cores / sum(1 / value for value in rates.values())
