"""The generated pages are those that the code would write now."""

import re
from pathlib import Path

import pytest

from vbm.cli.reference import main, pages

FOLDER = Path(__file__).resolve().parents[2] / "docs/reference"


@pytest.mark.parametrize("name", ["cli.md", "errors.md", "metrics.md"])
def test_a_generated_page_is_up_to_date(name: str) -> None:
    assert (FOLDER / name).read_text(encoding="utf-8") == pages()[name], "run make docs"


def test_pages_are_written_and_compared(tmp_path: Path) -> None:
    assert main(["--check", str(tmp_path)]) == 1
    assert main([str(tmp_path)]) == 0
    assert main(["--check", str(tmp_path)]) == 0
    assert main([]) == 2


def test_choices_are_named_and_break_no_table() -> None:
    page = pages()["cli.md"]
    assert "| `--mode` `auto` or `full` |" in page
    assert "| `ACTION` `add` or `list` or `clear` |" in page
    assert "| `--disk` KEY or INDEX |" in page
    rows = [line for line in page.splitlines() if line.startswith("| `")]
    assert {len(re.findall(r"(?<!\\)\|", row)) for row in rows} == {3}
