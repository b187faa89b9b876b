"""Pages of changed areas: what fits together is taken, everything else means a full read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_vsphere_devices import GOOD

from vbm.disk.extents import Extent
from vbm.ids import ChangeId, MoRef
from vbm.units import KIB, MIB
from vbm.vsphere import cbt
from vbm.vsphere.faults import ConnectionLostError, translate
from vbm.vsphere.soap import vim, vmodl

GRAIN = 64 * KIB
DISK = replace(GOOD, capacity_bytes=8 * MIB, change_id=ChangeId("52 de/7"))
Answer = Callable[[int, str], Any]


class Answering:
    """Stands where a session stands; every query is answered by a function of offset and change id."""

    def __init__(self, answer: Answer, version: str = "8.0.3.0") -> None:
        self.about = {"api_version": version}
        self.asked: list[int] = []
        self._answer = answer

    def vm(self, _moref: str) -> Answering:
        return self

    def snapshot(self, moref: str) -> str:
        return moref

    def read(self, make: Callable[[Any], Any]) -> Any:
        try:
            return make(None)
        except Exception as error:
            raise translate(error, "vc") from error

    def QueryChangedDiskAreas(self, snapshot: str, deviceKey: int, startOffset: int, changeId: str) -> Any:  # noqa: N802, N803
        self.asked.append(startOffset)
        return self._answer(startOffset, changeId)


def _page(start: int, length: int, *areas: tuple[int, int]) -> Any:
    kind = vim.VirtualMachine.DiskChangeInfo
    return kind(
        startOffset=start,
        length=length,
        changedArea=[kind.DiskChangeExtent(start=s, length=n) for s, n in areas],
    )


def _ask(session: Answering, disk: Any = DISK, change_id: str = "52 de/3") -> list[Extent]:
    return cbt.changed_areas(session, MoRef("vm-1"), MoRef("snapshot-1"), disk, ChangeId(change_id))  # type: ignore[arg-type]


def test_pages_are_followed_to_the_disks_end_also_through_empty_ones() -> None:
    half = 4 * MIB

    def answer(offset: int, _change_id: str) -> Any:
        if offset == 0:
            return _page(0, 2 * MIB, (0, GRAIN))
        if offset == 2 * MIB:
            return _page(2 * MIB, 2 * MIB)
        return _page(half, half, (half, GRAIN), (half + GRAIN, GRAIN), (8 * MIB - GRAIN, GRAIN))

    session = Answering(answer)
    assert _ask(session) == [Extent(0, GRAIN), Extent(half, 2 * GRAIN), Extent(8 * MIB - GRAIN, GRAIN)]
    assert session.asked == [0, 2 * MIB, half]  # and never at the capacity, which vSphere refuses


@pytest.mark.parametrize(
    ("page", "word"),
    [
        (_page(GRAIN, 8 * MIB - GRAIN), "answered from"),
        (_page(0, 0), "answered from"),
        (_page(0, 8 * MIB + GRAIN), "has 8388608"),
        (_page(0, 8 * MIB, (GRAIN, 0)), "does not fit"),
        (_page(0, 8 * MIB, (GRAIN, GRAIN), (0, GRAIN)), "does not fit"),
        (_page(0, 8 * MIB, (0, 2 * GRAIN), (GRAIN, GRAIN)), "does not fit"),
        (_page(0, 4 * MIB, (4 * MIB, GRAIN)), "does not fit"),
        (_page(0, 8 * MIB, (8 * MIB - GRAIN, 2 * GRAIN)), "does not fit"),
    ],
)
def test_an_answer_that_does_not_fit_together_is_not_used(page: Any, word: str) -> None:
    with pytest.raises(cbt.CbtUnusableError, match=word):
        _ask(Answering(lambda _o, _c: page))


def test_pages_that_creep_end() -> None:
    session = Answering(lambda offset, _c: _page(offset, 512))
    with pytest.raises(cbt.CbtUnusableError, match="don't come to an end"):
        _ask(session)
    assert len(session.asked) < 200


def test_ids_of_another_tracking_are_not_even_asked_for() -> None:
    session = Answering(lambda _o, _c: pytest.fail("asked"))
    with pytest.raises(cbt.CbtUnusableError, match="begun anew"):
        _ask(session, change_id="53 aa/3")
    with pytest.raises(cbt.CbtUnusableError, match="not tracked"):
        _ask(session, replace(DISK, change_id=None))


@pytest.mark.parametrize("key", ["noTrack", "noEpoch", "cannotGetChanges"])
def test_file_faults_give_their_reason(key: str) -> None:
    message = vmodl.LocalizableMessage(key=f"vim.hostd.vmsvc.cbt.{key}", message="said so")

    def answer(_offset: int, _change_id: str) -> Any:
        raise vim.fault.FileFault(file="x", faultMessage=[message])

    with pytest.raises(cbt.CbtUnusableError, match=key) as caught:
        _ask(Answering(answer))
    assert caught.value.reason
    assert "Hard disk 1" in caught.value.message


def test_refused_parameters_and_privileges_give_their_reason() -> None:
    def refuse(_offset: int, _change_id: str) -> Any:
        raise vmodl.fault.InvalidArgument(invalidProperty="changeId")

    def forbid(_offset: int, _change_id: str) -> Any:
        raise vim.fault.NoPermission(privilegeId="VirtualMachine.Provisioning.DiskRandomRead")

    with pytest.raises(cbt.CbtUnusableError, match="changeId"):
        _ask(Answering(refuse))
    with pytest.raises(cbt.CbtUnusableError, match="DiskRandomRead"):
        _ask(Answering(forbid))


def test_a_lost_connection_is_not_taken_for_lost_tracking() -> None:
    def lose(_offset: int, _change_id: str) -> Any:
        raise ConnectionResetError

    with pytest.raises(ConnectionLostError):
        _ask(Answering(lose))


@pytest.mark.parametrize(
    ("change", "version"),
    [
        ({"datastore_type": "NFS"}, "8.0"),
        ({"datastore_type": "vsan"}, "8.0"),
        ({"change_id": None}, "8.0"),
        ({"chain_depth": 2}, "8.0"),
        ({"backing": "se-sparse"}, "8.0"),
        ({}, "6.5"),
    ],
)
def test_allocated_areas_are_not_asked_for_where_they_may_be_wrong(
    change: dict[str, Any], version: str
) -> None:
    session = Answering(lambda _o, _c: pytest.fail("asked"), version)
    disk = replace(DISK, **change)
    assert cbt.allocated_areas(session, MoRef("vm-1"), MoRef("s"), disk) is None  # type: ignore[arg-type]


def test_allocated_areas_are_asked_for_with_a_star_and_refusal_means_read_all() -> None:
    def answer(_offset: int, change_id: str) -> Any:
        assert change_id == "*"
        return _page(0, 8 * MIB, (0, MIB))

    def refuse(_offset: int, _change_id: str) -> Any:
        raise vim.fault.FileFault(file="x")

    ask = cbt.allocated_areas
    assert ask(Answering(answer), MoRef("v"), MoRef("s"), DISK) == [Extent(0, MIB)]  # type: ignore[arg-type]
    assert ask(Answering(refuse), MoRef("v"), MoRef("s"), DISK) is None  # type: ignore[arg-type]


@settings(max_examples=60)
@given(grains=st.sets(st.integers(0, 127), max_size=60), per_page=st.integers(1, 5), reach=st.integers(1, 64))
def test_whatever_the_paging_the_areas_are_those_that_changed(
    grains: set[int], per_page: int, reach: int
) -> None:
    """A server may end a page after some areas or after some distance; nothing is lost or doubled."""

    def answer(offset: int, _change_id: str) -> Any:
        first = offset // GRAIN
        here = sorted(g for g in grains if first <= g < first + reach)
        end = min(first + reach, 128)
        if len(here) > per_page:
            here = here[:per_page]
            end = here[-1] + 1
        return _page(offset, (end - first) * GRAIN, *((g * GRAIN, GRAIN) for g in here))

    areas = _ask(Answering(answer))
    covered = {g for a in areas for g in range(a.start // GRAIN, a.end // GRAIN)}
    assert covered == grains
    assert all(a.end < b.start for a, b in pairwise(areas))
