"""What the documents say can be typed: commands and options exist, links lead somewhere, variables are read."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

import pytest
import typer

from vbm.cli.main import app
from vbm.cli.reference import commands

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([ROOT / "README.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").rglob("*.md")])
WRITTEN = [p for p in PAGES if "reference" not in p.parts]
COMMANDS: dict[str, Any] = dict(commands(typer.main.get_command(app)))
FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^\1```", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"`([^`\n]+)`")
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
VARIABLE = re.compile(r"\bVBM_[A-Z][A-Z_]*\b")
NAMED_BY_OPTION = re.compile(r"--[a-z-]*env[ =]([A-Z][A-Z_]*)")
OWN_PATH = re.compile(r"`((?:src|tests|docs|bench|deploy|requirements|\.ci)/[\w./-]*)`")
STOPS = ("|", ";", "&&", "||", ">", ">>", "2>", "<", "#")


def _name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8")


@dataclass(frozen=True, slots=True)
class Line:
    """A command line as a page shows it. ``whole``: to be typed as it stands, nothing left out."""

    text: str
    whole: bool

    def words(self) -> list[str]:
        """What follows ``vbm`` up to the command's end; empty where it is no call of vbm."""
        text = re.sub(r"^sudo( -u \w+)? |^\w+=\$\((?=vbm )", "", self.text)
        text = re.sub(r"\$\([^()]*\)", "VALUE", text)
        lexer = shlex.shlex(text, posix=True, punctuation_chars=";|&")
        lexer.whitespace_split = True
        words = list(lexer)
        while words and re.match(r"^\w+=", words[0]):
            words.pop(0)
        if not words or words[0].rsplit("/", 1)[-1] != "vbm":
            return []
        while words[1:] and re.fullmatch(r"-v+|--verbose", words[1]):
            del words[1]
        end = next((i for i, word in enumerate(words) if word in STOPS or word[:1] in (">", "<")), len(words))
        return [word.rstrip(")") for word in words[1:end]]


def _typed(path: Path) -> Iterator[Line]:
    """Lines with a prompt in consoles, what units start, lines of scripts."""
    for _, language, body in FENCE.findall(_text(path)):
        start = r"^\s*[$#] (.*)$" if language == "console" else r"^\s*(?:ExecStart=|(?=vbm ))(.*)$"
        for line in re.sub(r"\\\n\s*", " ", body).splitlines():
            prompt = re.match(start, line)
            if prompt:
                yield from (Line(part, True) for part in prompt[1].split(" && "))


def _mentioned(path: Path) -> Iterator[Line]:
    prose = FENCE.sub("", _text(path))
    for code in INLINE.findall(prose):
        if code.startswith("vbm "):
            yield Line(code, False)


def _resolve(words: list[str]) -> tuple[str, list[str]] | None:
    """The command's path and what follows it; None for a group or for ``vbm`` alone."""
    for count in (3, 2, 1):
        path = " ".join(["vbm", *words[:count]])
        if len(words) >= count and path in COMMANDS:
            return path, words[count:]
    return None


def _is_group(words: list[str]) -> bool:
    plain = [word for word in words if not word.startswith("-")]
    prefix = " ".join(["vbm", *plain])
    return any(path == prefix or path.startswith(f"{prefix} ") for path in COMMANDS) or not plain


def _wrong(line: Line) -> str:
    """What does not exist in the line; "" where all is right."""
    words = line.words()
    if not words or words[0] in ("…", "...", "1"):  # "vbm 1 …" are names of derived keys
        return ""
    found = _resolve(words)
    if found is None:
        return "" if _is_group(words) else "no such command"
    path, rest = found
    return _wrong_options(COMMANDS[path].command, rest, whole=line.whole)


def _wrong_options(command: Any, words: list[str], *, whole: bool) -> str:
    options = {name: p for p in command.params for name in (*p.opts, *p.secondary_opts) if name[:1] == "-"}
    given: set[str] = set()
    positional = 0
    rest = iter(words)
    for word in rest:
        if not word.startswith("-") or word == "-":
            positional += 1
            continue
        name, _, value = word.partition("=")
        option = options.get(name)
        if option is None:
            return f"no option {name}"
        given.add(option.name)
        if not getattr(option, "is_flag", False):
            value = value or next(rest, "")
            choices = _choices(option)
            if value and choices and value not in choices:
                return f"{name} {value} is none of {', '.join(choices)}"
            if whole and not value:
                return f"{name} wants a value"
    return _wrong_number(command, positional, given) if whole else ""


def _wrong_number(command: Any, positional: int, given: set[str]) -> str:
    arguments = [p for p in command.params if p.param_type_name == "argument"]
    needed = sum(1 for p in arguments if p.required)
    if positional < needed:
        return f"{needed} arguments are wanted, {positional} given"
    if positional > len(arguments) and all(p.nargs == 1 for p in arguments):
        return f"{positional} arguments are given, {len(arguments)} taken"
    missing = [p.opts[0] for p in command.params if p.required and p not in arguments and p.name not in given]
    return f"missing {', '.join(missing)}" if missing else ""


def _choices(option: Any) -> list[str]:
    kind = option.type_descriptor.annotation
    return [str(member.value) for member in kind] if isinstance(kind, type) and issubclass(kind, Enum) else []


@pytest.mark.parametrize("path", WRITTEN, ids=_name)
def test_what_is_to_be_typed_exists_whole(path: Path) -> None:
    assert {line.text: why for line in _typed(path) if (why := _wrong(line))} == {}


@pytest.mark.parametrize("path", WRITTEN, ids=_name)
def test_commands_and_options_that_prose_mentions_exist(path: Path) -> None:
    assert {line.text: why for line in _mentioned(path) if (why := _wrong(line))} == {}


@pytest.mark.parametrize("path", PAGES, ids=_name)
def test_relative_links_lead_to_files_and_headings(path: Path) -> None:
    dead = []
    for target in LINK.findall(FENCE.sub("", _text(path))):
        if re.match(r"^[a-z]+:", target):
            continue
        file, _, heading = target.partition("#")
        found = (path.parent / file).resolve() if file else path
        if not found.exists() or (heading and heading not in _headings(found)):
            dead.append(target)
    assert dead == []


def _headings(path: Path) -> set[str]:
    titles = re.findall(r"^#+ (.*)$", FENCE.sub("", _text(path)), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def test_variables_of_ours_that_pages_name_are_read_somewhere() -> None:
    code = "".join(_text(p) for folder in ("src", "bench", "tests") for p in (ROOT / folder).rglob("*.py"))
    code += _text(ROOT / "Makefile")
    read = set(VARIABLE.findall(code))
    for path in WRITTEN:
        text = _text(path)
        chosen = set(NAMED_BY_OPTION.findall("".join(_text(p) for p in WRITTEN)))
        assert set(VARIABLE.findall(text)) - read - chosen == set(), _name(path)


@pytest.mark.parametrize("path", WRITTEN, ids=_name)
def test_files_of_the_project_that_pages_name_exist(path: Path) -> None:
    assert [p for p in OWN_PATH.findall(_text(path)) if not (ROOT / p).exists()] == []


def test_every_page_is_on_the_map() -> None:
    """A page that nothing leads to is not read."""
    listed = {
        (ROOT / "docs" / target.partition("#")[0]).resolve()
        for target in LINK.findall(_text(ROOT / "docs/README.md"))
    }
    folders = {p for p in listed if p.is_dir()}
    missing = [
        _name(p)
        for p in PAGES
        if p.is_relative_to(ROOT / "docs") and p.name != "README.md" and p not in listed
        if not any(p.is_relative_to(folder) for folder in folders)
    ]
    assert missing == []


def test_the_check_notices_what_does_not_exist() -> None:
    assert _wrong(Line("VBM_HOME=x vbm backup web01 --repository main | tee log", True)) == ""
    assert _wrong(Line("vbm backup web01", True)) == "missing --repository"
    assert _wrong(Line("vbm backup web01 --repository main --tomorrow", True)) == "no option --tomorrow"
    assert _wrong(Line("vbm backup web01 --repository main --mode half", True)).startswith("--mode half is")
    assert _wrong(Line("vbm undo everything", True)) == "no such command"
    assert _wrong(Line("vbm repository", False)) == ""
