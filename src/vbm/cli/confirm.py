"""Nothing is destroyed without a yes: at the terminal, or by ``--yes``."""

from __future__ import annotations

import typer

from vbm.cli.output import say
from vbm.cli.secrets import interactive
from vbm.errors import CancelledError, InputError


def confirmed(what: str, question: str, *, yes: bool) -> None:
    """Return when the person agrees. CancelledError where not, InputError where nobody can be asked."""
    if yes:
        return
    say(what)
    if not interactive():
        raise InputError("this needs a confirmation and there is no terminal to ask at", hint="add --yes")
    if not typer.confirm(question, default=False, err=True):
        raise CancelledError("nothing was changed")
