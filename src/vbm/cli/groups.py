"""How every group of commands is set up: help as Markdown, no completion options of its own."""

from __future__ import annotations

from typing import Final

import typer

_CONTEXT: Final = {"help_option_names": ["-h", "--help"]}


def group(text: str) -> typer.Typer:
    """An empty group of commands that shows its help when called bare."""
    app = typer.Typer(
        help=text,
        no_args_is_help=True,
        add_completion=False,
        rich_markup_mode="markdown",
        pretty_exceptions_enable=False,
        context_settings=_CONTEXT,
    )
    app.callback()(lambda: None)  # a group even while it has one command
    return app


def single() -> typer.Typer:
    """An app of one command, which is then the command itself."""
    return typer.Typer(
        add_completion=False,
        rich_markup_mode="markdown",
        pretty_exceptions_enable=False,
        context_settings=_CONTEXT,
    )


def examples(*lines: str) -> str:
    """An epilog with commands to copy."""
    return "\n\n".join(["Example:" if len(lines) == 1 else "Examples:", *(f"`{line}`" for line in lines)])
