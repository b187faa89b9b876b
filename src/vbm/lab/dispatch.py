"""From a parsed call to its result: session, privileges, licence, fault rules, object, operation, task."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from vbm.lab.context import Context, who
from vbm.lab.errors import make_fault, refusal, to_fault
from vbm.lab.faults import Rule
from vbm.lab.injection import after, before
from vbm.lab.objects.base import ManagedObject
from vbm.lab.privileges import needed
from vbm.lab.soap import Call
from vbm.lab.tasks import Task
from vbm.lab.vmodl import reference

_FREE_READS = ("System.", "Sessions.", "Datastore.Browse")
_IN_TASK = {"fault", "never-ends", "leave-consolidation", "rate"}
_WITHOUT_LOGIN = {"Login", "RetrieveServiceContent", "Logout", "SessionIsActive", "LoginBySSPI"}


def invoke(context: Context, call: Call, rules: tuple[Rule, ...], connection: Any = None) -> Any:
    """The result of a call. Raises WireFault or LabFault; HangUp and HttpError where a rule orders it."""
    _require_login(call)
    target = context.find(call.this, call.session)
    names = (target.moid, target.name, *target.also_named)
    outer = [rule for rule in rules if not _strikes_task(rule, call)]
    before(context, outer, connection, names)
    _require_privileges(context, call, target)
    _require_licence(context, call, target)
    if call.method in target.tasks:
        result = _start_task(context, call, target, rules)
    elif call.method == "Fetch":
        result = target.value(call.args.prop)
    elif call.method in target.operations:
        result = target.operations[call.method](target, call)
    else:
        raise _not_offered(call, target)
    after(context, outer, connection, names)
    return result


def _require_login(call: Call) -> None:
    if call.session is not None or call.method in _WITHOUT_LOGIN:
        return
    if call.method == "Fetch" and call.this._moId == "ServiceInstance":
        return
    raise refusal("NotAuthenticated", object=call.this, privilegeId=call.info.privId or "System.View")


def _privileges(call: Call, target: ManagedObject) -> list[str]:
    return needed(call.method, call.info.privId, target.type_name, call.args)


def _require_privileges(context: Context, call: Call, target: ManagedObject) -> None:
    if call.session is None:
        return
    for privilege in _privileges(call, target):
        if not call.session.user.may(privilege):
            context.log("no-permission", method=call.method, object=target.name, privilege=privilege)
            raise refusal("NoPermission", object=call.this, privilegeId=privilege)


def _require_licence(context: Context, call: Call, target: ManagedObject) -> None:
    reads = all(privilege.startswith(_FREE_READS) for privilege in _privileges(call, target))
    if context.options.licence == "free" and not reads:
        raise refusal("RestrictedVersion")


def _not_offered(call: Call, target: ManagedObject) -> Exception:
    declared = issubclass(target.vim_type, call.info.type)
    name = "NotSupported" if declared else "MethodNotFound"
    text = f"{call.method} is not offered by {target.type_name}"
    return refusal(name, text, receiver=call.this, method=call.method)


def _strikes_task(rule: Rule, call: Call) -> bool:
    """Whether a rule acts within the task instead of upon the call."""
    return bool(call.info.isTask) and rule.effect in _IN_TASK and rule.when != "call"


def _start_task(context: Context, call: Call, target: ManagedObject, rules: tuple[Rule, ...]) -> Any:
    task = context.tasks.create(call.method, call.this, target.name, who(call.session))
    work = target.tasks[call.method]
    inner = [rule for rule in rules if _strikes_task(rule, call)]
    task.effects = {rule.effect: rule.value for rule in inner}

    def body(running: Task) -> Any:
        return _work(context, inner, lambda: work(target, call, running))

    context.tasks.run(task, body, to_fault)
    return reference("Task", task.moid)


def _work(context: Context, rules: list[Rule], work: Callable[[], Any]) -> Any:
    if context.options.task_delay_seconds:
        context.stopping.wait(context.options.task_delay_seconds)
    for rule in rules:
        if rule.effect == "never-ends":
            context.stopping.wait()
        elif rule.effect == "fault" and rule.when != "after":
            raise refusal(rule.value)
    result = work()
    context.changes.notify()
    for rule in rules:
        if rule.effect == "fault" and rule.when == "after":
            raise refusal(rule.value)
    return result


def unknown_method(method: str) -> Any:
    """The fault for a method that no type of the API has."""
    return make_fault(
        "MethodNotFound", f"unknown method {method}", method=method, receiver=reference("Folder", "")
    )
