"""How restore points were found by verifications, as the repository remembers it."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from fixtures_repo_core import STARTED, back_up, new_repository, noise
from vbm.ids import RestorePointId
from vbm.objectstore.local import LocalStore
from vbm.repository.prune import execute_prune, plan_prune
from vbm.repository.verdicts import Mode, Verdict, remember, verdicts, weightiest
from vbm.repository.verify import execute_verify, plan_verify

ONE, TWO = RestorePointId("rp-1"), RestorePointId("rp-2")
HOUR = timedelta(hours=1)


def found(*history: str) -> tuple[Mode, bool]:
    """Of verifications an hour apart, such as ``full+`` and ``quick-``: what is said."""
    made = [
        Verdict(STARTED + HOUR * n, "full" if text.startswith("full") else "quick", text.endswith("+"))
        for n, text in enumerate(history)
    ]
    said = weightiest(reversed(made))
    return said.mode, said.good


@pytest.mark.parametrize(
    ("history", "said"),
    [
        (("quick+",), ("quick", True)),
        (("quick+", "full+"), ("full", True)),
        (("full+", "quick+"), ("full", True)),
        (("full+", "quick-"), ("quick", False)),
        (("full-", "quick+"), ("full", False)),
        (("full-", "full+"), ("full", True)),
        (("quick-", "full+"), ("full", True)),
        (("quick-", "quick+"), ("quick", True)),
    ],
)
def test_a_quick_look_never_hides_what_a_full_one_found(
    history: tuple[str, ...], said: tuple[Mode, bool]
) -> None:
    assert found(*history) == said


def test_the_last_of_each_kind_is_kept_and_goes_with_the_restore_point(tmp_path: Path) -> None:
    with new_repository(LocalStore(tmp_path)) as repo:
        back_up(repo, "rp-1", noise(1, 2))
        back_up(repo, "rp-2", noise(2, 2))
        for number, mode in enumerate(("full", "quick", "full")):
            looked = execute_verify(repo, plan_verify(repo, read_data=mode == "full"))
            assert looked.by_point() == {ONE: True, TWO: True}
            kind: Mode = "full" if mode == "full" else "quick"
            remember(repo.store, looked.by_point(), kind, STARTED + HOUR * number)
        keys = [info.key for info in repo.store.list("verified/rp-1/")]
        assert sorted(keys) == [
            "verified/rp-1/20260301T230000000000-quick-good",
            "verified/rp-1/20260302T000000000000-full-good",
        ]
        last = Verdict(STARTED + 2 * HOUR, "full", good=True)
        assert verdicts(repo.store) == {ONE: last, TWO: last}
        execute_prune(repo, plan_prune(repo, [ONE]))
        assert verdicts(repo.store) == {TWO: last}


def test_names_that_are_none_are_passed_over(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    store.put("verified/rp-1/20260301T230000000000-quick-good", [b""])
    for name in ("rp-1/yesterday", "rp-1/20261341T230000000000-full-bad", "x"):
        store.put(f"verified/{name}", [b""])
    assert verdicts(store) == {ONE: Verdict(STARTED + HOUR, "quick", good=True)}
