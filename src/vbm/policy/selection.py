"""Which VMs a job protects, resolved anew at each run."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from vbm.ids import VmUuid
from vbm.policy.folders import lies_in


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
    """Resolve the selection. An empty selection selects nothing."""
    rules = _rules(selection)
    excluded = _rules(selection.exclude) if selection.exclude else []
    answered: set[str] = set()
    chosen = []
    for vm in candidates:
        matching = [label for label, rule in rules if rule(vm)]
        answered.update(matching)
        if matching and not any(rule(vm) for _, rule in excluded):
            chosen.append(vm)
    return Selected(tuple(chosen), tuple(label for label, _ in rules if label not in answered))


class _Rule:
    """One test of a VM; a pattern is compiled once."""

    def __init__(self, kind: str, text: str) -> None:
        self.kind = kind
        self.text = text
        name, _, value = text.partition("=")
        self.attribute = name
        self.pattern = _pattern(value if kind == "attribute" else text)

    def __call__(self, vm: Candidate) -> bool:
        match self.kind:
            case "vm":
                return vm.name == self.text or vm.instance_uuid == self.text.lower() or self._matches(vm.name)
            case "folder":
                return lies_in(vm.folder, self.text)
            case "resource pool":
                return lies_in(vm.resource_pool, self.text)
            case "tag":
                return any(self._matches(tag) or self._matches(tag.rpartition(":")[2]) for tag in vm.tags)
            case _:
                return self.attribute in vm.attributes and self._matches(vm.attributes[self.attribute])

    def _matches(self, value: str) -> bool:
        return self.pattern.fullmatch(value) is not None


def _rules(selection: Selection) -> list[tuple[str, _Rule]]:
    kinds = {
        "vm": selection.vms,
        "folder": selection.folders,
        "tag": selection.tags,
        "resource pool": selection.resource_pools,
        "attribute": selection.attributes,
    }
    return [(f"{kind} {text}", _Rule(kind, text)) for kind, texts in kinds.items() for text in texts]


def _pattern(text: str) -> re.Pattern[str]:
    wild = {"*": ".*", "?": "."}
    return re.compile("".join(wild.get(char) or re.escape(char) for char in text), re.IGNORECASE | re.DOTALL)
