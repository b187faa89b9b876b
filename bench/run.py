"""``make bench``: this product, restic and borg side by side on the same images, and what two cores can do.


Prints tables and writes ``bench/results/<date>.json``. Options: ``--scale`` (1 = 4 GiB images), ``--rounds``,
``--only local|network|memory``, ``--folder`` for images and repositories (several times the images' size is needed).
"""

from __future__ import annotations

import argparse
import filecmp
import json
import os
import platform
import shutil
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from images import Images, make_images
from limits import limit, single_rates
from measure import middle, tree_bytes, warm
from memory import measure_memory
from network import measure_network
from peers import Borg, Restic, install_borg, install_restic
from product import Vbm

Contender = Vbm | Restic | Borg
STEPS = ("full", "second", "day2", "restore", "verify")
console = Console(width=140)


def contenders(folder: Path) -> list[Callable[[int], Contender]]:
    """One maker a contender; each round has a new repository."""
    makers: list[Callable[[int], Contender]] = [lambda n: Vbm(folder / f"vbm-{n}")]
    restic, borg = install_restic(), install_borg()
    if restic:
        makers.append(lambda n: Restic(restic, folder / f"restic-{n}", folder))
    if borg:
        makers.append(lambda n: Borg(borg, folder / f"borg-{n}", folder))
    for program, found in (("restic", restic), ("borg", borg)):
        if not found:
            console.print(f"{program} can't be installed here: it is left out.", style="yellow")
    return makers


def one_round(contender: Contender, images: Images, folder: Path) -> dict[str, Any]:
    """Every step once: figures and how the repository grew."""
    contender.create()
    found: dict[str, Any] = {"version": contender.version()}
    before = tree_bytes(contender.repository)
    for step, image in (("full", images.first), ("second", images.second), ("day2", images.day2)):
        found[step] = contender.backup(image)
        after = tree_bytes(contender.repository)
        found[f"{step}_mb"] = (after - before) / 1e6
        before = after
    output = folder / "restored.img"
    found["restore"] = contender.restore(images.first, output)
    if not filecmp.cmp(images.first, output, shallow=False):
        sys.exit(f"{contender.name} restored other bytes than it was given")
    output.unlink()
    found["verify"] = contender.verify()
    return found


def clean(folder: Path, pattern: str) -> None:
    """Remove what a round leaves, or one that was broken off left."""
    for leftover in folder.glob(pattern):
        shutil.rmtree(leftover)


def measure_local(folder: Path, scale: float, rounds: int) -> dict[str, Any]:
    images = make_images(folder / f"images-{scale:g}", scale)
    rates = single_rates(images.first)
    results: dict[str, Any] = {}
    collected: dict[str, list[dict[str, Any]]] = {}
    for number in range(rounds):
        for make in contenders(folder):  # side by side: a slow minute of the machine hits all of them
            warm(images.first, images.second, images.day2)
            contender = make(number)
            clean(folder, f"{contender.name}-{number}*")
            console.print(f"round {number + 1} of {rounds}: {contender.name}", style="dim")
            collected.setdefault(contender.name, []).append(one_round(contender, images, folder))
            clean(folder, f"{contender.name}-{number}*")
    for name, found in collected.items():
        results[name] = {step: middle([one[step] for one in found]).as_dict() for step in STEPS}
        results[name] |= {f"{step}_mb": round(found[0][f"{step}_mb"], 1) for step in STEPS[:3]}
        results[name]["version"] = found[0]["version"]
    used = images.first.stat().st_blocks * 512
    results["two_core_limit"] = {
        "rates_mb": {name: round(rate / 1e6) for name, rate in rates.items()},
        "limit_mb": round(limit(rates, 2) / 1e6),
        "used_bytes": used,
        "reached": round(used / results["vbm"]["full"]["wall_seconds"] / limit(rates, 2), 3),
    }
    return results


def show_local(results: dict[str, Any]) -> None:
    table = Table(title="Raw images into an encrypted repository: wall s (repository growth MB)")
    for column in ("", *STEPS, "CPU s (full)", "peak MiB"):
        table.add_column(column, justify="right" if column else "left")
    for name in ("vbm", "restic", "borg"):
        if name not in results:
            continue
        row = results[name]
        cells = [
            f"{row[step]['wall_seconds']:.2f}"
            + (f" ({row[f'{step}_mb']:.0f})" if f"{step}_mb" in row else "")
            for step in STEPS
        ]
        peak = max(row[step]["peak_mib"] for step in STEPS)
        table.add_row(f"{name} {row['version']}", *cells, f"{row['full']['cpu_seconds']:.1f}", f"{peak:.0f}")
    for peer in ("restic", "borg"):
        if peer in results:
            ratios = [
                results[peer][step]["wall_seconds"] / results["vbm"][step]["wall_seconds"] for step in STEPS
            ]
            table.add_row(f"{peer} ÷ vbm", *(f"{ratio:.2f} ×" for ratio in ratios), "", "", style="bold")
    console.print(table)
    console.print(
        "Restore: until the image is on the disk; restic and borg leave that to `sync`, which is counted."
    )
    limits = results["two_core_limit"]
    console.print(f"Single operations, MB/s and core: {limits['rates_mb']}")
    console.print(
        f"Two cores allow {limits['limit_mb']} MB/s; the first full reached {limits['reached']:.0%} of that."
    )


def show_facts(title: str, facts: dict[str, Any]) -> None:
    table = Table(title=title, show_header=False)
    for name, value in facts.items():
        table.add_row(name, str(value))
    console.print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", choices=["local", "network", "memory"])
    parser.add_argument("--folder", type=Path, default=Path(__file__).resolve().parents[1] / ".cache/bench")
    wanted = parser.parse_args()
    wanted.folder.mkdir(parents=True, exist_ok=True)
    results: dict[str, Any] = {"machine": {"cores": os.cpu_count(), "processor": platform.machine()}}
    if wanted.only in (None, "local"):
        results["local"] = measure_local(wanted.folder, wanted.scale, wanted.rounds)
        show_local(results["local"])
    if wanted.only in (None, "network"):
        results["network"] = measure_network(wanted.folder, wanted.scale)
        show_facts("Over HTTPS from the lab", results["network"])
    if wanted.only in (None, "memory"):
        results["memory"] = measure_memory(wanted.folder)
        show_facts("Memory", results["memory"])
    target = Path(__file__).parent / "results" / f"{datetime.now(UTC):%Y-%m-%dT%H%M}.json"
    target.parent.mkdir(exist_ok=True)
    target.write_text(json.dumps(results, indent=1))
    console.print(f"written: {target}")


if __name__ == "__main__":
    main()
