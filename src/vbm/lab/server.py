"""A running lab: its state, served over HTTPS. ``Lab`` for tests and programs, ``serve`` for a process."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from vbm.clock import Clock, SystemClock
from vbm.errors import InputError, NotFoundError
from vbm.lab import actions, tls
from vbm.lab.context import Changes, Context, Options
from vbm.lab.control_socket import ControlSocket
from vbm.lab.endpoint import serve_sdk
from vbm.lab.errors import make_fault
from vbm.lab.event_log import EventLog
from vbm.lab.faults import Rule, Rules, parse_rule
from vbm.lab.http_folder import serve_folder
from vbm.lab.http_nfc import serve_nfc
from vbm.lab.http_server import HttpServer, Serve
from vbm.lab.injection import act
from vbm.lab.leases import Leases
from vbm.lab.machine import Machine
from vbm.lab.objects.registry import find_object
from vbm.lab.property_filters import Collectors
from vbm.lab.property_specs import Texts
from vbm.lab.rest import serve_rest
from vbm.lab.sessions import IDLE_SECONDS, Sessions, Users
from vbm.lab.state import LabState
from vbm.lab.tasks import Tasks
from vbm.lab.views import Views

_WATCH_SECONDS = 0.25


@dataclass(frozen=True, slots=True)
class LabOptions:
    """How a lab is served. ``preset`` matters only where the folder holds no lab yet."""

    host: str = "127.0.0.1"
    port: int = 0  # 0 = any free one
    preset: str | None = None
    tls: bool = True
    password: str | None = None  # None: VBM_LAB_PASSWORD, or what the folder has, or a random one
    idle_seconds: float = IDLE_SECONDS
    behaviour: Options = field(default_factory=Options)


class Lab:
    """One lab in this process, served by threads of its own. A context manager: leaving it stops everything.

    ``state`` may be used directly beside the server: it is thread-safe.
    """

    def __init__(
        self, directory: Path, options: LabOptions | None = None, clock: Clock | None = None
    ) -> None:
        self.options = options or LabOptions()
        self.clock = clock or SystemClock()
        self.directory = Path(directory)
        self.state = _open_state(self.directory, self.options.preset, self.clock)
        self.context = self._context()
        self._pem = tls.ensure_certificate(self.directory, self.clock)
        routes: dict[str, Serve] = {
            "/sdk": serve_sdk,
            "/folder": serve_folder,
            "/nfc": serve_nfc,
            "/api": serve_rest,
            "/rest": serve_rest,
        }
        try:
            self._server = HttpServer((self.options.host, self.options.port), self.context, routes)
        except OSError:
            self.state.close()
            raise
        if self.options.tls:
            self._server.tls = tls.server_context(self._pem)
        self.context.actions = dict(actions.bind(self.context, self.change_certificate))
        self._control = ControlSocket(self.directory / "control.sock", self)
        self._threads = [
            threading.Thread(target=self._server.serve_forever, args=(0.05,), name="lab-http", daemon=True),
            threading.Thread(target=self._watch, name="lab-watch", daemon=True),
            threading.Thread(target=self._expire, name="lab-leases", daemon=True),
        ]

    def _context(self) -> Context:
        changes = Changes()
        return Context(
            state=self.state,
            event_log=EventLog(self.directory / "events.jsonl", self.clock),
            clock=self.clock,
            rules=Rules(self.directory / "faults.json"),
            users=Users(self.directory, self.options.password),
            sessions=Sessions(self.clock, self.options.idle_seconds),
            tasks=Tasks(self.clock, changes.notify),
            changes=changes,
            leases=Leases(self.clock, changes.notify),
            views=Views(),
            options=self.options.behaviour,
            collectors=Collectors(),
            texts=Texts(),
            find=lambda ref, session: find_object(self.context, ref, session),
            sha1_thumbprint=lambda: tls.thumbprint(self._pem, "sha1"),
        )

    # --- life -------------------------------------------------------------------------------------
    def start(self) -> Self:
        """Serve from now on, in the background."""
        for thread in self._threads:
            thread.start()
        self._control.start()
        return self

    def stop(self) -> None:
        """End connections and give the state free. May be called twice."""
        if self.context.stopping.is_set():
            return
        self.context.stopping.set()
        self.context.changes.notify()
        self._control.stop()
        if self._threads[0].is_alive():
            self._server.shutdown()
        self._server.server_close()
        self._server.drop_connections()
        for thread in self._threads:
            if thread.is_alive():
                thread.join(5)
        self.context.event_log.close()
        self.state.close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    # --- where and as whom ------------------------------------------------------------------------
    @property
    def host(self) -> str:
        return str(self._server.server_address[0])

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    @property
    def url(self) -> str:
        return f"{'https' if self.options.tls else 'http'}://{self.host}:{self.port}/sdk"

    @property
    def thumbprint(self) -> str:
        """SHA-256 of the certificate, colons between."""
        return tls.thumbprint(self._pem)

    @property
    def username(self) -> str:
        return self.context.users.administrator.name

    @property
    def password(self) -> str:
        return self.context.users.administrator.password

    @property
    def read_only_username(self) -> str:
        """Has the administrator's password, and may only look."""
        return self.context.users.read_only.name

    @property
    def rules(self) -> Rules:
        return self.context.rules

    @property
    def behaviour(self) -> Options:
        return self.context.options

    def describe(self) -> dict[str, object]:
        """What ``vbm lab serve`` prints when it is ready."""
        return {
            "url": self.url,
            "host": self.host,
            "port": self.port,
            "username": self.username,
            "password": self.password,
            "thumbprint": self.thumbprint,
        }

    # --- mischief ---------------------------------------------------------------------------------
    def fault(self, spec: str) -> Rule | None:
        """Put a fault rule in force; one whose target is ``now`` acts at once and is not kept."""
        return add_fault(self.context, spec)

    def machine(self, name: str) -> Machine:
        return self.state.find_machine(name)

    def expire_sessions(self) -> None:
        """Every session ends, as after the idle time."""
        self.context.sessions.expire_all()

    def change_certificate(self) -> None:
        """New connections meet another certificate from now on."""
        tls.ensure_certificate(self.directory, self.clock, renew=True)
        if self.options.tls:
            self._server.tls = tls.server_context(self._pem)

    def drop_connections(self) -> None:
        self._server.drop_connections()

    # --- watching ---------------------------------------------------------------------------------
    def _watch(self) -> None:
        """Wakes waiting property collectors when the state changes."""
        seen = -1
        while not self.context.stopping.is_set():
            version = self.state.wait_for_change(seen, _WATCH_SECONDS)
            if version != seen:
                seen = version
                self.context.changes.notify()

    def _expire(self) -> None:
        while not self.context.stopping.wait(_WATCH_SECONDS):
            for lease in self.context.leases.expire(
                lambda: make_fault("Timedout", "The lease was not renewed.")
            ):
                self.context.log("lease-expired", lease=lease.token, machine=lease.machine)


def add_fault(context: Context, spec: str) -> Rule | None:
    """See ``Lab.fault``."""
    rule = parse_rule(spec)
    if rule.effect == "action" and rule.value.partition(":")[0] not in context.actions:
        raise InputError(
            f"no such action: {rule.value!r}", hint=f"known: {', '.join(sorted(context.actions))}"
        )
    if rule.target == "now":
        if rule.effect != "action":
            raise InputError(f"only an action can be done now: {spec!r}")
        act(context, rule)
        return None
    return context.rules.add(spec)


def _open_state(directory: Path, preset: str | None, clock: Clock) -> LabState:
    try:
        return LabState.open(directory, clock)
    except NotFoundError:
        if preset is None:
            preset = "small"
        return LabState.create(directory, preset, clock)


def serve(
    state_dir: Path,
    options: LabOptions | None = None,
    *,
    ready: Callable[[str], None] = print,
    stop: threading.Event | None = None,
) -> None:
    """Serve until ``stop`` is set (or for ever), telling the ready line once."""
    waiting = stop or threading.Event()
    with Lab(state_dir, options) as lab, contextlib.suppress(KeyboardInterrupt):
        ready(json.dumps(lab.describe()))
        waiting.wait()
