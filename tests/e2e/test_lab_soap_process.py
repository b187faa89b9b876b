"""The lab as a process of its own, and the commands that reach it from others."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from fixtures_lab_soap import MIB, PASSWORD, pattern
from vbm.errors import InputError, NotFoundError, VbmError
from vbm.lab import control


@contextmanager
def served(folder: Path, *arguments: str) -> Iterator[tuple[subprocess.Popen[str], dict[str, Any]]]:
    process = subprocess.Popen(
        [sys.executable, "-m", "vbm.lab", "serve", "--state", str(folder), "--preset", "empty", *arguments],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "VBM_LAB_PASSWORD": PASSWORD},
    )
    assert process.stdout is not None
    try:
        yield process, json.loads(process.stdout.readline())
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def image(folder: Path) -> Path:
    path = folder / "disk.raw"
    path.write_bytes(pattern(2 * MIB))
    return path


def test_one_line_tells_how_to_reach_it(tmp_path: Path) -> None:
    with served(tmp_path / "lab") as (process, info):
        assert set(info) == {"url", "host", "port", "username", "password", "thumbprint"}
        assert info["url"] == f"https://{info['host']}:{info['port']}/sdk"
        assert info["password"] == PASSWORD
        assert len(info["thumbprint"].replace(":", "")) == 64
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
    assert not (tmp_path / "lab/control.sock").exists()


def test_commands_work_beside_the_server_and_without_it(tmp_path: Path) -> None:
    state, raw = tmp_path / "lab", image(tmp_path)
    expected = bytearray(raw.read_bytes())
    with served(state) as (process, _):
        made = control.create_vm(state, "one", [raw], snapshots=1, power_on=True)
        assert made["name"] == "one"
        control.write(state, "one", 4096, zero=8192)
        extra = tmp_path / "extra"
        extra.write_bytes(b"z" * 5000)
        control.write(state, "one", 100_000, file=extra)
        control.dump(state, "one", tmp_path / "seen.raw")
        expected[4096 : 4096 + 8192] = bytes(8192)
        expected[100_000:105_000] = b"z" * 5000
        assert (tmp_path / "seen.raw").read_bytes() == bytes(expected)
        assert control.fault(state, "add", "Login hang count=1")["rules"][0]["target"] == "Login"
        assert control.list_vms(state)["machines"][0]["power_state"] == "poweredOn"
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert (state / "control.sock").exists()  # left by the kill, and no hindrance
    written = control.write(state, "one", 0, random=1000)
    assert written["length"] == 1000
    control.dump(state, "one", tmp_path / "again.raw")
    assert (tmp_path / "again.raw").read_bytes()[1000:] == bytes(expected)[1000:]
    assert control.fault(state, "list")["rules"][0]["count"] == 1
    assert control.fault(state, "clear")["rules"] == []
    with served(state) as (_, info):
        assert info["password"] == PASSWORD
        assert control.list_vms(state)["machines"][0]["name"] == "one"


def test_wrong_commands_get_one_clear_error(tmp_path: Path) -> None:
    state, raw = tmp_path / "lab", image(tmp_path)
    with pytest.raises(NotFoundError):
        control.write(tmp_path / "none", "one", 0, zero=512)
    with served(state):
        control.create_vm(state, "one", [raw])
        for call in (
            lambda: control.write(state, "one", 2 * MIB, zero=512),
            lambda: control.write(state, "one", 0, disk=3, zero=512),
            lambda: control.write(state, "one", 0),
            lambda: control.create_vm(state, "two", [tmp_path / "none.raw"]),
            lambda: control.fault(state, "add", "Login nonsense"),
            lambda: control.fault(state, "add", "now hang"),
        ):
            with pytest.raises(InputError):
                call()
        with pytest.raises(NotFoundError):
            control.dump(state, "two", tmp_path / "x")
        with pytest.raises(VbmError, match="DuplicateName"):
            control.create_vm(state, "one", [raw])


def test_a_lab_is_served_once(tmp_path: Path) -> None:
    with served(tmp_path / "lab"):
        second = subprocess.run(
            [sys.executable, "-m", "vbm.lab", "serve", "--state", str(tmp_path / "lab")],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert second.returncode != 0
        assert "error:" in second.stderr
        assert "Traceback" not in second.stderr


def test_the_thin_command_line(tmp_path: Path) -> None:
    state, raw = tmp_path / "lab", image(tmp_path)

    def run(*arguments: str) -> dict[str, Any]:
        done = subprocess.run(
            [sys.executable, "-m", "vbm.lab", *arguments, "--state", str(state)],
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        result: dict[str, Any] = json.loads(done.stdout)
        return result

    with served(state):
        assert run("create-vm", "--name", "one", "--disk", str(raw))["name"] == "one"
        assert run("write", "--vm", "one", "--offset", "64KiB", "--random", "1KiB")["length"] == 1024
        assert run("dump", "--vm", "one", "--output", str(tmp_path / "x.raw"))["size_bytes"] == 2 * MIB
        assert run("fault", "add", "Login", "hang", "count=1")["rules"]
        assert run("fault", "clear")["rules"] == []


def test_a_deep_folder_is_no_obstacle(tmp_path: Path) -> None:
    state = tmp_path / ("long" * 25) / ("deep" * 20) / "lab"
    state.parent.mkdir(parents=True)
    with served(state):
        assert control.list_vms(state)["machines"] == []
