"""One clear message for an error: what, on what, what to do; a traceback only with VBM_DEBUG=1."""

from __future__ import annotations

import os
import traceback
from typing import Final

import typer
from rich.text import Text

from vbm.cli.output import clean, err
from vbm.errors import Kind, VbmError

# Ends that are no failures of a command, or that the command-line library shows by itself.
PASS_THROUGH: Final = (typer.Exit, typer.Abort, typer.TyperException, BrokenPipeError)


def debugging() -> bool:
    """Whether tracebacks and debug logs were asked for."""
    return os.environ.get("VBM_DEBUG", "") not in {"", "0"}


def show(error: VbmError) -> None:
    """The error, its hint and its code on standard error."""
    _traceback(error)
    word = "Cancelled" if error.kind is Kind.CANCELLED else "Error"
    line = Text(f"{word}: ", style="bold yellow" if error.kind is Kind.CANCELLED else "bold red")
    message = error.message.removeprefix("cancelled: ") if error.kind is Kind.CANCELLED else error.message
    line.append(_lines(message), style="not bold default")
    line.append(f"  [{error.code}]", style="not bold dim")
    err().print(line, soft_wrap=True)
    if error.hint:
        err().print(Text(f"  → {_lines(error.hint)}"), soft_wrap=True)


def show_unexpected(error: Exception) -> None:
    """An error that nobody foresaw: the operating system's words, or the name of a defect."""
    _traceback(error)
    if isinstance(error, OSError) and error.strerror:
        where = f" {error.filename}" if error.filename else ""
        err().print(
            Text("Error: ", style="bold red").append(clean(f"{error.strerror}{where}")), soft_wrap=True
        )
        return
    text = f"{type(error).__name__}: {error}"
    err().print(
        Text("Error: this is a defect of vbm: ", style="bold red").append(_lines(text)), soft_wrap=True
    )
    if not debugging():
        err().print(
            Text("  → run it again with VBM_DEBUG=1 for the details, and report them"), soft_wrap=True
        )


def _traceback(error: Exception) -> None:
    if debugging():
        err().print(Text("".join(traceback.format_exception(error)), style="dim"), soft_wrap=True)


def _lines(text: str) -> str:
    return "\n".join(clean(line) for line in text.splitlines())
