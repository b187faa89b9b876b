"""Why and how a run is stopped: a token that can also be paused."""

from __future__ import annotations

import threading
from typing import ClassVar, Final, Literal

from vbm.cancel import CancelToken
from vbm.errors import CancelledError, VbmError

Why = Literal["", "cancelled", "deadline", "window"]
_LOOK_SECONDS: Final = 0.5


class RunToken(CancelToken):
    """``check`` holds whoever asks while the run is paused. Thread-safe."""

    def __init__(self) -> None:
        super().__init__()
        self.why: Why = ""
        self._go = threading.Event()
        self._go.set()

    def stop(self, why: Why, reason: str) -> None:
        """Ask to stop; the first reason is kept."""
        if not self.cancelled:
            self.why = why
            self.cancel(reason)

    def pause(self) -> None:
        self._go.clear()

    def go_on(self) -> None:
        self._go.set()

    @property
    def paused(self) -> bool:
        return not self._go.is_set()

    def check(self) -> None:
        while not self._go.is_set() and not self.cancelled:
            self._go.wait(_LOOK_SECONDS)
        super().check()


class DeadlineError(VbmError):
    """The run took longer than its job allows."""

    code = "deadline-exceeded"


class WindowClosedError(VbmError):
    """The backup window closed while the run was reading."""

    code = "window-closed"
    permanent: ClassVar[bool] = True


def explained(token: RunToken, error: CancelledError) -> VbmError:
    """The error that people see for a run that was asked to stop."""
    if token.why == "deadline":
        return DeadlineError(token.reason, hint="raise the job's deadline, or find out why it took so long")
    if token.why == "window":
        return WindowClosedError(token.reason, hint="widen the window, or let it pause runs instead")
    return CancelledError(token.reason) if token.cancelled else error
