"""What a restore makes in vSphere, written down before it is made, so that nothing half made outlives a death.

Every VM that a restore makes bears a *mark* in its settings until it is whole. The mark, not the name, says that a VM
is ours: names are people's. Each attempt has a mark of its own. What is known (the VM's reference, its folder, disks
that are no VM's for a moment) is written down stage by stage, each time before the next thing is done.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Final, Protocol

from vbm.clock import rfc3339
from vbm.ids import new_id
from vbm.vsphere.session import Session

MARK: Final = "vbm.restore"  # the key of the setting
PREFIX: Final = "vbm-restore-"


@dataclass(frozen=True, slots=True)
class HalfMade:
    """``stage``: begun, leased, laid, made, whole, done; in place also loose, exchanging.

    ``target`` is set where the VM is the carrier of disks for that VM: ``loose`` are files that were taken off it,
    ``new`` those that the target is given, ``replaced`` those that it had. References are morefs, files paths.
    """

    mark: str
    name: str
    vcenter: str
    vcenter_uuid: str
    created: str
    stage: str = "begun"
    moref: str = ""
    lease: str = ""
    datacenter: str = ""
    folder: str = ""
    target: str = ""
    loose: tuple[str, ...] = ()
    new: tuple[str, ...] = ()
    replaced: tuple[str, ...] = ()

    def to_document(self) -> dict[str, Any]:
        return asdict(self) | {name: list(getattr(self, name)) for name in _LISTS}

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> HalfMade:
        """Raises KeyError, TypeError for what is none."""
        values = {field.name: document[field.name] for field in fields(cls)}
        return cls(**values | {name: tuple(values[name]) for name in _LISTS})


_LISTS: Final = ("loose", "new", "replaced")


class Traces(Protocol):
    """Where half-made VMs are written down. Thread-safe. Durable when a call returns."""

    def save(self, half: HalfMade) -> None: ...

    def forget(self, mark: str) -> None:
        """It is surely gone."""

    def done(self, half: HalfMade) -> None:
        """The restore is whole, to its last step."""

    def release(self, mark: str) -> None:
        """This restore is over and could not remove it: whoever comes next shall."""


class Untraced:
    """Writes nothing down."""

    def save(self, half: HalfMade) -> None:
        pass

    def forget(self, mark: str) -> None:
        pass

    def done(self, half: HalfMade) -> None:
        pass

    def release(self, mark: str) -> None:
        pass


class Making:
    """One attempt to make one VM."""

    def __init__(self, traces: Traces, half: HalfMade) -> None:
        self._traces = traces
        self.half = half

    @classmethod
    def begin(cls, traces: Traces, session: Session, name: str, datacenter: str, target: str) -> Making:
        now = session.clock.now()
        half = HalfMade(
            mark=PREFIX + new_id(now),
            name=name,
            vcenter=session.endpoint.name,
            vcenter_uuid=session.about.get("instance_uuid", ""),
            created=rfc3339(now),
            datacenter=datacenter,
            target=target,
        )
        traces.save(half)
        return cls(traces, half)

    def reach(self, stage: str, **known: Any) -> None:
        """Write down what is known from now on."""
        self.half = replace(self.half, stage=stage, **known)
        self._traces.save(self.half)

    def over(self) -> None:
        """Nothing is left of it."""
        self._traces.forget(self.half.mark)

    def done(self) -> None:
        self._traces.done(replace(self.half, stage="done"))

    def release(self) -> None:
        self._traces.release(self.half.mark)
