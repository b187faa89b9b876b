"""vSphere Tasks: work in a thread of its own, with a state that clients poll or wait for."""

from __future__ import annotations

import itertools
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from vbm.clock import Clock

HISTORY = 2000  # finished tasks that are remembered


@dataclass(slots=True, eq=False)
class Task:
    """One Task. Fields are replaced by its own thread and read by others; ``result`` is a wire value."""

    moid: str
    method: str  # CreateSnapshot_Task
    entity: Any  # reference
    entity_name: str
    user: str
    queued: datetime
    started: datetime | None = None
    completed: datetime | None = None
    state: str = "queued"  # queued | running | success | error
    progress: int | None = None
    result: Any = None
    fault: Any = None  # a wire fault
    cancelled: bool = False
    cancelable: bool = False
    event_chain_id: int = 0
    effects: dict[str, str] = field(default_factory=dict)  # of fault rules that act within the work
    done: threading.Event = field(default_factory=threading.Event)


class Tasks:
    """All tasks of a server, newest last. Thread-safe."""

    def __init__(self, clock: Clock, changed: Callable[[], None]) -> None:
        self._clock = clock
        self._changed = changed
        self._lock = threading.Lock()
        self._tasks: OrderedDict[str, Task] = OrderedDict()
        self._numbers = itertools.count(1)

    def create(self, method: str, entity: Any, entity_name: str, user: str) -> Task:
        """A queued task."""
        with self._lock:
            number = next(self._numbers)
            task = Task(f"task-{number}", method, entity, entity_name, user, self._clock.now())
            task.event_chain_id = number
            self._tasks[task.moid] = task
            self._forget_old()
        return task

    def run(self, task: Task, work: Callable[[Task], Any], to_fault: Callable[[Exception], Any]) -> None:
        """Start the work in a thread; its return value becomes the result, what it raises the error."""

        def body() -> None:
            self._begin(task)
            try:
                task.result = work(task)
                fault = None
            except Exception as error:  # noqa: BLE001 - every failure of the work is the task's error
                fault = to_fault(error)
            self._finish(task, fault)

        threading.Thread(target=body, name=task.moid, daemon=True).start()

    def _begin(self, task: Task) -> None:
        task.started = self._clock.now()
        task.state = "running"
        self._changed()

    def _finish(self, task: Task, fault: Any) -> None:
        task.completed = self._clock.now()
        task.fault = fault
        task.progress = None if fault else 100
        task.state = "error" if fault else "success"
        task.done.set()
        self._changed()

    def find(self, moid: str) -> Task | None:
        with self._lock:
            return self._tasks.get(moid)

    def recent(self, entity: Any = None, limit: int = 200) -> list[Task]:
        """Running and lately finished tasks, oldest first; of one entity where it is given."""
        with self._lock:
            tasks = [*self._tasks.values()]
        if entity is not None:
            tasks = [task for task in tasks if task.entity == entity]
        return tasks[-limit:]

    def _forget_old(self) -> None:
        while len(self._tasks) > HISTORY:
            oldest = next((t for t in self._tasks.values() if t.done.is_set()), None)
            if oldest is None:
                return
            del self._tasks[oldest.moid]
