"""A worker that kills itself at a named point, or ``delay`` seconds after it: arguments are ``key=value``.

``spoil=POINT packs=FOLDER``: there it flips a bit in each file of that folder. ``hold=POINT until=FILE``: the first
time it gets there it makes ``FILE.held`` and waits for FILE."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import time
from pathlib import Path

from vbm.services import working
from vbm.services.workspace import Workspace
from vbm.workflows import points


def spoil(folder: Path) -> None:
    """Flip a bit in the middle of each file."""
    for file in (path for path in folder.rglob("*") if path.is_file()):
        file.chmod(0o600)
        content = bytearray(file.read_bytes())
        content[len(content) // 2] ^= 1
        file.write_bytes(content)


def main() -> None:
    given = dict(argument.split("=", 1) for argument in sys.argv[1:])
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(threadName)s %(message)s")
    left = {given.get("kill", ""): int(given.get("after", "1"))}
    delay = float(given.get("delay", "0"))
    lock = threading.Lock()

    def die() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def hold(file: Path) -> None:
        held = file.with_suffix(".held")
        if not held.exists():
            held.touch()
            while not file.exists():
                time.sleep(0.05)

    def at(name: str) -> None:
        if name == given.get("hold", ""):
            hold(Path(given["until"]))
        if name == given.get("spoil", ""):
            spoil(Path(given["packs"]))
        with lock:
            if name in left:
                left[name] -= 1
                if left[name] == 0:
                    threading.Timer(delay, die).start() if delay else die()

    points.listen(at)
    with Workspace.from_environment() as workspace:
        options = working.WorkerOptions(
            name=given.get("name", "w"),
            slots=int(given.get("slots", "4")),
            drain_seconds=float(given.get("drain", "20")),
            ttl_seconds=float(given.get("ttl", "30")),
            claim_every=0.1,
            dispatch_every=0.2,
            guard_every=0.5,
        )
        worker = working.worker(workspace, options)
        signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=worker.stop).start())
        worker.run(lambda: os.write(1, b"ready\n") and None)


if __name__ == "__main__":
    main()
