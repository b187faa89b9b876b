"""Descriptors, VMX and OVF files as hosts write them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vbm.disk.ovf import OvfDisk, OvfMachine, parse_ovf, render_ovf
from vbm.disk.vmdk.chain import Format
from vbm.disk.vmdk.descriptor import NO_PARENT, Descriptor, ExtentLine, delta_descriptor, flat_descriptor
from vbm.disk.vmdk.errors import VmdkUnsupportedError
from vbm.disk.vmx import VmxDamagedError, parse_vmx, render_vmx
from vbm.errors import InputError
from vbm.units import GIB, TIB

BASE = """# Disk DescriptorFile
version=1
encoding="windows-1252"
CID=fffffffe
parentCID=ffffffff
createType="vmfs"

# Extent description
RW 67108864 VMFS "web é-flat.vmdk"

# Change Tracking File
changeTrackPath="web-ctk.vmdk"

# The Disk Data Base
#DDB

ddb.adapterType = "lsilogic"
ddb.geometry.cylinders = "4177"
ddb.uuid = "60 00 C2 9b 5e 0c 1d 4e-5b 6d 6c 7e 11 22 33 44"
"""


def test_a_host_s_descriptor_in_its_own_encoding() -> None:
    parsed = Descriptor.parse(BASE.encode("cp1252").replace(b"\n", b"\r\n"))
    assert parsed.cid == 0xFFFFFFFE
    assert not parsed.has_parent
    assert parsed.capacity_bytes == 32 * GIB
    assert parsed.extents == (ExtentLine("RW", 67108864, "VMFS", "web é-flat.vmdk"),)
    assert parsed.other == {"changeTrackPath": "web-ctk.vmdk"}
    assert parsed.ddb["uuid"].startswith("60 00")
    assert not parsed.encrypted
    assert Descriptor.parse(parsed.render()) == parsed


def test_keys_have_no_case_and_the_embedded_text_ends_at_its_padding() -> None:
    text = (
        '# disk descriptorfile\ncid=00000001\nPARENTcid=00000002\ncreatetype="seSparse"\nrw 8 sesparse "d"\n'
    )
    parsed = Descriptor.parse(text.encode() + bytes(200) + b"\xff")
    assert (parsed.cid, parsed.parent_cid, parsed.create_type) == (1, 2, "seSparse")
    assert parsed.has_parent
    assert Format.of(parsed.extents[0].type) is Format.SE_SPARSE


@pytest.mark.parametrize("key", ["encryptionKeys", "ddb.keyID"])
def test_encrypted_disks_are_noticed(key: str) -> None:
    assert Descriptor.parse(f'{BASE}\n{key} = "vmware:key/list/(pair)"\n').encrypted


@pytest.mark.parametrize("extent_type", ["VMFSRDM", "VMFSRAW", "SPARSE", "ZERO", "NONSENSE"])
def test_extents_that_can_not_be_read_are_named(extent_type: str) -> None:
    with pytest.raises(VmdkUnsupportedError, match=extent_type):
        Format.of(extent_type)


def test_made_descriptors_have_the_geometry_of_a_host_s() -> None:
    flat = flat_descriptor(67108864 * 512, "x-flat.vmdk", uuid="60 00")
    assert flat.ddb["geometry.cylinders"] == "4177"
    assert flat.ddb["toolsVersion"] == "2147483647"
    assert (flat.create_type, flat.extents[0].type, flat.parent_cid) == ("vmfs", "VMFS", NO_PARENT)
    child = delta_descriptor("seSparse", 62 * TIB, "x-sesparse.vmdk", "x.vmdk", flat.cid)
    assert (child.cid, child.parent_cid) == (flat.cid, flat.cid)
    for each in (flat, child):
        assert Descriptor.parse(each.render().encode()) == each


@given(st.text(max_size=40))
def test_names_are_rendered_so_that_they_are_read_back_or_refused(name: str) -> None:
    try:
        made = flat_descriptor(512, name)
        text = made.render()
    except VmdkUnsupportedError:
        return
    assert Descriptor.parse(text.encode()) == made


def test_a_vmx_file_of_a_host() -> None:
    data = b'#!/usr/bin/vmware\n.encoding = "UTF-8"\nvirtualHW.version = "19"\r\n\nmemSize=2048\n'
    data += b'DisplayName = "a |22b|22 |7c"\nMEMSIZE = "4096"\n'
    parsed = parse_vmx(data)
    assert parsed["virtualHW.version"] == "19"
    assert parsed["memSize"] == "4096"
    assert parsed["DisplayName"] == 'a "b" |'


@given(
    st.dictionaries(
        st.from_regex(r"[a-z][a-z0-9:._]{0,20}", fullmatch=True),
        st.text(st.characters(exclude_categories=["Cs"]), max_size=40),
        max_size=6,
    )
)
def test_vmx_round_trip(values: dict[str, str]) -> None:
    assert parse_vmx(render_vmx(values)) == {".encoding": "UTF-8"} | values


def test_vmx_files_that_make_no_sense() -> None:
    with pytest.raises(VmxDamagedError, match="line 2"):
        parse_vmx(b'a = "b"\nnonsense\n')
    with pytest.raises(VmxDamagedError, match="encoding"):
        parse_vmx(b'.encoding = "zip"\n')
    with pytest.raises(VmxDamagedError, match="utf-8"):
        parse_vmx(b'a = "\xff"\n')
    with pytest.raises(InputError):
        parse_vmx(bytes(2 << 20))
    with pytest.raises(InputError):
        render_vmx({"a b": "c"})


def test_ovf_round_trip() -> None:
    disks = (OvfDisk("disk-0.vmdk", 40 * GIB, 12345), OvfDisk("ü 1.vmdk", 3 * TIB + 512))
    machine = OvfMachine('web <1> & "2"', 4, 8 * GIB, disks, ("VM Network", "Prüfnetz"), "vmx-19")
    assert parse_ovf(render_ovf(machine)) == machine
