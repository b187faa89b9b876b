"""What a property filter selects: objects found by walking traversal specs, and the paths wanted of each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from vbm.lab.context import Context
from vbm.lab.errors import WireFault, make_fault, refusal, to_fault
from vbm.lab.model import LabFault
from vbm.lab.objects.base import ManagedObject
from vbm.lab.soap import element
from vbm.lab.vmodl import support, type_name


@dataclass(slots=True)
class Content:
    """One object as a filter sees it: property texts by path, faults by path."""

    ref: Any
    values: dict[str, str]
    missing: dict[str, str]


class Evaluation:
    """One pass over a filter's objects. Objects come lazily, each once, parents first."""

    def __init__(self, context: Context, session: Any, spec: Any, version: str) -> None:
        self._context = context
        self._session = session
        self._spec = spec
        self._version = version
        self._named: dict[str, Any] = {}
        self._wanted: dict[type, list[str] | None] = {}
        for item in spec.objectSet:
            self._name_specs(item.selectSet)

    def _name_specs(self, specs: list[Any]) -> None:
        for spec in specs:
            if not hasattr(spec, "selectSet"):
                continue
            if spec.name:
                if self._named.get(spec.name) is spec:
                    continue
                self._named[spec.name] = spec
            self._name_specs(spec.selectSet)

    def contents(self) -> Iterator[Content]:
        """Every selected object with its properties. ManagedObjectNotFound for a root that is gone."""
        seen: set[tuple[str, str]] = set()
        for target in self._selected():
            key = (target.type_name, target.moid)
            paths = self._paths(target)
            if paths is None or key in seen:
                continue
            seen.add(key)
            yield self._content(target, paths)

    def _selected(self) -> Iterator[ManagedObject]:
        for item in self._spec.objectSet:
            try:
                root = self._context.find(item.obj, self._session)
            except (LabFault, WireFault):
                if self._spec.reportMissingObjectsInResults:
                    continue
                raise
            yield from self._walk(root, bool(item.skip), item.selectSet)

    def _walk(self, root: ManagedObject, skip: bool, selections: list[Any]) -> Iterator[ManagedObject]:
        visited: set[tuple[str, int]] = set()
        stack = [(root, skip, selections)]
        while stack:
            target, skipped, specs = stack.pop()
            if not skipped:
                yield target
            following = []
            for spec in specs:
                full = self._resolve(spec)
                if not issubclass(target.vim_type, full.type) or (target.moid, id(full)) in visited:
                    continue
                visited.add((target.moid, id(full)))
                following += [
                    (child, bool(full.skip), full.selectSet) for child in self._step(target, full.path)
                ]
            stack.extend(reversed(following))

    def _resolve(self, spec: Any) -> Any:
        if hasattr(spec, "selectSet"):
            return spec
        if spec.name not in self._named:
            raise refusal("InvalidArgument", f"no selection named {spec.name!r}", invalidProperty="selectSet")
        return self._named[spec.name]

    def _step(self, target: ManagedObject, path: str) -> Iterator[ManagedObject]:
        found = target.value(path)
        for ref in found if isinstance(found, list) else [found]:
            if not isinstance(ref, support.ManagedObject):
                continue
            try:
                yield self._context.find(ref, self._session)
            except (LabFault, WireFault):
                continue  # went away meanwhile

    def _paths(self, target: ManagedObject) -> list[str] | None:
        """What is wanted of an object of that type; None where no property spec is about it."""
        kind = target.vim_type
        if kind not in self._wanted:
            self._wanted[kind] = self._paths_of(target)
        return self._wanted[kind]

    def _paths_of(self, target: ManagedObject) -> list[str] | None:
        paths: dict[str, None] = {}
        found = False
        for spec in self._spec.propSet:
            if issubclass(target.vim_type, spec.type):
                found = True
                paths.update(dict.fromkeys(target.all_paths() if spec.all else spec.pathSet))
        return list(paths) if found else None

    def _content(self, target: ManagedObject, paths: list[str]) -> Content:
        content = Content(target.ref, {}, {})
        cache = self._context.texts.of(target, self._version)
        for path in paths:
            kept = target.cacheable(path)
            text = cache.get(path) if kept else None
            if text is None:
                try:
                    text = element("val", target.value(path), object, self._version)
                except (LabFault, WireFault) as error:
                    self._miss(content, path, to_fault(error))
                    continue
                if kept:
                    cache[path] = text
            if text:
                content.values[path] = text
        return content

    def _miss(self, content: Content, path: str, fault: Any) -> None:
        if type_name(fault) == "InvalidProperty":
            raise WireFault(fault)
        if type_name(fault) == "ManagedObjectNotFound":
            fault = make_fault("ManagedObjectNotFound", obj=content.ref)
        content.missing[path] = element(
            "fault", fault, support.GetVmodlType("vmodl.MethodFault"), self._version
        )


class Texts:
    """Property texts already rendered, by object and revision: thousands of VMs are rendered once.

    Bounded by ``limit`` objects; which ones are dropped does not matter.
    """

    def __init__(self, limit: int = 20_000) -> None:
        self._limit = limit
        self._by_object: dict[tuple[str, str], tuple[int, dict[str, str]]] = {}

    def of(self, target: ManagedObject, version: str) -> dict[str, str]:
        """The texts of the object as it is now; an empty throw-away where it can't be cached."""
        revision = target.revision
        if revision is None:
            return {}
        key = (target.moid, version)
        entry = self._by_object.get(key)
        if entry is None or entry[0] != revision:
            if len(self._by_object) >= self._limit:
                self._by_object.clear()
            entry = self._by_object[key] = (revision, {})
        return entry[1]


def render(tag: str, content: Content) -> str:
    """ObjectContent as XML."""
    ref = content.ref
    parts = [f'<{tag}><obj type="{type_name(ref)}">{escape_text(ref._moId)}</obj>']
    parts += [f"<propSet><name>{path}</name>{text}</propSet>" for path, text in content.values.items()]
    parts += [f"<missingSet><path>{path}</path>{text}</missingSet>" for path, text in content.missing.items()]
    parts.append(f"</{tag}>")
    return "".join(parts)


def escape_text(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;")
