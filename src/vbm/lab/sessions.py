"""Who may log in, and who is: users with privileges, sessions that expire, tickets for one request."""

from __future__ import annotations

import hmac
import json
import os
import secrets
import threading
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from urllib.parse import unquote, urlsplit

from vbm.clock import Clock
from vbm.lab.privileges import BACKUP, READ_ONLY

COOKIE = "vmware_soap_session"
TICKET_COOKIE = "vmware_cgi_ticket"
IDLE_SECONDS = 1800.0
TICKET_SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class User:
    """An account; ``privileges`` holds ``*`` for everything."""

    name: str
    password: str = field(repr=False)
    privileges: frozenset[str]

    def may(self, privilege: str | None) -> bool:
        return not privilege or privilege in self.privileges or "*" in self.privileges


@dataclass(slots=True)
class UserSession:
    """One login. ``key`` is public; ``token`` is what the cookie carries."""

    key: str
    token: str = field(repr=False)
    user: User
    login_time: datetime
    last_active: datetime
    last_active_monotonic: float
    address: str = ""


@dataclass(frozen=True, slots=True)
class _Ticket:
    method: str
    path: str
    user: User
    expires_monotonic: float


class Users:
    """The accounts of one state folder, in ``credentials.json`` (0600): an administrator, one who may back
    up and no more, and one who may only look."""

    def __init__(self, folder: Path, password: str | None = None) -> None:
        self._path = folder / "credentials.json"
        password = password or os.environ.get("VBM_LAB_PASSWORD")
        if not self._path.exists() or password:
            self._write(password or secrets.token_urlsafe(12))
        self._users = self._read()

    def _write(self, password: str) -> None:
        document = {
            "administrator@vsphere.local": {"password": password, "privileges": ["*"]},
            "readonly@vsphere.local": {"password": password, "privileges": sorted(READ_ONLY)},
            "backup@vsphere.local": {"password": password, "privileges": sorted(BACKUP)},
        }
        temporary = self._path.with_suffix(".tmp")
        temporary.touch(mode=0o600)
        temporary.write_text(json.dumps(document, indent=1))
        temporary.replace(self._path)

    def _read(self) -> dict[str, User]:
        document = json.loads(self._path.read_text())
        return {
            name.casefold(): User(name, entry["password"], frozenset(entry["privileges"]))
            for name, entry in document.items()
        }

    @property
    def administrator(self) -> User:
        return self._users["administrator@vsphere.local"]

    @property
    def read_only(self) -> User:
        return self._users["readonly@vsphere.local"]

    def add(self, user: User) -> None:
        """One more account, for the life of this process."""
        self._users[user.name.casefold()] = user

    def find(self, name: str) -> User | None:
        return self._users.get(name.casefold())

    def check(self, name: str, password: str) -> User | None:
        """The user, if the password is right."""
        user = self._users.get(name.casefold())
        expected = user.password if user else ""
        right = hmac.compare_digest(expected.encode(), password.encode())
        return user if user and right else None


class Sessions:
    """Live sessions and one-use tickets. Thread-safe; idle sessions are gone after ``idle_seconds``."""

    def __init__(self, clock: Clock, idle_seconds: float = IDLE_SECONDS) -> None:
        self.idle_seconds = idle_seconds
        self._clock = clock
        self._lock = threading.Lock()
        self._by_token: dict[str, UserSession] = {}
        self._tickets: dict[str, _Ticket] = {}

    def login(self, user: User, address: str) -> UserSession:
        now = self._clock.now()
        key = f"52{secrets.token_hex(15)}"
        session = UserSession(key, secrets.token_hex(20), user, now, now, self._clock.monotonic(), address)
        with self._lock:
            self._by_token[session.token] = session
        return session

    def logout(self, session: UserSession) -> None:
        with self._lock:
            self._by_token.pop(session.token, None)

    def find(self, token: str, *, touch: bool = True) -> UserSession | None:
        """The live session of a cookie's value; being used keeps it alive."""
        with self._lock:
            session = self._by_token.get(token.strip('"'))
            if session is None:
                return None
            now = self._clock.monotonic()
            if now - session.last_active_monotonic > self.idle_seconds:
                del self._by_token[session.token]
                return None
            if touch:
                session.last_active_monotonic = now
                session.last_active = self._clock.now()
            return session

    def by_key(self, key: str) -> UserSession | None:
        with self._lock:
            return next((s for s in self._by_token.values() if s.key == key), None)

    def all(self) -> list[UserSession]:
        with self._lock:
            return [*self._by_token.values()]

    def expire_all(self) -> None:
        """Every session ends now, as after a restart of vCenter."""
        with self._lock:
            self._by_token.clear()
            self._tickets.clear()

    def issue_ticket(self, user: User, method: str, url: str) -> str:
        """A ticket for exactly one request of that method and URL."""
        ticket = f"cst-{secrets.token_hex(16)}"
        deadline = self._clock.monotonic() + TICKET_SECONDS
        with self._lock:
            self._tickets[ticket] = _Ticket(method.upper(), _canonical(url), user, deadline)
        return ticket

    def redeem_ticket(self, ticket: str, method: str, url: str) -> User | None:
        """The user of a ticket, which is used up by asking; None if it is not for this request."""
        with self._lock:
            entry = self._tickets.pop(ticket.strip('"'), None)
        if entry is None or self._clock.monotonic() > entry.expires_monotonic:
            return None
        right = entry.method == method.upper() and entry.path == _canonical(url)
        return entry.user if right else None


def _canonical(url: str) -> str:
    parts = urlsplit(url)
    query = "&".join(sorted(unquote(piece) for piece in parts.query.split("&") if piece))
    return f"{unquote(parts.path)}?{query}"
