"""A request that carries a key of its own is carried out once, however often it is sent within a day.

The change that it makes and the note that it was made are one transaction, so that a server killed in between leaves
either nothing, and the next one is carried out, or a note, and the next one is told that only the answer was lost.
Answers are sealed: that to a new API key holds the key.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final

from vbm.catalog.base import Transaction
from vbm.catalog.idempotency import (
    RequestRecord,
    answer_request,
    find_request,
    give_up_request,
    mark_applied,
    prune_requests,
    put_request,
)
from vbm.catalog.locks import one_at_a_time
from vbm.errors import InputError, NotAllowedError
from vbm.services.workspace import Workspace

KEPT: Final = timedelta(hours=24)
_AT_WORK: Final = timedelta(minutes=5)
_CURRENT: Final[ContextVar[str]] = ContextVar("vbm_request", default="")


class KeyReusedError(InputError):
    """An idempotency key came again with another request."""

    code = "idempotency-key-reused"


class UnderWayError(NotAllowedError):
    """The first request with this idempotency key is still being worked on."""

    code = "idempotency-under-way"


class AnswerLostError(NotAllowedError):
    """A request was carried out, and the server ended before it could answer."""

    code = "idempotency-answer-lost"


@dataclass(frozen=True, slots=True)
class Answer:
    """What was said to the first of them."""

    status: int
    headers: Mapping[str, str]
    body: str = field(repr=False)


def begin(workspace: Workspace, request_id: str, fingerprint: str) -> Answer | None:
    """The answer given before; None where it is to be carried out now, and ``finish`` or ``abandon`` to follow.

    Raises KeyReusedError, UnderWayError, AnswerLostError.
    """
    now = workspace.clock.now()
    with workspace.catalog.writing() as session:
        one_at_a_time(session, f"request {request_id}")
        prune_requests(session, now - KEPT)
        known = find_request(session, request_id)
        if known is None or _was_never_carried_out(known, fingerprint, now >= known.until):
            put_request(session, RequestRecord(request_id, fingerprint, now, now + _AT_WORK))
            return None
    document = json.loads(workspace.vault.unseal(known.sealed_answer, _context(request_id)))
    return Answer(known.status, document["headers"], document["body"])


def _was_never_carried_out(known: RequestRecord, fingerprint: str, given_up: bool) -> bool:
    if known.fingerprint != fingerprint:
        raise KeyReusedError(
            "this idempotency key was used for another request", hint="take a new key for each request"
        )
    if known.state != "done" and not given_up:
        raise UnderWayError(
            "a request with this idempotency key is being worked on", hint="wait a little and send it again"
        )
    if known.state == "applied":
        raise AnswerLostError(
            f"the request was carried out ({known.target}), but its answer was lost with the server",
            hint="look at what is there, and take a new key for another one",
        )
    return known.state == "pending"


def working_on(request_id: str) -> None:
    """From here on in this context changes belong to that request."""
    _CURRENT.set(request_id)


def applied(session: Transaction, target: str) -> None:
    """Note in the transaction of a change that the request, if it has a key, has changed something."""
    request_id = _CURRENT.get()
    if request_id:
        mark_applied(session, request_id, target)


def finish(workspace: Workspace, request_id: str, answer: Answer) -> None:
    """Keep what is answered."""
    document = json.dumps({"headers": dict(answer.headers), "body": answer.body})
    sealed = workspace.vault.seal(document, _context(request_id))
    with workspace.catalog.writing() as session:
        answer_request(session, request_id, answer.status, sealed)


def abandon(workspace: Workspace, request_id: str) -> None:
    """It was refused: the key is free again. Where it failed after a change, the next is told so."""
    with workspace.catalog.writing() as session:
        give_up_request(session, request_id, workspace.clock.now())


def _context(request_id: str) -> str:
    return f"request/{request_id}/answer"
