"""Rules that a linter does not know: sizes, the one clock, one language of errors, the lock files."""

from __future__ import annotations

import ast
import re
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCES = sorted((ROOT / "src/vbm").rglob("*.py"))
CLOCK_CALLS = {
    ("time", "time"),
    ("datetime", "now"),
    ("datetime", "utcnow"),
    ("datetime", "today"),
    ("date", "today"),
}


def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def _name(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", SOURCES, ids=_name)
def test_a_file_ends_before_700_lines_and_a_function_before_80(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 700
    long = [
        f"{node.name}: {node.end_lineno - node.lineno + 1} lines"
        for node in ast.walk(_tree(path))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.end_lineno is not None
        and node.end_lineno - node.lineno >= 80
    ]
    assert long == []


@pytest.mark.parametrize("path", SOURCES, ids=_name)
def test_the_wall_clock_is_read_in_one_module(path: Path) -> None:
    if path.name == "clock.py":
        return
    calls = [
        f"line {node.lineno}: {node.func.value.id}.{node.func.attr}"
        for node in ast.walk(_tree(path))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and isinstance(node.func.value, ast.Name)
        and (node.func.value.id, node.func.attr) in CLOCK_CALLS
    ]
    assert calls == []


@pytest.mark.parametrize("path", SOURCES, ids=_name)
def test_pyvmomi_is_imported_in_one_module_of_the_client_and_in_the_lab(path: Path) -> None:
    if path.is_relative_to(ROOT / "src/vbm/lab") or path == ROOT / "src/vbm/vsphere/soap.py":
        return
    assert re.search(r"^\s*(import|from)\s+(pyVmomi|pyVim)\b", path.read_text(), re.MULTILINE) is None


def test_no_module_is_a_drawer_for_odds_and_ends() -> None:
    drawers = {"utils", "util", "common", "helpers", "helper", "manager", "misc"}
    assert [_name(p) for p in SOURCES if p.stem in drawers] == []


def test_every_error_code_belongs_to_one_class() -> None:
    codes = Counter(
        statement.value.value
        for path in SOURCES
        for node in ast.walk(_tree(path))
        if isinstance(node, ast.ClassDef) and node.name.endswith("Error")
        for statement in node.body
        if isinstance(statement, ast.Assign)
        and isinstance(statement.targets[0], ast.Name)
        and statement.targets[0].id == "code"
        and isinstance(statement.value, ast.Constant)
    )
    assert [code for code, uses in codes.items() if uses > 1] == []


@pytest.mark.parametrize("path", sorted((ROOT / "requirements").glob("*.lock")), ids=_name)
def test_the_lock_pins_each_package_with_hashes_and_names_no_address(path: Path) -> None:
    text = path.read_text()
    assert "://" not in text
    requirements = [block for block in re.split(r"\n(?=\S)", text) if not block.startswith("#")]
    assert requirements
    assert [r.split()[0] for r in requirements if "==" not in r or "--hash=sha256:" not in r] == []


def test_the_base_names_of_test_files_are_unique() -> None:
    names = Counter(path.name for path in (ROOT / "tests").rglob("test_*.py"))
    assert [name for name, uses in names.items() if uses > 1] == []
