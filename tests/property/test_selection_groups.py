"""Selections, resolved by groups of VMs, mean what each rule says of each VM alone."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from vbm.ids import VmUuid
from vbm.policy.selection import Candidate, Selection, select

NAMES = st.sampled_from(("web01", "WEB01", "web[1]", "db 01", "100%", "u-1", "ünï", "a\nb", "x*y", ""))
PATHS = st.sampled_from(("", "prod", "Prod/Web", "prod/web/old", "prod2", "/prod/", "test"))
TAGS = st.frozensets(st.sampled_from(("tier:1", "tier:gold", "gold", "a:b:c")), max_size=3)
ATTRIBUTES = st.dictionaries(
    st.sampled_from(("owner", "os")), st.sampled_from(("anna", "bert", "")), max_size=2
)
UUIDS = st.sampled_from(tuple(VmUuid(f"u-{number}") for number in range(4)))
VMS = st.lists(st.builds(Candidate, NAMES, UUIDS, PATHS, PATHS, TAGS, ATTRIBUTES), max_size=8)
WORDS = st.one_of(NAMES, st.sampled_from(("*", "web*", "w?b01", "U-1", "[", "**", "tier:*", "GOLD", "b:c")))
PAIRS = st.sampled_from(("owner=a*", "owner=*", "os=", "os", "gone=*", "owner=anna=x"))


def lists(of: st.SearchStrategy[str]) -> st.SearchStrategy[tuple[str, ...]]:
    return st.lists(of, max_size=2).map(tuple)


PLAIN = st.builds(Selection, lists(WORDS), lists(PATHS), lists(WORDS), lists(PATHS), lists(PAIRS))
SELECTIONS = st.builds(
    lambda one, exclude: Selection(
        one.vms, one.folders, one.tags, one.resource_pools, one.attributes, exclude
    ),
    PLAIN,
    st.none() | PLAIN,
)


def like(text: str, value: str) -> bool:
    pattern = "".join({"*": ".*", "?": "."}.get(char) or re.escape(char) for char in text)
    return re.fullmatch(pattern, value, re.IGNORECASE | re.DOTALL) is not None


def below(path: str, folder: str) -> bool:
    parts, wanted = (text.strip("/").casefold().split("/") for text in (path, folder))
    return parts == wanted if wanted == [""] else parts[: len(wanted)] == wanted


def rules(one: Selection, vm: Candidate) -> dict[str, bool]:
    """What each rule says of that VM."""
    said = {f"vm {t}": t == vm.name or t.lower() == vm.instance_uuid or like(t, vm.name) for t in one.vms}
    said |= {f"folder {t}": below(vm.folder, t) for t in one.folders}
    said |= {f"tag {t}": any(like(t, x) or like(t, x.split(":")[-1]) for x in vm.tags) for t in one.tags}
    said |= {f"resource pool {t}": below(vm.resource_pool, t) for t in one.resource_pools}
    for text in one.attributes:
        name, _, wanted = text.partition("=")
        said[f"attribute {text}"] = name in vm.attributes and like(wanted, vm.attributes[name])
    return said


@given(VMS, SELECTIONS)
def test_a_selection_means_what_its_rules_say_of_each_vm(vms: list[Candidate], selection: Selection) -> None:
    found = select(vms, selection)
    excluded = selection.exclude or Selection()
    wanted = [
        vm for vm in vms if any(rules(selection, vm).values()) and not any(rules(excluded, vm).values())
    ]
    assert list(found.vms) == wanted
    answered = {label for vm in vms for label, true in rules(selection, vm).items() if true}
    assert set(found.unmatched) == set(rules(selection, Candidate("", VmUuid("")))) - answered
