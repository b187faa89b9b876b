"""Every link that a person could follow from any page leads to a page."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html.parser import HTMLParser

import pytest

from fixtures_pages import PagesRig

_MANY = re.compile(r"[0-9a-f]{8}-[0-9a-f-]{27}|\d{8}T\d{9}-[0-9a-f]{10}|\d{4}-\d\d(-\d\d)?")


class _Links(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        for name in ("href", "src", "hx-get"):
            link = given.get(name)
            if link and link.startswith("/"):
                self.found.append(link.partition("#")[0])


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PagesRig]:
    made = PagesRig(tmp_path_factory.mktemp("links"))
    yield made
    made.close()


@pytest.mark.parametrize("name", ["anna", "otto", "vera"])
def test_no_link_leads_nowhere_or_to_what_its_reader_may_not_see(rig: PagesRig, name: str) -> None:
    client = rig.browser(name).client
    waiting, shapes, broken = ["/"], {"/"}, []
    while waiting:
        path = waiting.pop()
        answer = client.get(path, headers={"accept": "text/html"})
        if answer.status_code != 200:
            broken.append((path, answer.status_code))
        if not answer.headers["content-type"].startswith("text/html"):
            continue
        links = _Links()
        links.feed(answer.text)
        for link in links.found:
            shape = _MANY.sub("*", link)
            if shape not in shapes:  # one of each kind of object
                shapes.add(shape)
                waiting.append(link)
    assert broken == []
    assert len(shapes) > 20
