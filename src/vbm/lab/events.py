"""What happened to machines, as the EventManager tells it."""

from __future__ import annotations

import threading
from collections import deque
from datetime import datetime
from typing import Any

from vbm.lab.machine import Machine
from vbm.lab.vmodl import reference, support, vim

_KEPT = 1000


class Events:
    """The last thousand events, oldest first. Thread-safe; not kept over a restart."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._events: deque[Any] = deque(maxlen=_KEPT)
        self._count = 0

    def add(self, kind: str, machine: Machine, when: datetime) -> None:
        """An event type by its wsdl name; one that the API does not know becomes an EventEx of that id."""
        with self._lock:
            self._count += 1
            self._events.append(_event(kind, machine, when, self._count))

    def all(self) -> list[Any]:
        with self._lock:
            return [*self._events]


def _event(kind: str, machine: Machine, when: datetime, key: int) -> Any:
    text = f"{kind} on {machine.name}"
    fields = {
        "key": key,
        "chainId": key,
        "createdTime": when,
        "userName": "",
        "fullFormattedMessage": text,
        "vm": vim.event.VmEventArgument(name=machine.name, vm=reference("VirtualMachine", machine.moref)),
    }
    try:
        cls = support.GetWsdlType("urn:vim25", kind)
    except KeyError:
        return vim.event.EventEx(eventTypeId=f"com.vmware.vc.{kind}", severity="info", message=text, **fields)
    return cls(**fields)
