"""How every group of commands is set up: help as Markdown, no completion options of its own."""

from __future__ import annotations

from typing import Any, Final

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


def without_types(command: Any, context: Any) -> None:
    """Let the help of a command and of all below it name choices, and no types of the programming language."""
    for parameter in (*command.params, command.get_help_option(context)):
        _name_choices(parameter)
    for child in getattr(command, "commands", {}).values():
        without_types(child, context)


def _name_choices(parameter: Any) -> None:
    if parameter is None:
        return
    choices = parameter.type_descriptor.choices if parameter.type_descriptor.is_choice else None
    words = "|".join(str(getattr(choice, "value", choice)) for choice in choices or ())
    if parameter.param_type_name == "argument":
        parameter.display_type_rich = lambda ctx: words  # noqa: ARG005 - its metavar is its name
    elif words and parameter.metavar is None:
        parameter.metavar = words
    elif parameter.is_flag or parameter.count:  # they take no value
        parameter.metavar = ""
