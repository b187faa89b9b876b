"""Sessions end by idleness, tickets by one use; passwords are compared, not guessed."""

from __future__ import annotations

import json
from pathlib import Path

from vbm.clock import VirtualClock
from vbm.lab.leases import ERROR, READY, Leases
from vbm.lab.sessions import Sessions, User, Users


def _user() -> User:
    return User("somebody", "word", frozenset({"System.View"}))


def test_a_session_lives_as_long_as_it_is_used() -> None:
    clock = VirtualClock()
    sessions = Sessions(clock, idle_seconds=1800)
    token = sessions.login(_user(), "").token
    for _ in range(3):
        clock.advance(1700)
        assert sessions.find(token) is not None
    clock.advance(1801)
    assert sessions.find(token) is None


def test_looking_at_it_does_not_keep_it_alive() -> None:
    clock = VirtualClock()
    sessions = Sessions(clock, idle_seconds=100)
    token = sessions.login(_user(), "").token
    clock.advance(60)
    assert sessions.find(token, touch=False) is not None
    clock.advance(60)
    assert sessions.find(token) is None


def test_a_ticket_is_for_one_request_of_one_url() -> None:
    clock = VirtualClock()
    sessions = Sessions(clock)
    url = "https://esx/folder/vm/x.vmdk?dsName=ds&dcPath=DC"
    ticket = sessions.issue_ticket(_user(), "httpGet", url)
    assert sessions.redeem_ticket(ticket, "httpPut", url) is None  # and it is used up by the attempt
    assert sessions.redeem_ticket(ticket, "httpGet", url) is None
    ticket = sessions.issue_ticket(_user(), "httpGet", url)
    assert sessions.redeem_ticket(ticket, "httpGet", "/folder/vm/x.vmdk?dcPath=DC&dsName=ds") is not None
    ticket = sessions.issue_ticket(_user(), "httpGet", url)
    clock.advance(600)
    assert sessions.redeem_ticket(ticket, "httpGet", url) is None


def test_the_password_stays_from_one_start_to_the_next(tmp_path: Path) -> None:
    first = Users(tmp_path)
    assert Users(tmp_path).administrator.password == first.administrator.password
    assert Users(tmp_path, "mine").check("Administrator@VSPHERE.local", "mine")
    assert not Users(tmp_path).check("administrator@vsphere.local", "")
    assert (tmp_path / "credentials.json").stat().st_mode & 0o777 == 0o600
    assert set(json.loads((tmp_path / "credentials.json").read_text())) >= {"readonly@vsphere.local"}


def test_a_lease_that_nobody_renews_fails() -> None:
    clock = VirtualClock()
    leases = Leases(clock, lambda: None)
    ends: list[bool] = []
    lease = leases.open(owner="o", export=True, machine="vm-1", timeout_seconds=300, address=("h", 443))
    lease.on_end = ends.append
    leases.ready(lease)
    clock.advance(299)
    leases.renew(lease, 10)
    clock.advance(299)
    assert leases.expire(lambda: "late") == []
    assert lease.state == READY
    assert leases.holds("vm-1")
    clock.advance(2)
    assert leases.expire(lambda: "late") == [lease]
    assert (lease.state, lease.error, ends) == (ERROR, "late", [False])
    assert not leases.holds("vm-1")
    assert not leases.end(lease)
