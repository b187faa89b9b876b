"""Every link that a person could follow from any page leads to a page."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from fixtures_pages import PagesRig, walk


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PagesRig]:
    made = PagesRig(tmp_path_factory.mktemp("links"))
    yield made
    made.close()


@pytest.mark.parametrize("name", ["anna", "otto", "vera"])
def test_no_link_leads_nowhere_or_to_what_its_reader_may_not_see(rig: PagesRig, name: str) -> None:
    shapes, broken = walk(rig.browser(name).client)
    assert broken == []
    assert len(shapes) > 20
