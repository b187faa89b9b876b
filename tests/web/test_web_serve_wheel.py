"""The wheel, as somebody installs it: with templates, styles and the third-party assets, served without Node."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import httpx
import pytest

from fixtures_serve import Served

ROOT = Path(__file__).resolve().parents[2]
VENDOR = ROOT / "src/vbm/web/static/vendor"
ASSETS = (
    "tabler.min.css",
    "tabler.min.js",
    "htmx.min.js",
    "echarts.min.js",
    "fullcalendar.min.js",
    "icons.svg",
)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if not (VENDOR / "icons.svg").exists():
        pytest.skip("the web's assets are not built: make assets")
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=60)
    return next(folder.glob("*.whl"))


def test_the_wheel_holds_all_that_the_pages_need(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {f"vbm/web/static/vendor/{name}" for name in ASSETS} <= names
    folders = (
        ROOT / "src/vbm/web/static",
        ROOT / "src/vbm/web/templates",
        ROOT / "src/vbm/catalog/migrations",
    )
    shipped = {
        str(path.relative_to(ROOT / "src"))
        for folder in folders
        for path in folder.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert shipped <= names
    assert not any("node_modules" in name or "tests/" in name for name in names)


def test_a_clean_environment_serves_from_the_wheel(wheel: Path, tmp_path: Path) -> None:
    """Dependencies come from this environment by a path; the product itself from the wheel alone."""
    venv = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(venv)], check=True)
    python = venv / "bin/python"
    packages = next(venv.glob("lib/python*/site-packages"))
    zipfile.ZipFile(wheel).extractall(packages)
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    clean = {"PYTHONPATH": "", "PATH": "/nonexistent", "PYTHONSAFEPATH": "1"}
    where = subprocess.run(
        [python, "-c", "import vbm; print(vbm.__file__)"],
        env=os.environ | clean,
        check=True,
        capture_output=True,
        text=True,
    )
    assert where.stdout.strip() == str(packages / "vbm/__init__.py")
    home = tmp_path / "home"
    with Served(home, "--no-worker", python=str(python), **clean) as served:
        for name in ASSETS:
            answer = httpx.get(f"{served.url}/static/vendor/{name}")
            assert (answer.status_code, len(answer.content) > 1000) == (200, True), name
        page = httpx.get(f"{served.url}/set-up", headers={"accept": "text/html"})
        assert "<title>" in page.text
        assert served.stop() == 0
