"""Task and TaskManager: what is going on and how it ended."""

from __future__ import annotations

from typing import Any

from vbm.lab.errors import refusal
from vbm.lab.objects.base import ManagedObject, operation, prop
from vbm.lab.soap import Call
from vbm.lab.tasks import Task as Record
from vbm.lab.vmodl import reference, support, type_name, vim


def task_info(record: Record) -> Any:
    """TaskInfo as it is now."""
    method = support.GetWsdlMethod("urn:vim25", record.method)
    kind = type_name(record.entity)
    return vim.TaskInfo(
        key=record.moid,
        task=reference("Task", record.moid),
        name=method,
        descriptionId=f"{kind}.{method.info.name}",
        entity=record.entity if issubclass(type(record.entity), vim.ManagedEntity) else None,
        entityName=record.entity_name,
        state=record.state,
        cancelled=record.cancelled,
        cancelable=record.cancelable,
        error=record.fault,
        result=record.result if record.state == "success" else None,
        progress=record.progress if record.state == "running" else None,
        reason=vim.TaskReasonUser(userName=record.user),
        queueTime=record.queued,
        startTime=record.started,
        completeTime=record.completed,
        eventChainId=record.event_chain_id,
    )


class Task(ManagedObject):
    type_name = "Task"

    def __init__(self, context: Any, record: Record) -> None:
        super().__init__(context, record.moid)
        self.record = record

    @property
    def name(self) -> str:
        return self.record.entity_name

    @prop("info")
    def info(self) -> Any:
        return task_info(self.record)

    @prop("info.state")
    def state(self) -> Any:
        return vim.TaskInfo.State(self.record.state)

    @prop("value", "availableField")
    def custom_value(self) -> Any:
        return []

    @operation("CancelTask")
    def cancel(self, call: Call) -> None:  # noqa: ARG002
        if not self.record.cancelable or self.record.done.is_set():
            raise refusal("NotSupported", "this task can't be cancelled")


class TaskManager(ManagedObject):
    type_name = "TaskManager"

    @prop("recentTask")
    def recent_task(self) -> Any:
        return [reference("Task", record.moid) for record in self.context.tasks.recent(limit=50)]

    @prop("maxCollector")
    def max_collector(self) -> int:
        return 32
