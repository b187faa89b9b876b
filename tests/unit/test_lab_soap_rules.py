"""Fault rules: what their lines mean, whom they strike, how often, and that processes share them."""

from __future__ import annotations

from pathlib import Path

import pytest

from vbm.errors import InputError
from vbm.lab.faults import Rules, parse_rule


def test_a_line_says_target_object_effect_and_limits() -> None:
    rule = parse_rule(
        "CreateSnapshot_Task object='vm one' fault=TooManySnapshotLevels count=2 probability=0.5 skip=1"
    )
    assert (rule.target, rule.object_name, rule.effect, rule.value) == (
        "CreateSnapshot_Task",
        "vm one",
        "fault",
        "TooManySnapshotLevels",
    )
    assert (rule.count, rule.probability, rule.skip) == (2, 0.5, 1)


@pytest.mark.parametrize(
    "spec",
    [
        "",
        "Login",
        "Login nonsense",
        "Login hang reset",
        "Login delay=soon",
        "Login status=abc",
        "Login hang count=0",
        "Login hang probability=2",
        "Login hang colour=red",
        "Login 'hang",
    ],
)
def test_what_is_no_rule_is_refused(spec: str) -> None:
    with pytest.raises(InputError):
        parse_rule(spec)


def test_the_count_is_used_up() -> None:
    rules = Rules()
    rules.add("Login hang count=2")
    assert [bool(rules.match("Login")) for _ in range(4)] == [True, True, False, False]
    assert rules.list() == []


def test_the_first_ones_pass_where_asked() -> None:
    rules = Rules()
    rules.add("Login hang skip=2 count=1")
    assert [bool(rules.match("login")) for _ in range(4)] == [False, False, True, False]


def test_an_object_is_meant_by_name_or_pattern() -> None:
    rules = Rules()
    rules.add("* object=web* reset")
    assert rules.match("PowerOnVM_Task", ("WEB01", "vm-7"))
    assert not rules.match("PowerOnVM_Task", ("db01",))
    assert not rules.match("PowerOnVM_Task")


def test_paths_match_by_what_they_begin_with_or_by_pattern() -> None:
    rules = Rules()
    rules.add("/folder status=503")
    rules.add("/folder/*-flat.vmdk short")
    assert len(rules.match("/folder/vm/vm-flat.vmdk")) == 2
    assert len(rules.match("/folder/vm/vm.vmx")) == 1
    assert not rules.match("/nfc/x/disk-0.vmdk")


def test_chance_is_the_same_for_the_same_seed() -> None:
    def draws(seed: int) -> list[bool]:
        rules = Rules()
        rules.add(f"Login hang probability=0.5 seed={seed}")
        return [bool(rules.match("Login")) for _ in range(64)]

    assert draws(1) == draws(1)
    assert draws(1) != draws(2)
    assert 16 < sum(draws(1)) < 48


def test_another_process_sets_and_clears_them(tmp_path: Path) -> None:
    mine, other = Rules(tmp_path / "faults.json"), Rules(tmp_path / "faults.json")
    assert not mine.any()
    other.add("Login hang count=2")
    assert mine.any()
    assert mine.match("Login")
    assert other.list()[0].count == 1
    other.clear()
    assert not mine.match("Login")


def test_a_rule_may_be_taken_out_by_its_number() -> None:
    rules = Rules()
    first = rules.add("Login hang")
    rules.add("Logout hang")
    rules.remove(first.id)
    assert [rule.target for rule in rules.list()] == ["Logout"]
