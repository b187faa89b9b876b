"""Signing in at the web: password, second factor, sessions that end by themselves, and a throttle against guessing."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from typing import ClassVar, Final

from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter

from limits import RateLimitItemPerMinute
from vbm.catalog.errors import UnknownNameError
from vbm.catalog.users import (
    UserRecord,
    WebSessionRecord,
    change_user,
    delete_web_session,
    delete_web_sessions_of,
    find_user,
    find_web_session,
    insert_web_session,
    prune_web_sessions,
    touch_web_session,
    web_sessions_of,
)
from vbm.errors import InputError, NotAllowedError, TransientError
from vbm.policy.scope import Scope
from vbm.security.passwords import matches
from vbm.security.roles import Role
from vbm.security.tokens import kept, new_token
from vbm.services import identity, second_factor, trail
from vbm.services.identity import Identity
from vbm.services.workspace import Workspace

IDLE: Final = timedelta(hours=8)
LONGEST: Final = timedelta(days=7)
_TOUCH_EVERY: Final = timedelta(minutes=1)
_PER_ADDRESS: Final = RateLimitItemPerMinute(30, 5)
_PER_USER: Final = RateLimitItemPerMinute(10, 5)


class SignInError(NotAllowedError):
    """Name, password or code are wrong; which of them is not said."""

    code = "sign-in-failed"


class WrongPasswordGivenError(InputError):
    """One's own present password was asked for and is another."""

    code = "wrong-own-password"


class CodeNeededError(NotAllowedError):
    """The password is right; a code of the second factor is needed too."""

    code = "code-needed"


class ThrottledError(TransientError):
    """Too many attempts; wait."""

    code = "too-many-attempts"
    permanent: ClassVar[bool] = False


@dataclass(frozen=True, slots=True)
class Attempt:
    """What somebody typed, and from where."""

    name: str
    password: str
    code: str = ""
    address: str = ""
    agent: str = ""


@dataclass(frozen=True, slots=True)
class SignedIn:
    """``cookie`` is known to the browser alone."""

    user: UserRecord
    session: WebSessionRecord
    cookie: str = ""

    def identity(self) -> Identity:
        return Identity(
            self.user.name,
            Role(self.user.role),
            self.session.address,
            Scope.of(self.user.scope),
            self.user.id,
        )


class Throttle:
    """Counts failed attempts per address and per user, in this process. Thread-safe."""

    def __init__(self) -> None:
        self._limiter = MovingWindowRateLimiter(MemoryStorage())

    def check(self, attempt: Attempt) -> None:
        """Raises ThrottledError."""
        for limit, key in self._keys(attempt):
            if not self._limiter.test(limit, key):
                raise ThrottledError(
                    "too many failed attempts to sign in", hint="wait five minutes, then try again"
                )

    def failed(self, attempt: Attempt) -> None:
        for limit, key in self._keys(attempt):
            self._limiter.hit(limit, key)

    @staticmethod
    def _keys(attempt: Attempt) -> tuple[tuple[RateLimitItemPerMinute, str], ...]:
        return (
            (_PER_ADDRESS, f"address:{attempt.address}"),
            (_PER_USER, f"user:{attempt.name.strip().casefold()[:200]}"),
        )


def sign_in(workspace: Workspace, attempt: Attempt, throttle: Throttle) -> SignedIn:
    """A new session. Raises SignInError, CodeNeededError, ThrottledError."""
    throttle.check(attempt)
    with workspace.catalog.reading() as session:
        user = find_user(session, attempt.name)
    known = user is not None and user.source == "local"
    right = matches(attempt.password, user.password_hash if user is not None and known else "")
    if user is None or not right or user.disabled:
        refuse(workspace, attempt, throttle)
        raise SignInError("the name or the password is wrong", hint="after ten failures wait five minutes")
    if user.has_second_factor:
        if not attempt.code:
            raise CodeNeededError(
                "a code of the second factor is needed", hint="type the six digits of your app"
            )
        if not second_factor.accept(workspace, user, attempt.code):
            refuse(workspace, attempt, throttle)
            raise SignInError("the code is wrong or was used already", hint="wait for the next code")
    return begin(workspace, user, attempt.address, attempt.agent)


def refuse(workspace: Workspace, attempt: Attempt, throttle: Throttle) -> None:
    """Count a failure and note it in the trail."""
    throttle.failed(attempt)
    with identity.acting(replace(identity.NOBODY, source=attempt.address)):
        trail.refused(workspace, "sign-in", attempt.name.strip()[:200], SignInError.code)


def prove(workspace: Workspace, user: UserRecord, given: Attempt, throttle: Throttle) -> None:
    """Whoever sits at a browser left open can't take the account over, and guesses no faster than at the door.

    Raises WrongPasswordGivenError, ThrottledError.
    """
    throttle.check(given)
    if not matches(given.password, user.password_hash):
        throttle.failed(given)
        trail.refused(workspace, "user.prove", user.name, WrongPasswordGivenError.code)
        raise WrongPasswordGivenError("the present password is another", hint="type your own")


def begin(workspace: Workspace, user: UserRecord, address: str, agent: str) -> SignedIn:
    """A session of its own, with a new cookie: none of before the sign-in is ever taken over."""
    now = workspace.clock.now()
    cookie = new_token()
    record = WebSessionRecord(
        kept(cookie), user.id, new_token(), address[:100], agent[:300], created=now, last_seen=now
    )
    signed_in = SignedIn(user, record, cookie)
    with identity.acting(signed_in.identity()), workspace.catalog.writing() as session:
        prune_web_sessions(session, now - IDLE, now - LONGEST)
        insert_web_session(session, record)
        change_user(session, user.id, {"last_seen": now})
        trail.note(workspace, session, "sign-in", user.name)
    return signed_in


def resumed(workspace: Workspace, cookie: str, *, in_use: bool = True) -> SignedIn | None:
    """The session of that cookie; None where it has ended, was idle too long, or its user may not sign in.

    ``in_use`` False: a page asks by itself, and the session goes on being idle.
    """
    now = workspace.clock.now()
    with workspace.catalog.reading() as session:
        record = find_web_session(session, kept(cookie))
        user = find_user(session, record.user_id) if record is not None else None
    if record is None or user is None or user.disabled:
        return None
    if now - record.last_seen > IDLE or now - record.created > LONGEST:
        return None
    if in_use and now - record.last_seen >= _TOUCH_EVERY:
        with workspace.catalog.writing() as session:
            touch_web_session(session, record.id, now)
    return SignedIn(user, record)


def sign_out(workspace: Workspace, session_id: str) -> None:
    with workspace.catalog.writing() as session:
        delete_web_session(session, session_id)
        trail.note(workspace, session, "sign-out", identity.current().name)


def end_cookie(workspace: Workspace, cookie: str) -> None:
    """The session of that cookie ends, if there is one: its browser has another now."""
    with workspace.catalog.writing() as session:
        delete_web_session(session, kept(cookie))


def sessions(workspace: Workspace, user_id: str) -> list[WebSessionRecord]:
    """One's own sessions, the most recently used first."""
    with workspace.catalog.reading() as session:
        return web_sessions_of(session, user_id)


def end_others(workspace: Workspace, user_id: str, keep: str) -> None:
    """Sign out everywhere else."""
    with workspace.catalog.writing() as session:
        delete_web_sessions_of(session, user_id, but=keep)
        trail.note(workspace, session, "sign-out.others", identity.current().name)


def end_one(workspace: Workspace, user_id: str, session_id: str) -> None:
    """Sign out one of one's own sessions. Raises UnknownNameError for a session of somebody else, or none."""
    with workspace.catalog.writing() as session:
        if session_id not in {record.id for record in web_sessions_of(session, user_id)}:
            raise UnknownNameError(
                "there is no such session of yours", hint="it may have ended: reload the page"
            )
        delete_web_session(session, session_id)
        trail.note(workspace, session, "sign-out.other", identity.current().name)
