"""A PostgreSQL server of one's own, its data in a temporary folder."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


class Server:
    """``url`` has a place for the database's name. ``restart`` is a crash and a start."""

    def __init__(self, folder: Path, programs: Path, account: str | None) -> None:
        self.folder, self._programs, self._account = folder, programs, account
        self.url = f"postgresql://vbm@/{{}}?host={folder}"

    def run(self, *command: str | Path) -> None:
        subprocess.run(
            command,
            check=True,
            capture_output=True,
            user=self._account,
            env={"PATH": os.environ["PATH"], "LC_ALL": "C"},
        )

    def start(self) -> None:
        options = f"-c listen_addresses= -c unix_socket_directories={self.folder} -c fsync=off"
        self.run(
            self._programs / "pg_ctl",
            "-w",
            "-D",
            self.folder / "data",
            "-l",
            self.folder / "log",
            "-o",
            options,
            "start",
        )

    def stop(self) -> None:
        self.run(self._programs / "pg_ctl", "-D", self.folder / "data", "-m", "immediate", "stop")


@contextmanager
def postgresql() -> Iterator[Server]:
    """A running server; skips where the programs are not installed."""
    pytest.importorskip("psycopg", reason="the driver for PostgreSQL is not installed")
    found = shutil.which("initdb") or next(Path("/usr/lib/postgresql").glob("*/bin/initdb"), None)
    if found is None:
        pytest.skip("PostgreSQL's initdb is not installed")
    programs = Path(found).resolve().parent
    account = None
    if os.geteuid() == 0:  # the server refuses to run as root
        names = {entry.pw_name for entry in pwd.getpwall()}
        account = "postgres" if "postgres" in names else "nobody"
    with tempfile.TemporaryDirectory(prefix="vbm-pg-", dir="/tmp") as name:
        folder = Path(name)
        if account:
            shutil.chown(folder, account)
        server = Server(folder, programs, account)
        initdb = (programs / "initdb", "--no-sync", "-A", "trust", "-U", "vbm", "-E", "UTF8")
        server.run(*initdb, "-D", folder / "data")
        server.start()
        try:
            yield server
        finally:
            server.stop()
