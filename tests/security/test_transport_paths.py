"""Datastore paths that would lead out of the datastore or say something else in a URL."""

from __future__ import annotations

from urllib.parse import parse_qs, unquote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vbm.errors import InputError
from vbm.vsphere.datastore_path import DatastorePath


@pytest.mark.parametrize(
    "text",
    [
        "[ds] ../other/x.vmdk",
        "[ds] a/../../x.vmdk",
        "[ds] a/./x",
        "[ds] /etc/passwd",
        "[ds] a//b",
        "[ds] ",
        "[ds]",
        "[] a",
        "a/b",
        "",
        "[ds] a\0b",
        "[ds] a\nb",
        "[d\ns] a",
        "[ds] " + "a/" * 2000 + "b",
    ],
)
def test_what_is_no_path_is_refused(text: str) -> None:
    with pytest.raises(InputError):
        DatastorePath.parse(text)


_NAMES = st.text(
    st.characters(blacklist_categories=("Cs", "Cc"), blacklist_characters="/"), min_size=1, max_size=20
).filter(lambda s: s not in {".", ".."} and not s.startswith(" "))
_STORES = _NAMES.filter(lambda s: "]" not in s)


@given(_STORES, st.lists(_NAMES, min_size=1, max_size=4), _NAMES)
def test_a_path_comes_back_from_its_text_and_its_url(
    store: str, segments: list[str], datacenter: str
) -> None:
    path = DatastorePath(store, "/".join(segments))
    assert DatastorePath.parse(str(path)) == path
    parts = urlsplit(path.url(datacenter))
    assert unquote(parts.path) == "/folder/" + path.path
    assert parse_qs(parts.query, keep_blank_values=True) == {"dcPath": [datacenter], "dsName": [store]}
    assert not parts.fragment
    assert path.sibling("x").folder == path.folder
