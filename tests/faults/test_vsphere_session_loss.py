"""Sessions that the server forgets: one new login serves every thread, and the keep-alive notices by itself."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from fixtures_vsphere import SOON, Vcsim, running_vcsim
from vbm.cancel import CancelToken
from vbm.errors import CancelledError
from vbm.vsphere.faults import ConnectionLostError, HostUnreachableError, VsphereFaultError
from vbm.vsphere.session import Session

THREADS = 8


@pytest.fixture(scope="module")
def vcsim() -> Iterator[Vcsim]:
    with running_vcsim() as running:
        yield running


def _keys(session: Session) -> set[str]:
    return {s.key for s in session.read(lambda c: c.sessionManager.sessionList)}


def _forget(vcsim: Vcsim, session: Session) -> None:
    """End a session from outside, as a restart of vCenter or its idle time-out does."""
    key = session.read(lambda c: c.sessionManager.currentSession.key)
    with vcsim.connect() as another:
        another.call(lambda c: c.sessionManager.TerminateSession([key]))


def test_threads_that_lose_a_session_together_log_in_once(vcsim: Vcsim) -> None:
    with vcsim.connect() as session:
        _forget(vcsim, session)
        before = _keys_from_outside(vcsim)
        together = threading.Barrier(THREADS)

        def ask(_number: int) -> Any:
            together.wait()
            return session.call(lambda c: c.rootFolder.name)

        with ThreadPoolExecutor(THREADS) as pool:
            assert list(pool.map(ask, range(THREADS))) == ["Datacenters"] * THREADS
        assert len(_keys_from_outside(vcsim) - before) == 2  # ours, and the one that looks


def _keys_from_outside(vcsim: Vcsim) -> set[str]:
    with vcsim.connect() as another:
        return _keys(another)


def test_the_keep_alive_logs_in_again_by_itself(vcsim: Vcsim) -> None:
    with Session.connect(vcsim.endpoint, vcsim.credentials, reads=SOON, keep_alive_seconds=0.02) as session:
        before = session.cookie()
        _forget(vcsim, session)
        for _try in range(500):
            if session.cookie() != before:
                break
            threading.Event().wait(0.01)
        assert session.cookie() != before


def test_a_server_that_goes_away_is_a_transient_error_and_close_does_not_raise() -> None:
    with running_vcsim() as short_lived:
        session = short_lived.connect()
    with pytest.raises((HostUnreachableError, ConnectionLostError)):
        session.read(lambda c: c.rootFolder.name)
    session.close()
    session.close()


def test_a_cancelled_wait_between_retries_ends_at_once(vcsim: Vcsim) -> None:
    cancel = CancelToken()

    def broken(_content: Any) -> None:
        cancel.cancel("enough")
        raise ConnectionResetError

    with vcsim.connect() as session, pytest.raises(CancelledError):
        session.read(broken, cancel)


def test_reads_are_tried_again_and_writes_are_not(vcsim: Vcsim) -> None:
    tried: list[int] = []

    def twice_broken(_content: Any) -> str:
        tried.append(1)
        if len(tried) < 3:
            raise ConnectionResetError
        return "done"

    with vcsim.connect() as session:
        assert session.read(twice_broken) == "done"
        tried.clear()
        with pytest.raises(ConnectionLostError):
            session.call(twice_broken)
        assert len(tried) == 1


def test_what_is_not_understood_is_an_error_of_ours(vcsim: Vcsim) -> None:
    def odd(_content: Any) -> None:
        raise KeyError("no such type")

    with vcsim.connect() as session, pytest.raises(VsphereFaultError, match="no such type"):
        session.call(odd)
