"""Over HTTPS from the embedded lab: how near the first full is to what two cores can do, and what increments cost."""

from __future__ import annotations

import base64
import http.client
import json
import random
import shutil
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from images import GIB, make_images
from limits import MIB, limit, single_rates
from measure import Measured, run, tree_bytes
from vbm.lab import control

COMMAND = Path(sys.executable).with_name("vbm")
GRAIN = 64 * 1024


@dataclass
class Site:
    """A lab with a product set up against it."""

    lab: Path
    server: dict[str, Any]
    environment: dict[str, str]

    def vbm(self, *words: object) -> Measured:
        return run([COMMAND, *map(str, words)], self.environment)

    def backup(self, vm: str, *options: str) -> tuple[Measured, dict[str, Any]]:
        measured = self.vbm("backup", vm, "--repository", "bench", "--json", *options)
        return measured, json.loads(measured.output)


@contextmanager
def site(folder: Path) -> Iterator[Site]:
    """A fresh lab, served by a process of its own, and a fresh repository."""
    base = folder / "network"
    shutil.rmtree(base, ignore_errors=True)
    lab, home = base / "lab", base / "home"
    base.mkdir(parents=True)
    words = [COMMAND, "lab", "serve", "--state", lab, "--preset", "empty"]
    with subprocess.Popen(list(map(str, words)), stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        server = json.loads(process.stdout.readline())
        environment = {
            "VBM_HOME": str(home),
            "VCENTER_PASSWORD": server["password"],
            "VBM_BENCH_PASSPHRASE": "bench",
        }
        found = Site(lab, server, environment)
        address = f"{server['host']}:{server['port']}"
        trust = ["--username", server["username"], "--thumbprint", server["thumbprint"]]
        found.vbm("vcenter", "add", "bench", "--host", address, *trust)
        found.vbm(
            "repository",
            "create",
            "bench",
            f"file://{base}/store",
            "--passphrase-env",
            "VBM_BENCH_PASSPHRASE",
        )
        try:
            yield found
        finally:
            process.terminate()
    shutil.rmtree(base)


def tls_rate(server: dict[str, Any], path: str, datastore: str, datacenter: str) -> float:
    """Bytes a second of client CPU when ranges are read into one buffer and thrown away."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = (
        False,
        ssl.CERT_NONE,
    )  # the rate of the cipher, not a product's path
    token = base64.b64encode(f"{server['username']}:{server['password']}".encode()).decode()
    connection = http.client.HTTPSConnection(server["host"], server["port"], context=context)
    buffer, total = memoryview(bytearray(4 * MIB)), 0
    begin = time.process_time()
    for offset in range(0, 512 * MIB, len(buffer)):
        headers = {"Authorization": f"Basic {token}", "Range": f"bytes={offset}-{offset + len(buffer) - 1}"}
        query = f"dcPath={quote(datacenter, safe='')}&dsName={quote(datastore, safe='')}"
        connection.request("GET", f"/folder/{quote(path)}?{query}", headers=headers)
        response, at = connection.getresponse(), 0
        if response.status != http.client.PARTIAL_CONTENT:
            sys.exit(f"the lab answered {response.status} to a range of {path}")
        while at < len(buffer) and (got := response.readinto(buffer[at:])):
            at += got
        total += at
    connection.close()
    return total / (time.process_time() - begin)


def thin_disk(path: Path, capacity: int, used: int) -> None:
    """A thin disk of half-compressible data, in runs of 64 MiB spread over it."""
    chance = random.Random(1)
    run_bytes = 64 * MIB
    step = capacity // (used // run_bytes)
    with path.open("wb") as disk:
        disk.truncate(capacity)
        for offset in range(0, capacity, step // MIB * MIB):
            disk.seek(offset)
            for _ in range(run_bytes // MIB):
                disk.write(chance.randbytes(MIB // 2) + bytes(range(256)) * (MIB // 512))


def guest_changes(lab: Path, vm: str, capacity: int, total: int) -> int:
    """Scattered guest writes of 1 MiB, aligned to the grain; how many bytes."""
    chance = random.Random(2)
    places = chance.sample(range(capacity // MIB - 1), total // MIB)
    for place in places:
        control.write(lab, vm, place * MIB, random=MIB)
    return len(places) * MIB


def measure_first_full(folder: Path, scale: float) -> dict[str, Any]:
    image = make_images(folder / f"images-{scale:g}", scale).first
    used = image.stat().st_blocks * 512
    with site(folder) as here:
        control.create_vm(here.lab, "bench", [image], power_on=True)
        measured, told = here.backup("bench")
        changed = guest_changes(here.lab, "bench", image.stat().st_size, int(64 * scale) * MIB)
        second, again = here.backup("bench")
        rates = single_rates(image)
        rates["tls"] = _tls_rate_of(here, "bench")
    return {
        "first full, MB/s of allocated bytes": round(used / told["duration_seconds"] / 1e6),
        "two-core limit, MB/s": round(limit(rates, 2) / 1e6),
        "first full, share of the limit": f"{used / told['duration_seconds'] / limit(rates, 2):.0%}",
        "single operations, MB/s and core": {name: round(rate / 1e6) for name, rate in rates.items()},
        "first full, transport": told["transport"],
        "first full, peak MiB": round(measured.peak_mib),
        "incremental, bytes changed by the guest": changed,
        "incremental, bytes read": again["bytes_read"],
        "incremental, read ÷ changed": round(again["bytes_read"] / changed, 3),
        "incremental, audited besides": again["bytes_audited"],
        "incremental, seconds": round(second.wall_seconds, 2),
    }


def _tls_rate_of(here: Site, vm: str) -> float:
    """Of a powered-off machine's disk: a running one's is locked."""
    control.power(here.lab, vm, on=False)
    datacenter = json.loads(here.vbm("vm", "list", "--json").output)[0]["datacenter"]
    datastore = next((here.lab / "datastores").iterdir())
    flat = next(datastore.rglob("*-flat.vmdk"))
    return tls_rate(here.server, str(flat.relative_to(datastore)), datastore.name, datacenter)


def measure_thin(folder: Path, scale: float) -> dict[str, Any]:
    capacity, used = 64 * GIB, int(16 * scale) * GIB
    raw = folder / "thin.img"
    thin_disk(raw, capacity, used)
    with site(folder) as here:
        control.create_vm(here.lab, "thin", [raw], power_on=True)
        raw.unlink()
        first, _ = here.backup("thin")
        changed = guest_changes(here.lab, "thin", capacity, capacity // 200)
        second, told = here.backup("thin")
        stored = tree_bytes(here.lab.parent / "store")
    return {
        "64 GiB thin disk, allocated GiB": used // GIB,
        "64 GiB thin disk, first full, seconds": round(first.wall_seconds, 1),
        "64 GiB thin disk, 0.5 % changed, MiB": changed // MIB,
        "64 GiB thin disk, incremental, seconds": round(second.wall_seconds, 1),
        "64 GiB thin disk, incremental ÷ first full": f"{second.wall_seconds / first.wall_seconds:.1%}",
        "64 GiB thin disk, read ÷ changed": round(told["bytes_read"] / changed, 3),
        "64 GiB thin disk, peak MiB": round(max(first.peak_mib, second.peak_mib)),
        "64 GiB thin disk, repository MB": round(stored / 1e6),
    }


def measure_network(folder: Path, scale: float) -> dict[str, Any]:
    return measure_first_full(folder, scale) | measure_thin(folder, scale)
