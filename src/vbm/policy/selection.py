"""Which VMs a job protects, resolved anew at each run."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from vbm.ids import VmUuid
from vbm.policy.folders import lies_in

_BY_UUID = "\0"  # before an instance UUID: no name holds it


@dataclass(frozen=True, slots=True)
class Candidate:
    """What a rule may ask of a VM. ``folder`` is its inventory path, ``tags`` are ``category:name`` or names."""

    name: str
    instance_uuid: VmUuid
    folder: str = ""
    resource_pool: str = ""
    tags: frozenset[str] = frozenset()
    attributes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Selection:
    """A VM is selected if any rule names it and ``exclude`` does not.

    ``vms``: names, instance UUIDs, or patterns with ``*`` and ``?`` (brackets are literal: VM names have them).
    ``folders`` and ``resource_pools`` include what lies below. ``attributes``: ``name=pattern``.
    """

    vms: tuple[str, ...] = ()
    folders: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    resource_pools: tuple[str, ...] = ()
    attributes: tuple[str, ...] = ()
    exclude: Selection | None = None

    @property
    def is_empty(self) -> bool:
        return not (self.vms or self.folders or self.tags or self.resource_pools or self.attributes)


@dataclass(frozen=True, slots=True)
class Selected:
    """The VMs, in the order given, and the rules that no VM answers to: vanished VMs, misspelt names."""

    vms: tuple[Candidate, ...]
    unmatched: tuple[str, ...]


def select(candidates: Iterable[Candidate], selection: Selection) -> Selected:
    """Resolve one selection. An empty one selects nothing."""
    return Candidates(candidates).select(selection)


class Candidates:
    """VMs, grouped by what rules look at: a rule is asked once for each folder, not for each VM in it.

    For many selections of the same VMs.
    """

    def __init__(self, vms: Iterable[Candidate]) -> None:
        self.vms = tuple(vms)
        self._groups: dict[str, dict[str, list[int]]] = {}

    def select(self, selection: Selection) -> Selected:
        """Resolve the selection. An empty one selects nothing."""
        found = [(rule, self._answering(rule)) for rule in _rules(selection)]
        chosen = {number for _, numbers in found for number in numbers}
        for rule in _rules(selection.exclude) if selection.exclude else ():
            chosen -= self._answering(rule)
        unmatched = tuple(rule.label for rule, numbers in found if not numbers)
        return Selected(tuple(self.vms[number] for number in sorted(chosen)), unmatched)

    def _answering(self, rule: _Rule) -> set[int]:
        groups = self._grouped(rule)
        found = {number for value, numbers in groups.items() if rule.fits(value) for number in numbers}
        return found.union(*(groups.get(key, ()) for key in rule.keys))

    def _grouped(self, rule: _Rule) -> dict[str, list[int]]:
        """By what such rules look at: the numbers of the VMs that have it."""
        if rule.looks_at not in self._groups:
            groups: dict[str, list[int]] = {}
            for number, vm in enumerate(self.vms):
                for value in rule.values(vm):
                    groups.setdefault(value, []).append(number)
            self._groups[rule.looks_at] = groups
        return self._groups[rule.looks_at]


class _Rule:
    """One test of a VM. ``keys``: values that fit whatever ``fits`` says of them."""

    def __init__(self, kind: str, text: str) -> None:
        self.label = f"{kind} {text}"
        self.kind, self._text = kind, text
        name, _, value = text.partition("=")
        self._attribute = name
        self._matches = _pattern(value if kind == "attribute" else text).fullmatch
        self.looks_at = f"attribute {name}" if kind == "attribute" else kind
        self.keys = (f"{_BY_UUID}{text.lower()}",) if kind == "vm" else ()

    def values(self, vm: Candidate) -> Iterable[str]:
        match self.kind:
            case "vm":
                return (vm.name, f"{_BY_UUID}{vm.instance_uuid}")
            case "folder":
                return (vm.folder,)
            case "resource pool":
                return (vm.resource_pool,)
            case "tag":
                return vm.tags
            case _:
                return (vm.attributes[self._attribute],) if self._attribute in vm.attributes else ()

    def fits(self, value: str) -> bool:
        match self.kind:
            case "vm":
                return value[:1] != _BY_UUID and (value == self._text or self._matches(value) is not None)
            case "folder" | "resource pool":
                return lies_in(value, self._text)
            case "tag":
                return bool(self._matches(value) or self._matches(value.rpartition(":")[2]))
            case _:
                return self._matches(value) is not None


def _rules(selection: Selection) -> list[_Rule]:
    kinds = {
        "vm": selection.vms,
        "folder": selection.folders,
        "tag": selection.tags,
        "resource pool": selection.resource_pools,
        "attribute": selection.attributes,
    }
    return [_Rule(kind, text) for kind, texts in kinds.items() for text in texts]


def _pattern(text: str) -> re.Pattern[str]:
    wild = {"*": ".*", "?": "."}
    return re.compile("".join(wild.get(char) or re.escape(char) for char in text), re.IGNORECASE | re.DOTALL)
