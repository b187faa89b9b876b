"""What people are limited to: places within places, folders whose names begin alike, and nothing in common."""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vbm.policy.scope import EVERYWHERE, Place, Scope, without_repeats
from vbm.policy.selection import Selection

FOLDERS = ("", "prod", "Prod", "prod2", "prod/web", "prod/web/old", "PROD/Web", "test", "prod%", "p_od")
PLACES = st.builds(Place, st.sampled_from(("a", "b")), st.sampled_from(FOLDERS))
SCOPES = st.builds(Scope, st.frozensets(PLACES, max_size=3))
WHERE = tuple(product(("a", "b"), (*FOLDERS, None)))


def test_a_folder_holds_what_lies_below_and_no_namesake() -> None:
    scope = Scope.of(["a/Prod/Web"])
    assert scope.covers("a", "prod/web")
    assert scope.covers("a", "Prod/Web/old")
    for folder in ("", "prod", "prod/web2", "prod/we", "x/prod/web", None):
        assert not scope.covers("a", folder)
    assert not scope.covers("b", "prod/web")
    assert scope.sees("a")
    assert not scope.has_all_of("a")
    assert not scope.sees("b")


def test_places_are_stored_as_text() -> None:
    for place in (Place("a"), Place("a", "prod/web")):
        assert Place.parse(str(place)) == place
    assert Scope.of([]) == EVERYWHERE
    assert EVERYWHERE.covers("a", None)


@given(st.lists(PLACES, max_size=5))
def test_what_is_said_twice_is_kept_once_and_never_lost(places: list[Place]) -> None:
    """A limit that vanished would be no limit."""
    kept = without_repeats(places)
    assert bool(kept) == bool(places)
    assert all(any(one.holds(place) for one in kept) for place in places)
    assert not any(one.holds(other) for one in kept for other in kept if one is not other)


@given(SCOPES, SCOPES)
def test_what_is_narrowed_has_what_both_have(one: Scope, other: Scope) -> None:
    both = one.narrowed(other)
    for vcenter, folder in WHERE:
        assert both.covers(vcenter, folder) == (one.covers(vcenter, folder) and other.covers(vcenter, folder))


@pytest.mark.parametrize(
    ("selection", "covered"),
    [
        (Selection(folders=("prod",)), True),
        (Selection(folders=("Prod/web/", "prod")), True),
        (Selection(folders=("prod",), exclude=Selection(vms=("x*",))), True),
        (Selection(folders=("prod", "prod2")), False),
        (Selection(folders=("",)), False),
        (Selection(folders=("prod",), vms=("web01",)), False),
        (Selection(folders=("prod",), tags=("gold",)), False),
        (Selection(folders=("prod",), resource_pools=("p",)), False),
        (Selection(folders=("prod",), attributes=("owner=*",)), False),
        (Selection(vms=("web01",)), False),
        (Selection(), False),
    ],
)
def test_only_rules_by_folder_are_sure_to_stay_within_folders(selection: Selection, covered: bool) -> None:
    assert Scope.of(["a/prod"]).covers_selection("a", selection) == covered
    assert Scope.of(["a"]).covers_selection("a", selection)
    assert not Scope.of(["b"]).covers_selection("a", selection)
