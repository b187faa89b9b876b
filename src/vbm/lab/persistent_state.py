"""A lab's folder: what is in it, one process at a time, persisted so that it survives `kill -9`.

::

    DIR/lock           held exclusively by the one process that has the lab open
    DIR/state.json     inventory, datastores, tags
    DIR/machines.json  the machines as the preset made them
    DIR/machines/      one file per machine changed since: the machine, or null for one that is gone
    DIR/tracking/      change tracking: <machine>/<disk key>/<uuid>/<sequence>.grains
    DIR/datastores/    the datastores; DIR/objects, DIR/luns: bytes that no datastore serves as files
    DIR/events.jsonl   what happened, one JSON line each, with wall times

Files are replaced as a whole. A kill loses nothing that a method returned from; a power loss of the host may.
"""

from __future__ import annotations

import fcntl
import json
import os
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from vbm.clock import Clock, rfc3339
from vbm.errors import VbmError
from vbm.lab.codec import Json
from vbm.lab.datastore import Datastore
from vbm.lab.inventory import Inventory
from vbm.lab.machine import Machine
from vbm.lab.model import About


class LabBusyError(VbmError):
    """Another process has the lab open."""

    code = "lab-busy"
    permanent = False


class PersistentState:
    """Thread-safe. Holds the folder's lock until ``close``."""

    def __init__(self, directory: Path, clock: Clock) -> None:
        """Raises LabBusyError while another process has the lab open."""
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = directory.absolute()
        self.clock = clock
        self._lock_descriptor = _lock(directory)
        self.lock = threading.RLock()
        self._changes = threading.Condition()
        self.inventory = Inventory()
        self.about = About("VMware vCenter Server", str(uuid.uuid4()))
        self.datastores: dict[str, Datastore] = {}
        self.machines: dict[str, Machine] = {}
        self.tags: dict[str, list[str]] = {}  # entity moref -> ["category/tag", …]
        self.custom_fields: dict[int, str] = {}  # key -> name
        self.custom_values: dict[str, dict[int, str]] = {}  # entity moref -> field key -> value
        self.version = 0
        self._changed_at: dict[str, int] = {}
        self._next_id = 1000
        self._batch = False

    # --- life -------------------------------------------------------------------------------------
    def close(self) -> None:
        """Let another process open it. May be called twice."""
        for machine in self.machines.values():
            machine.close()
        if self._lock_descriptor >= 0:
            os.close(self._lock_descriptor)
            self._lock_descriptor = -1

    @contextmanager
    def batch(self) -> Iterator[None]:
        """Within it nothing is persisted; at its end everything is, once: for presets of a new lab."""
        self._batch = True
        try:
            yield
        finally:
            self._batch = False
        self._save_all()

    def load(self) -> None:
        """What the folder holds."""
        document = json.loads((self.directory / "state.json").read_bytes())
        self.inventory.load(document["inventory"])
        self.about = About(**document["about"])
        for each in document["datastores"]:
            self._add_datastore(
                Datastore(
                    each.pop("moref"), each.pop("name"), each.pop("kind"), Path(each.pop("root")), **each
                )
            )
        self.tags = document["tags"]
        self.custom_fields = {int(key): name for key, name in document["custom_fields"].items()}
        self.custom_values = {
            moref: {int(key): value for key, value in values.items()}
            for moref, values in document["custom_values"].items()
        }
        self._next_id = document["next_id"]
        bulk = self.directory / "machines.json"
        machines = {each["moref"]: each for each in json.loads(bulk.read_bytes())} if bulk.exists() else {}
        for path in sorted((self.directory / "machines").glob("*.json")):
            overlay = json.loads(path.read_bytes())
            self._next_id = max(self._next_id, overlay["next_id"])
            machines[path.stem] = overlay["machine"]
        for moref, each in machines.items():
            if each is not None:
                self.machines[moref] = self._machine(each)

    def _machine(self, document: Json) -> Machine:
        raise NotImplementedError

    def _add_datastore(self, datastore: Datastore) -> None:
        datastore.root.mkdir(parents=True, exist_ok=True)
        self.datastores[datastore.moref] = datastore

    def _save_all(self) -> None:
        with self.lock:
            _replace(
                self.directory / "machines.json", [machine.to_json() for machine in self.machines.values()]
            )
            self.save_inventory()

    def _inventory_json(self) -> dict[str, Any]:
        return {
            "format": 1,
            "next_id": self._next_id,
            "about": asdict(self.about),
            "inventory": self.inventory.to_json(),
            "datastores": [each.to_json() for each in self.datastores.values()],
            "tags": self.tags,
            "custom_fields": self.custom_fields,
            "custom_values": self.custom_values,
        }

    def save(self, machine: Machine) -> None:
        """Persist one machine and wake who waits for changes."""
        with self.lock:
            if machine.moref in self.machines and not self._batch:
                self._save_machine(machine.moref, machine.to_json())
        machine.version = self._note(machine.moref)

    def _save_machine(self, moref: str, document: dict[str, Any] | None) -> None:
        folder = self.directory / "machines"
        folder.mkdir(exist_ok=True)
        _replace(folder / f"{moref}.json", {"next_id": self._next_id, "machine": document})

    # --- changes ----------------------------------------------------------------------------------
    def touch(self, moref: str) -> None:
        """That object has changed: persists it, and wakes ``wait_for_change``."""
        if moref in self.machines:
            self.save(self.machines[moref])
        else:
            self.save_inventory()
            self._note(moref)

    def save_inventory(self) -> None:
        """Persist all but the machines: inventory, datastores, tags, custom values."""
        with self.lock:
            if self._batch:
                return
            _replace(self.directory / "state.json", self._inventory_json())

    def _note(self, moref: str) -> int:
        with self._changes:
            self.version += 1
            self._changed_at[moref] = self.version
            self._changes.notify_all()
            return self.version

    def wait_for_change(self, since: int, seconds: float) -> int:
        """The version now, waiting at most so long for it to exceed ``since``."""
        with self._changes:
            self._changes.wait_for(lambda: self.version > since, seconds)
            return self.version

    def changed_since(self, since: int) -> set[str]:
        """Morefs of objects changed (or gone) after that version."""
        with self._changes:
            return {moref for moref, version in self._changed_at.items() if version > since}

    def new_id(self) -> int:
        """A number never used before in this lab, also after a restart."""
        with self.lock:
            self._next_id += 1
            return self._next_id

    def log(self, event: str, **fields: object) -> None:
        """One JSON line in DIR/events.jsonl, with the wall time."""
        line = json.dumps({"time": rfc3339(self.clock.now()), "event": event, **fields}, ensure_ascii=False)
        with self.lock, (self.directory / "events.jsonl").open("a", encoding="utf-8") as file:
            file.write(line + "\n")


def _lock(directory: Path) -> int:
    descriptor = os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        message = f"another process has the lab in {directory} open"
        raise LabBusyError(
            message, hint="stop it, or let it do the work: it listens on control.sock"
        ) from error
    return descriptor


def _replace(path: Path, document: object) -> None:
    temporary = path.with_name(f".{path.name}.new")
    temporary.write_text(json.dumps(document, ensure_ascii=False, separators=(",", ":")), encoding="utf-8")
    temporary.replace(path)
