"""What all managed objects share: properties by path, operations by name, made anew for each call."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, ClassVar, TypeVar

from vbm.lab.context import Context
from vbm.lab.errors import refusal
from vbm.lab.soap import Call
from vbm.lab.tasks import Task
from vbm.lab.vmodl import reference, support

F = TypeVar("F", bound=Callable[..., Any])

_SEGMENT = re.compile(r"(\w+)(?:\[\"?([^\]\"]*)\"?\])?")


def operation(name: str) -> Callable[[F], F]:
    """Marks a method as answering that call: ``def f(self, call) -> wire value``."""

    def mark(function: F) -> F:
        function.__dict__["wire_operation"] = name
        return function

    return mark


def task_operation(name: str) -> Callable[[F], F]:
    """Marks a method as the work of that ``…_Task``: ``def f(self, call, task) -> result``, in its own thread."""

    def mark(function: F) -> F:
        function.__dict__["wire_task"] = name
        return function

    return mark


def prop(*paths: str) -> Callable[[F], F]:
    """Marks a method as building the property of that path (``config``, or deeper as a short cut)."""

    def mark(function: F) -> F:
        function.__dict__["wire_properties"] = paths
        return function

    return mark


class ManagedObject:
    """One object of the inventory or one service, for the length of one call.

    ``type_name`` is its wsdl type. Values of whole properties are built once and kept meanwhile.
    """

    type_name: ClassVar[str]
    operations: ClassVar[dict[str, Callable[[Any, Call], Any]]] = {}
    tasks: ClassVar[dict[str, Callable[[Any, Call, Task], Any]]] = {}
    properties: ClassVar[dict[str, Callable[[Any], Any]]] = {}

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls.operations = dict(cls.operations)
        cls.tasks = dict(cls.tasks)
        cls.properties = dict(cls.properties)
        for function in vars(cls).values():
            marks = getattr(function, "__dict__", {})
            if "wire_operation" in marks:
                cls.operations[marks["wire_operation"]] = function
            if "wire_task" in marks:
                cls.tasks[marks["wire_task"]] = function
            for path in marks.get("wire_properties", ()):
                cls.properties[path] = function

    def __init__(self, context: Context, moid: str) -> None:
        self.context = context
        self.moid = moid
        self._built: dict[str, Any] = {}

    @property
    def ref(self) -> Any:
        return reference(self.type_name, self.moid)

    @property
    def vim_type(self) -> Any:
        return support.GetWsdlType("urn:vim25", self.type_name)

    @property
    def name(self) -> str:
        """What people call it; for the log, tasks and fault rules."""
        return self.moid

    @property
    def also_named(self) -> tuple[str, ...]:
        """More names under which a fault rule may mean it."""
        return ()

    @property
    def revision(self) -> int | None:
        """Changes whenever a cacheable property may have; None = there are none."""
        return None

    def cacheable(self, path: str) -> bool:  # noqa: ARG002 - for those that have some
        """Whether the property depends on nothing but ``revision``."""
        return False

    def value(self, path: str) -> Any:
        """The property at a path such as ``config.hardware.device``; None where unset. InvalidProperty."""
        short = self.properties.get(path)
        if short is not None:
            return self._build(path, short)
        first, *rest = self._segments(path)
        build = self.properties.get(first[0])
        if build is None and not self._declared(first[0]):
            raise refusal("InvalidProperty", f"no property {path!r} of {self.type_name}", name=path)
        value = self._build(first[0], build) if build is not None else None
        return self._walk(value, first[1], rest, path)

    def _declared(self, name: str) -> bool:
        return any(info.name == name for info in self.vim_type._GetPropertyList())

    def _build(self, path: str, build: Callable[[Any], Any]) -> Any:
        if path not in self._built:
            value = build(self)
            if "." not in path and value is not None:
                value = coerce(value, self.vim_type._GetPropertyInfo(path).type)
            self._built[path] = value
        return self._built[path]

    def _segments(self, path: str) -> list[tuple[str, str | None]]:
        segments = []
        for text in _split(path):
            match = _SEGMENT.fullmatch(text)
            if match is None:
                raise refusal("InvalidProperty", f"not a property path: {path!r}", name=path)
            segments.append((match[1], match[2]))
        if not segments:
            raise refusal("InvalidProperty", "an empty property path", name=path)
        return segments

    def _walk(self, value: Any, key: str | None, rest: list[tuple[str, str | None]], path: str) -> Any:
        value = _keyed(value, key)
        for name, next_key in rest:
            if value is None:
                return None
            if not isinstance(value, support.DataObject) or not _has(value, name):
                raise refusal("InvalidProperty", f"no property {path!r} of {self.type_name}", name=path)
            value = _keyed(coerce(getattr(value, name), value._GetPropertyInfo(name).type), next_key)
        return value

    def all_paths(self) -> list[str]:
        """The names of all whole properties that this lab fills."""
        return [path for path in self.properties if "." not in path]


def coerce(value: Any, kind: Any) -> Any:
    """The value as the declared type has it, which must be known where it goes out as an untyped property."""
    if value is None or type(value) is kind:
        return value
    if isinstance(value, list):
        return value if isinstance(value, support.Array) else kind(value)
    if kind is not bool and issubclass(kind, (int, float, str)) and isinstance(value, (int, float, str)):
        return kind(value)
    return value


def _split(path: str) -> list[str]:
    return re.findall(r"(?:[^.\[]|\[[^\]]*\])+", path)


def _keyed(value: Any, key: str | None) -> Any:
    if key is None or value is None:
        return value
    return next((item for item in value if str(getattr(item, "key", None)) == key), None)


def _has(value: Any, name: str) -> bool:
    return any(info.name == name for info in value._GetPropertyList())
