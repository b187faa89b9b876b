"""ManagedEntity: what everything in the inventory has in common."""

from __future__ import annotations

from typing import Any

from vbm.lab.objects.base import ManagedObject, prop, task_operation
from vbm.lab.soap import Call
from vbm.lab.tasks import Task
from vbm.lab.tree import name_of, parent_of, ref_of, wire_name
from vbm.lab.vmodl import reference, vim


class ManagedEntity(ManagedObject):
    """An object of the inventory tree."""

    @property
    def state(self) -> Any:
        return self.context.state

    @property
    def name(self) -> str:
        return name_of(self.state, self.moid)

    @prop("name")
    def _name(self) -> str:
        return wire_name(self.name)

    @prop("parent")
    def parent(self) -> Any:
        return ref_of(self.state, parent_of(self.state, self.moid))

    @prop("overallStatus")
    def overall_status(self) -> str:
        return "green"

    @prop("configStatus")
    def config_status(self) -> str:
        return "green"

    @prop("configIssue")
    def config_issue(self) -> Any:
        return []

    @prop("effectiveRole")
    def effective_role(self) -> Any:
        return [-1]

    @prop("permission")
    def permission(self) -> Any:
        return []

    @prop("disabledMethod")
    def disabled_method(self) -> Any:
        return []

    @prop("alarmActionsEnabled")
    def alarm_actions_enabled(self) -> bool:
        return True

    @prop("declaredAlarmState", "triggeredAlarmState")
    def alarm_state(self) -> Any:
        return []

    @prop("recentTask")
    def recent_task(self) -> Any:
        return [reference("Task", task.moid) for task in self.context.tasks.recent(self.ref, 20)]

    @prop("tag")
    def tag(self) -> Any:
        return [vim.Tag(key=tag) for tag in self.state.tags.get(self.moid, [])]

    @prop("availableField")
    def available_field(self) -> Any:
        return field_definitions(self.state)

    @prop("value", "customValue")
    def custom_value(self) -> Any:
        values = self.state.custom_values.get(self.moid, {})
        return [vim.CustomFieldsManager.StringValue(key=key, value=value) for key, value in values.items()]

    @task_operation("Rename_Task")
    def rename(self, call: Call, task: Task) -> None:  # noqa: ARG002
        self.state.rename(self.moid, call.args.newName)


def field_definitions(state: Any) -> list[Any]:
    """Custom fields as the API defines them."""
    return [
        vim.CustomFieldsManager.FieldDef(key=key, name=name, type=str)
        for key, name in state.custom_fields.items()
    ]
