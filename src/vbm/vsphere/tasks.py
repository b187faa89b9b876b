"""Waiting for vSphere's tasks, however long they take, over lost sessions and connections."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, Final

from vbm.cancel import CancelToken
from vbm.errors import TransientError, VbmError
from vbm.vsphere.faults import UnsupportedCallError, VsphereFaultError, translate
from vbm.vsphere.properties import properties_of
from vbm.vsphere.session import Session
from vbm.vsphere.soap import vim, vmodl

_PATHS: Final = ("info.state", "info.progress", "info.error", "info.result")
_LONG_POLL_SECONDS: Final = 2  # also how long a cancel may take to be noticed
_POLLS: Final = (0.05, 0.1, 0.2, 0.5, 1.0, 2.0)
_RUNNING: Final = ("queued", "running")
_log = logging.getLogger(__name__)

OnProgress = Callable[[int], None]  # percent


def wait_for(
    session: Session, task: Any, *, cancel: CancelToken | None = None, on_progress: OnProgress | None = None
) -> Any:
    """The task's result once it has succeeded. No time limit: consolidation may take hours.

    Cancelling ends the waiting, not the task. A failed task raises the product's error of its fault, whose
    ``__cause__`` is the fault itself; a task that vCenter no longer knows raises ObjectGoneError.
    """
    watcher = _Watcher(session, task)
    try:
        while True:
            (cancel or _NEVER).check()
            values = watcher.next(cancel or _NEVER)
            if on_progress is not None and isinstance(values.get("info.progress"), int):
                on_progress(values["info.progress"])
            state = str(values.get("info.state") or "running")
            if state not in _RUNNING:
                return _outcome(session, state, values)
    finally:
        watcher.close()


def is_running(session: Session, task: Any) -> bool:
    """Whether the task is queued or running now; a task that is forgotten is not."""
    try:
        state = properties_of(session, task, ["info.state"]).get("info.state")
    except VbmError:
        return False
    return str(state) in _RUNNING


def _outcome(session: Session, state: str, values: dict[str, Any]) -> Any:
    if state == "success":
        return values.get("info.result")
    fault = values.get("info.error")
    if isinstance(fault, BaseException):
        raise translate(fault, session.where) from fault
    raise VsphereFaultError(f"{session.where}: a task failed without saying why", fault="")


class _Watcher:
    """Hears of a task's changes by a property filter; asks by polling where filters don't work."""

    def __init__(self, session: Session, task: Any) -> None:
        self._session = session
        self._task = task
        self._values: dict[str, Any] = {}
        self._collector: Any = None
        self._version = ""
        self._polls = 0
        self._filters_work = True
        self._failures = 0

    def next(self, cancel: CancelToken) -> dict[str, Any]:
        """The task's properties after the next change, or after a short while without one."""
        if not self._filters_work:
            return self._poll(cancel)
        try:
            self._long_poll()
        except VbmError as error:
            self._collector = None  # filters end with the session
            self._failures += 1
            if isinstance(error, UnsupportedCallError) or self._failures > 3:
                self._filters_work = False
            _log.debug("watching a task at %s by polling: %s", self._session.where, error.message)
            return self._poll(cancel)
        return self._values

    def _poll(self, cancel: CancelToken) -> dict[str, Any]:
        if self._polls:
            cancel.wait(_POLLS[min(self._polls, len(_POLLS)) - 1])
        self._polls += 1
        self._values = properties_of(self._session, self._task, _PATHS)
        return self._values

    def _long_poll(self) -> None:
        if self._collector is None:
            self._open()
        options = vmodl.query.PropertyCollector.WaitOptions(maxWaitSeconds=_LONG_POLL_SECONDS)
        try:
            update = self._session.call(lambda _c: self._collector.WaitForUpdatesEx(self._version, options))
        except TransientError:
            update = None
        if update is None:
            return
        self._version = update.version
        for change in (
            c for f in update.filterSet or () for o in f.objectSet or () for c in o.changeSet or ()
        ):
            self._values[change.name] = change.val

    def _open(self) -> None:
        pc = vmodl.query.PropertyCollector
        spec = pc.FilterSpec(
            objectSet=[pc.ObjectSpec(obj=self._task, skip=False)],
            propSet=[pc.PropertySpec(type=vim.Task, all=False, pathSet=list(_PATHS))],
        )
        self._collector = self._session.call(lambda c: c.propertyCollector.CreatePropertyCollector())
        self._version = ""
        self._session.call(lambda _c: self._collector.CreateFilter(spec, partialUpdates=False))

    def close(self) -> None:
        if self._collector is None:
            return
        try:
            self._session.call(lambda _c: self._collector.DestroyPropertyCollector())
        except VbmError as error:
            _log.debug("a property collector was not destroyed: %s", error.message)


_NEVER: Final = CancelToken()
