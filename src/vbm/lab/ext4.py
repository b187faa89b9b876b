"""ext4 file systems in plain files, made and changed without root by e2fsprogs."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Final

_SUPERBLOCK: Final = 1024
_MAGIC: Final = b"\x53\xef"
_ENTRY = re.compile(r"/(\d+)/([0-7]+)/\d+/\d+/([^/]+)/(\d*)/")
_SAFE = re.compile(r"[A-Za-z0-9._+@-]+")
_PROMPT: Final = "debugfs: "


def tool(name: str) -> str | None:
    """The path of a tool of e2fsprogs, also where /usr/sbin is not in PATH."""
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")


def available() -> bool:
    """Whether file systems can be made and changed here."""
    return tool("mke2fs") is not None and tool("debugfs") is not None


def make(image: Path, capacity_bytes: int, tree: Path, label: str) -> None:
    """A sparse image of a file system with the tree's files. The same input gives the same bytes but for times."""
    with image.open("wb") as file:
        file.truncate(capacity_bytes)
    seed = str(uuid.uuid5(uuid.NAMESPACE_DNS, label))
    _run(
        [
            *(
                tool("mke2fs") or "mke2fs",
                "-q",
                "-F",
                "-t",
                "ext4",
                "-b",
                "4096",
                "-m",
                "0",
                "-L",
                label,
                "-U",
                seed,
            ),
            *("-E", f"lazy_itable_init=1,lazy_journal_init=1,hash_seed={seed},root_owner=0:0"),
            *("-d", str(tree), str(image)),
        ]
    )


def is_ext(header: bytes) -> bool:
    """Whether the first 2 KiB of a disk begin an ext2/3/4 file system."""
    return header[_SUPERBLOCK + 56 : _SUPERBLOCK + 58] == _MAGIC


def block_bytes(header: bytes) -> int:
    """Of a file system that begins so."""
    return 1024 << int.from_bytes(header[_SUPERBLOCK + 24 : _SUPERBLOCK + 28], "little")


def free_bytes(image: Path) -> int:
    """What the file system says is free."""
    with image.open("rb") as file:
        header = file.read(2048)
    free = int.from_bytes(header[_SUPERBLOCK + 12 : _SUPERBLOCK + 16], "little")
    return free * block_bytes(header)


def apply(image: Path, commands: Sequence[str]) -> str:
    """Run debugfs commands that change the file system. What it printed."""
    return _debugfs(image, commands, write=True)


def _debugfs(image: Path, commands: Sequence[str], *, write: bool) -> str:
    script = "\n".join([*commands, "quit", ""])
    argv = [tool("debugfs") or "debugfs", *(["-w"] if write else []), "-f", "-", str(image)]
    return _run(argv, script)


def list_files(image: Path, limit: int = 4000) -> dict[str, int]:
    """Path to size of plain files with plain names, level by level, that many at most."""
    found: dict[str, int] = {}
    folders = ["/"]
    while folders and len(found) < limit:
        output = _debugfs(image, [f"ls -p {folder}" for folder in folders], write=False)
        below: list[str] = []
        for folder, lines in _answers(output, folders):
            for _, mode, name, size in _ENTRY.findall("\n".join(lines)):
                path = f"{folder.rstrip('/')}/{name}"
                if not _SAFE.fullmatch(name) or name in {".", "..", "lost+found"}:
                    continue
                if mode.startswith("04"):
                    below.append(path)
                elif mode.startswith("10") and size:
                    found[path] = int(size)
        folders = below
    return dict(list(found.items())[:limit])


def places(image: Path, wanted: Sequence[tuple[str, int]]) -> list[int]:
    """The block numbers of (path, logical block); what is a hole is left out."""
    output = _debugfs(image, [f"bmap {path} {block}" for path, block in wanted], write=False)
    found = [" ".join(lines).strip() for _, lines in _answers(output, [path for path, _ in wanted])]
    return [int(text) for text in found if text.isdigit() and text != "0"]


def _answers(output: str, asked: Sequence[str]) -> list[tuple[str, list[str]]]:
    """debugfs repeats each command after its prompt; what follows up to the next is the answer."""
    parts: list[list[str]] = []
    for line in output.splitlines():
        if line.startswith(_PROMPT):
            parts.append([])
        elif parts:
            parts[-1].append(line)
    return list(zip(asked, parts, strict=False))


def check(image: Path) -> tuple[bool, str]:
    """Whether ``e2fsck -fn`` finds nothing wrong, and what it printed."""
    argv = [tool("e2fsck") or "e2fsck", "-fn", str(image)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, errors="replace")
    return done.returncode == 0, done.stdout + done.stderr


def _run(argv: list[str], script: str | None = None) -> str:
    environment = {**os.environ, "LC_ALL": "C", "MKE2FS_SYNC": "0", "DEBUGFS_PAGER": "cat"}
    done = subprocess.run(
        argv, input=script, capture_output=True, text=True, check=False, env=environment, errors="replace"
    )
    if done.returncode:
        message = f"{Path(argv[0]).name} failed with {done.returncode}: {(done.stderr or done.stdout)[-500:]}"
        raise RuntimeError(message)
    return done.stdout
