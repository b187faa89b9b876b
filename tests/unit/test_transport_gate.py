"""How many may ask one host at once, by a clock that only the test moves."""

from __future__ import annotations

import threading

import pytest

from vbm.cancel import CancelToken
from vbm.clock import VirtualClock
from vbm.errors import CancelledError
from vbm.vsphere.transports.host_gate import GatePolicy, HostGate, HostGates


def test_one_burst_of_refusals_halves_once() -> None:
    clock = VirtualClock()
    gate = HostGate(GatePolicy(most=8), clock)
    cancel = CancelToken()
    with gate.slot(cancel) as one, gate.slot(cancel) as two, gate.slot(cancel) as three:
        for epoch in (one, two, three):
            gate.overloaded(epoch, None)
    assert gate.allowed == 4
    clock.advance(2)
    with gate.slot(cancel) as later:
        gate.overloaded(later, 30.0)
    assert gate.allowed == 2


def test_nobody_asks_before_the_time_that_the_host_named() -> None:
    clock = VirtualClock()
    gate = HostGate(GatePolicy(), clock)
    with gate.slot(CancelToken()) as epoch:
        gate.overloaded(epoch, 40.0)
    clock.advance(39)
    entered = threading.Event()

    def enter() -> None:
        with gate.slot(CancelToken()):
            entered.set()

    thread = threading.Thread(target=enter)
    thread.start()
    assert not entered.is_set()
    clock.advance(12)
    thread.join(timeout=10)
    assert entered.is_set()


def test_going_well_opens_it_step_by_step() -> None:
    gate = HostGate(GatePolicy(most=4, reopen_after=2, first_pause_seconds=0), VirtualClock())
    for _ in range(3):
        with gate.slot(CancelToken()) as epoch:
            gate.overloaded(epoch, 0.0)
    assert gate.allowed == 1
    seen = []
    for _ in range(6):
        gate.went_well()
        seen.append(gate.allowed)
    assert seen == [1, 2, 2, 3, 3, 4]


def test_waiting_ends_when_cancelled() -> None:
    gate = HostGate(GatePolicy(most=1))
    cancel = CancelToken()
    with gate.slot(cancel):
        threading.Timer(0, cancel.cancel, ["enough"]).start()
        with pytest.raises(CancelledError), gate.slot(cancel):
            pass


def test_a_host_has_one_gate_whatever_the_case_of_its_name() -> None:
    gates = HostGates()
    assert gates.of("ESX1.lab", 443) is gates.of("esx1.LAB", 443)
    assert gates.of("esx1.lab", 443) is not gates.of("esx2.lab", 443)
