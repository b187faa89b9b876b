"""What happened to a VM since a moment, as the server's events tell."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from vbm.errors import VbmError
from vbm.ids import MoRef
from vbm.vsphere.session import Session
from vbm.vsphere.soap import type_name, vim

_MARGIN_EVENTS: Final = 1000  # as many as a server answers at once: more, and the question stays open


def reverted_since(session: Session, vm: MoRef, since: datetime) -> bool | None:
    """Whether the VM was reverted to a snapshot after ``since``; None where the server can't say.

    After a revert the changed areas of older change ids are wrong on some versions, so the disks are to be read
    whole. ``since`` should be the server's time of the last restore point's snapshot.
    """
    spec = vim.event.EventFilterSpec
    wanted = spec(
        entity=spec.ByEntity(entity=session.vm(vm), recursion="self"),
        time=spec.ByTime(beginTime=since),
    )
    try:
        events = session.read(lambda c: c.eventManager.QueryEvents(wanted)) or []
    except VbmError:
        return None
    if any(_is_revert(event) for event in events):
        return True
    return None if len(events) >= _MARGIN_EVENTS else False


def _is_revert(event: Any) -> bool:
    info = getattr(event, "info", None)  # of a TaskEvent
    names = (
        type_name(event),
        getattr(event, "eventTypeId", None) or "",  # of an EventEx
        getattr(info, "descriptionId", None) or "",
        getattr(info, "name", None) or "",
    )
    return any("revert" in str(name).lower() for name in names)
