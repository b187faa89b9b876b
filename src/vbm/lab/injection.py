"""Applies fault rules to calls and requests: waits, refusals, resets, and actions on the world."""

from __future__ import annotations

import select
import socket
from collections.abc import Iterable

from vbm.errors import VbmError
from vbm.lab.context import Context
from vbm.lab.errors import HangUp, HttpError, refusal
from vbm.lab.faults import Rule
from vbm.lab.model import LabFault

_POLL_SECONDS = 0.2


def strike(context: Context, target: str, names: Iterable[str]) -> tuple[Rule, ...]:
    """The rules that strike a call; each is told in the log."""
    rules = context.rules.match(target, names)
    for rule in rules:
        context.log("fault", target=target, effect=rule.effect, value=rule.value, rule=rule.id)
    return rules


def before(
    context: Context,
    rules: Iterable[Rule],
    connection: socket.socket | None = None,
    names: Iterable[str] = (),
) -> None:
    """Whatever is to happen before the work: delays, hangs, statuses, actions, faults of plain calls."""
    for rule in rules:
        if rule.when != "after":
            _apply(context, rule, connection, names)


def after(
    context: Context,
    rules: Iterable[Rule],
    connection: socket.socket | None = None,
    names: Iterable[str] = (),
) -> None:
    """Whatever spoils the answer once the work is done."""
    for rule in rules:
        if rule.when == "after":
            _apply(context, rule, connection, names)


def _apply(context: Context, rule: Rule, connection: socket.socket | None, names: Iterable[str]) -> None:
    if rule.effect == "action":
        act(context, rule, names)
    elif rule.effect == "delay":
        context.stopping.wait(rule.seconds)
    elif rule.effect == "hang":
        hang(context, connection)
    elif rule.effect == "status":
        headers = {"Retry-After": str(rule.retry_after)} if rule.retry_after is not None else {}
        raise HttpError(int(rule.value), "as ordered by a fault rule", headers)
    elif rule.effect == "reset" and not rule.after_bytes:
        raise HangUp(reset=True)
    elif rule.effect == "fault":
        raise refusal(rule.value)


def act(context: Context, rule: Rule, names: Iterable[str] = ()) -> None:
    """Do what ``action=NAME`` says to the object that the rule names, or else to what the call is about.

    What can't be done (it has been done already) is left undone: the call goes on either way.
    """
    name, _, argument = rule.value.partition(":")
    exact = [rule.object_name] if rule.object_name and not set(rule.object_name) & set("*?[") else [*names]
    try:
        context.actions[name](exact, argument)
    except (VbmError, LabFault) as error:
        context.log("action-failed", action=rule.value, error=str(error))
    context.changes.notify()


def hang(context: Context, connection: socket.socket | None) -> None:
    """Never answer: until the client gives up or the lab stops. Then the connection is closed."""
    while not context.stopping.wait(_POLL_SECONDS):
        if connection is not None and _gone(connection):
            break
    raise HangUp(reset=False)


def _gone(connection: socket.socket) -> bool:
    """Whether the client has closed its side, whatever unread bytes there are."""
    poll = select.poll()
    try:
        poll.register(connection, select.POLLRDHUP)
        return bool(poll.poll(0))
    except (OSError, ValueError):
        return True
