"""``vbm serve`` in a process of its own."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from types import TracebackType


class Served:
    """A context manager; ``url`` once it is ready. ``said``: what it has told until then."""

    def __init__(self, home: Path, *arguments: str, python: str = sys.executable, **more: str) -> None:
        environment = os.environ | {"VBM_HOME": str(home), "VBM_DATABASE_URL": "", "VBM_MASTER_KEY": ""}
        self.process = subprocess.Popen(
            [python, "-m", "vbm", "serve", "--port", "0", "--slots", "1", *arguments],
            env=environment | more,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.said = ""
        self.url = ""

    def __enter__(self) -> Served:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.said += line
            if line.startswith("Ctrl-C"):
                break
        found = re.search(r"Ready at (\S+)", self.said)
        assert found is not None, self.said
        self.url = found[1]
        return self

    def stop(self, seconds: float = 15) -> int:
        """Asked to by SIGTERM; its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(seconds)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        if self.process.stderr is not None:
            self.process.stderr.close()
