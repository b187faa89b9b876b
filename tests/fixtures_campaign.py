"""A lab in a process of its own and the command ``vbm`` beside it: what the campaigns work with."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from pyVmomi import vim
from typer.testing import CliRunner, Result

from fixtures_lab_soap import connected
from vbm.cli.main import app
from vbm.lab import control

PASSPHRASE = "correct horse"
MIB = 1 << 20


def noise_image(path: Path, size_bytes: int, seed: int = 1, *, data_bytes: int | None = None) -> Path:
    """A raw disk: data at its start, a hole, data in its last 64 KiB."""
    source = random.Random(seed)
    with path.open("wb") as file:
        file.truncate(size_bytes)
        file.write(source.randbytes(size_bytes // 2 if data_bytes is None else data_bytes))
        file.seek(size_bytes - (64 << 10))
        file.write(source.randbytes(64 << 10))
    return path


class Vbm:
    """Runs ``vbm`` with a home and an environment of its own: in this process, or as one to be killed."""

    def __init__(self, home: Path, password: str) -> None:
        self.home = home
        unset: dict[str, str | None] = {
            name: None for name in os.environ if name.startswith(("VBM_", "VCENTER_"))
        }
        self.environment = unset | {
            "VBM_HOME": str(home),
            "VCENTER_PASSWORD": password,
            "REPO_PW": PASSPHRASE,
            "COLUMNS": "140",
        }

    def __call__(self, *arguments: str) -> Result:
        return CliRunner().invoke(app, list(arguments), env=self.environment, prog_name="vbm")

    def ok(self, *arguments: str) -> Result:
        done = self(*arguments)
        assert done.exit_code == 0, done.output
        return done

    def json(self, *arguments: str) -> Any:
        """The one document on standard output of a command that ends well."""
        return json.loads(self.ok(*arguments, "--json").stdout)

    def start(self, *arguments: str, **popen: Any) -> subprocess.Popen[str]:
        environment = {k: v for k, v in (os.environ | self.environment).items() if v is not None}
        return subprocess.Popen(
            [sys.executable, "-m", "vbm", *arguments],
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            **popen,
        )

    def add_vcenter(self, host: str, port: int, username: str, thumbprint: str, name: str = "lab") -> None:
        self.ok(
            *("vcenter", "add", name, "--host", f"{host}:{port}"),
            *("--username", username, "--thumbprint", thumbprint),
        )

    def create_repository(self, path: Path, *options: str) -> None:
        self.ok("repository", "create", "main", str(path), *(options or ("--passphrase-env", "REPO_PW")))

    def restore(self, point: str, output: Path, disk: str = "0", *options: str) -> bytes:
        self.ok("restore", "disk", point, "--disk", disk, "--output", str(output), *options)
        content = output.read_bytes()
        output.unlink()
        return content


class ServedLab:
    """``python -m vbm.lab serve`` as another process; asked over its own socket and by pyVmomi."""

    def __init__(self, state: Path, preset: str = "empty") -> None:
        self.state = state
        self._process = subprocess.Popen(
            [sys.executable, "-m", "vbm.lab", "serve", "--state", str(state), "--preset", preset],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        said = json.loads(self._process.stdout.readline())
        self.host, self.port = said["host"], said["port"]
        self.username, self.password = said["username"], said["password"]
        self.thumbprint: str = said["thumbprint"]

    def close(self) -> None:
        self._process.terminate()
        self._process.communicate(timeout=30)

    def fault(self, spec: str) -> None:
        control.fault(self.state, "add", spec)

    def clear_faults(self) -> None:
        control.fault(self.state, "clear")

    def write(self, vm: str, offset: int, data: bytes, disk: int = 0) -> None:
        piece = self.state.parent / "guest-writes.bin"
        piece.write_bytes(data)
        control.write(self.state, vm, offset, disk=disk, file=piece)

    def dump(self, vm: str, disk: int = 0) -> bytes:
        """What the guest sees now."""
        output = self.state.parent / "dump.raw"
        control.dump(self.state, vm, output, disk=disk)
        content = output.read_bytes()
        output.unlink()
        return content

    def snapshots(self) -> dict[str, list[str]]:
        """The snapshots with our prefix by VM, as a client that nobody of the product wrote sees them."""
        lab: Any = SimpleNamespace(host=self.host, port=self.port, username=self.username)
        with connected(lab, password=self.password) as instance:
            view = instance.content.viewManager.CreateContainerView(
                instance.content.rootFolder, [vim.VirtualMachine], True
            )
            found = {}
            for vm in view.view:
                names = _names(vm.snapshot.rootSnapshotList) if vm.snapshot else []
                ours = [name for name in names if name.startswith("vbm-")]
                if ours:
                    found[vm.name] = ours
            return found


def _names(trees: Any) -> list[str]:
    return [name for tree in trees for name in (tree.name, *_names(tree.childSnapshotList))]
