"""Fills a home as a big company's and serves it, to look around in: ``bench/fill.py FOLDER [small]``; anna signs in."""

from __future__ import annotations

import sys
import threading
from pathlib import Path

sys.path[0] = str(
    Path(__file__).resolve().parents[1] / "tests"
)  # in place of this folder, which has a limits.py

from fixtures_filled import FULL, PASSWORD, SMALL, Filled
from vbm.web.options import WebOptions
from vbm.web.serving import Address, WebServer


def main() -> None:
    filled = Filled(Path(sys.argv[1]), SMALL if "small" in sys.argv[2:] else FULL)
    server = WebServer(filled.workspace, Address(port=8080), WebOptions(allow_loopback=True))
    server.start(lambda: None)
    print(f"http://127.0.0.1:8080, user anna, password {PASSWORD!r}; Ctrl-C ends it")
    try:
        while not threading.Event().wait(30):
            filled.fresh()
    except KeyboardInterrupt:
        server.stop()
        server.join()
        filled.close()


if __name__ == "__main__":
    main()
