"""Full or incremental: each reason for a full, in words."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest

from vbm.engine.decision import decide
from vbm.ids import ChangeId, DiskKey
from vbm.vsphere.model import VirtualDisk

GIB = 1024**3
EARLIER = ChangeId("52 DE C0/3")
DISK = VirtualDisk(
    key=DiskKey(2000),
    label="Hard disk 1",
    capacity_bytes=4 * GIB,
    file_name="[ds] a/a.vmdk",
    uuid="6000C29A-1",
    disk_object_id="1-2000",
    change_id=ChangeId("52 de c0/7"),
    backing="flat",
    mode="persistent",
    sharing="sharingNone",
    thin=True,
    encrypted=False,
    datastore="ds",
    datastore_type="VMFS",
    controller_key=1000,
    unit_number=0,
    bus_sharing="noSharing",
    chain_depth=1,
)


@dataclass(frozen=True)
class Parent:
    disk_uuid: str | None = "6000c29a-1"
    capacity_bytes: int | None = 4 * GIB
    change_id: ChangeId | None = EARLIER


def test_what_fits_is_incremental_from_the_parents_change_id() -> None:
    decision = decide(DISK, Parent())
    assert (decision.mode, decision.change_id, decision.reset_cbt) == ("incremental", "52 DE C0/3", False)


@pytest.mark.parametrize(
    ("disk", "parent", "words"),
    [
        (DISK, None, "added"),
        (replace(DISK, uuid="6000C29A-2"), Parent(), "replaced"),
        (replace(DISK, capacity_bytes=5 * GIB), Parent(), "capacity changed from 4 GiB to 5 GiB"),
        (replace(DISK, change_id=None), Parent(), "not active"),
        (DISK, Parent(change_id=None), "no change id"),
        (replace(DISK, change_id=ChangeId("ff/1")), Parent(), "begun anew"),
    ],
)
def test_every_reason_for_a_full_is_said(disk: VirtualDisk, parent: Parent | None, words: str) -> None:
    decision = decide(disk, parent)
    assert decision.mode == "full"
    assert words in decision.reason
    assert decision.change_id is None


def test_a_stream_is_always_read_whole() -> None:
    assert "whole disks" in decide(DISK, Parent(), random_read=False).reason


def test_what_speaks_against_every_disk_comes_first() -> None:
    assert decide(DISK, Parent(), why_full="a full read was asked for").reason == "a full read was asked for"


def test_tracking_that_went_on_through_a_growth_is_reset() -> None:
    grown = replace(DISK, capacity_bytes=5 * GIB)
    assert decide(grown, Parent()).reset_cbt
    assert not decide(replace(grown, change_id=ChangeId("ff/1")), Parent()).reset_cbt
