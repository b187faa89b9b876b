"""Where secrets come from: an environment variable named by an option, a file, or a prompt; never an argument."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import typer

from vbm.errors import InputError

_LARGEST_FILE = 64 * 1024


def from_variable(name: str) -> str:
    """The value of that environment variable. InputError where it is not set or empty."""
    value = os.environ.get(name, "")
    if not value:
        raise InputError(
            f"the environment variable {name} is not set",
            hint=f"set it without leaving it in the shell's history: read -rs {name}; export {name}",
        )
    return value


def from_file(path: Path) -> bytes:
    """What the file holds, as it is. InputError where it can't be read, is empty or far too large."""
    try:
        with path.open("rb") as file:
            content = file.read(_LARGEST_FILE + 1)
    except OSError as error:
        raise InputError(f"the file {path} can't be read: {error.strerror}") from error
    if not content or len(content) > _LARGEST_FILE:
        raise InputError(f"the file {path} is {'empty' if not content else 'too large to be a secret'}")
    return content


def text_from_file(path: Path) -> str:
    """The file's text without the line end that editors add."""
    try:
        text = from_file(path).decode().rstrip("\r\n")
    except UnicodeDecodeError as error:
        raise InputError(f"the file {path} is not UTF-8 text") from error
    if not text:
        raise InputError(f"the file {path} holds only a line end")
    return text


def is_set(name: str) -> bool:
    """Whether that environment variable holds something."""
    return bool(os.environ.get(name))


def interactive() -> bool:
    """Whether somebody is there to be asked."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def asked(question: str, *, otherwise: str, twice: bool = False) -> str:
    """A secret typed at the terminal, not shown. InputError with ``otherwise`` where nobody is there."""
    if not interactive():
        raise InputError(f"{question.lower()} is needed and there is no terminal to ask at", hint=otherwise)
    return str(typer.prompt(question, hide_input=True, err=True, confirmation_prompt=twice))
