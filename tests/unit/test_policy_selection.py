"""Which VMs a job means."""

from __future__ import annotations

from vbm.ids import VmUuid
from vbm.policy.selection import Candidate, Selection, select

VMS = [
    Candidate("web01", VmUuid("5000-1"), "Prod/Web", "Gold", frozenset({"backup:daily"}), {"owner": "alice"}),
    Candidate("web[02]", VmUuid("5000-2"), "Prod/Web/Old", "Silver", frozenset({"tier:1"}), {}),
    Candidate(
        "db 01",
        VmUuid("5000-3"),
        "Prod/Database",
        "Gold/Nested",
        frozenset({"backup:daily"}),
        {"owner": "bob"},
    ),
    Candidate("100%", VmUuid("5000-4"), "Production", "", frozenset(), {}),
]


def names(selection: Selection) -> list[str]:
    return [vm.name for vm in select(VMS, selection).vms]


def test_names_uuids_and_patterns() -> None:
    assert names(Selection(vms=("web01", "5000-3"))) == ["web01", "db 01"]
    assert names(Selection(vms=("WEB*",))) == ["web01", "web[02]"]
    assert names(Selection(vms=("web[02]",))) == ["web[02]"]
    assert names(Selection(vms=("???%",))) == ["100%"]


def test_a_folder_means_all_below_it_and_no_namesake() -> None:
    assert names(Selection(folders=("Prod",))) == ["web01", "web[02]", "db 01"]
    assert names(Selection(folders=("/prod/web/",))) == ["web01", "web[02]"]


def test_pools_tags_and_attributes() -> None:
    assert names(Selection(resource_pools=("Gold",))) == ["web01", "db 01"]
    assert names(Selection(tags=("backup:daily",))) == ["web01", "db 01"]
    assert names(Selection(tags=("daily",))) == ["web01", "db 01"]
    assert names(Selection(attributes=("owner=al*",))) == ["web01"]


def test_exclusions_win() -> None:
    assert names(Selection(folders=("Prod",), exclude=Selection(vms=("web*",)))) == ["db 01"]


def test_rules_that_nobody_answers_to_are_named() -> None:
    selected = select(VMS, Selection(vms=("gone", "web01"), tags=("nightly",)))
    assert selected.unmatched == ("vm gone", "tag nightly")


def test_nothing_selects_nothing() -> None:
    assert names(Selection()) == []
    assert Selection().is_empty
