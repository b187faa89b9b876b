"""Every page in Chromium, empty and full: nothing serious by axe, nothing too wide, no failing script."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from fixtures_filled import FULL, SMALL, Filled
from fixtures_screens import (
    EMPTY_PAGES,
    NARROW,
    VIEWS,
    WIDE,
    Empty,
    Screens,
    View,
    chromium,
    full_pages,
    served,
)

pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

if TYPE_CHECKING:
    from playwright.sync_api import Browser

_INSIDE = """() => document.activeElement.closest('dialog[open]') !== null
  || document.activeElement === document.body"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as made:
        yield made


@pytest.fixture(scope="module")
def full(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Screens]:
    filled = Filled(tmp_path_factory.mktemp("full"), SMALL)
    with served(filled.workspace) as url:
        yield Screens(browser, filled, url)
    filled.close()


@pytest.fixture(scope="module")
def empty(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Screens]:
    home = Empty(tmp_path_factory.mktemp("empty"))
    with served(home.workspace) as url:
        yield Screens(browser, home, url)
    home.close()


def findings(screens: Screens, pages: dict[str, str], views: tuple[View, ...]) -> list[str]:
    return [
        f"{name} at {view.name}: {one}"
        for view in views
        for name, path in pages.items()
        for one in screens.wrong(path, view)
    ]


def some(pages: dict[str, str], first: int, step: int = 2) -> dict[str, str]:
    return dict(list(pages.items())[first::step])


def test_many_full_pages_are_sound(full: Screens) -> None:
    pages = full_pages(full.home)
    assert findings(full, some(pages, 0, 3), (View(NARROW, dark=True),)) == []
    assert findings(full, some(pages, 1, 4), (View(WIDE),)) == []


def test_empty_pages_are_sound(empty: Screens) -> None:
    assert findings(empty, some(EMPTY_PAGES, 0), (View(NARROW),)) == []
    assert findings(empty, some(EMPTY_PAGES, 1, 4), (View(WIDE, dark=True),)) == []


def test_the_keyboard_is_enough(full: Screens) -> None:
    page = full.show("/jobs", View())
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip-link"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"
    page.keyboard.press("Tab")
    outline = page.evaluate(
        "getComputedStyle(document.activeElement).outlineStyle + document.activeElement.tagName"
    )
    assert outline == "solidA"
    page.keyboard.press("/")
    assert page.evaluate("document.activeElement.id") == "search"
    page.keyboard.press("Escape")
    page.keyboard.press("g")
    page.keyboard.press("r")
    page.wait_for_url("**/runs")


def test_a_dialog_keeps_the_focus_and_gives_it_back(full: Screens) -> None:
    page = full.show(f"/jobs/{full.home.jobs[0].id}", View())
    opener = page.get_by_role("button", name="Delete", exact=True)
    opener.focus()
    page.keyboard.press("Enter")
    for _ in range(12):
        inside = page.evaluate(_INSIDE)
        assert inside, "the focus left the dialog"
        page.keyboard.press("Tab")
    page.keyboard.press("Escape")
    assert page.locator("dialog[open]").count() == 0
    assert page.evaluate("document.activeElement.textContent.trim()") == "Delete"


def test_the_drawer_of_a_narrow_screen_opens_and_closes_by_keyboard(full: Screens) -> None:
    page = full.show("/vms", View(NARROW, dark=True))
    menu = page.get_by_role("button", name="Menu")
    menu.focus()
    page.keyboard.press("Enter")
    assert menu.get_attribute("aria-expanded") == "true"
    assert page.evaluate("document.activeElement.closest('#side') !== null")
    page.keyboard.press("Escape")
    assert menu.get_attribute("aria-expanded") == "false"
    assert page.evaluate("document.activeElement.getAttribute('aria-label')") == "Menu"


@pytest.mark.soak
def test_every_page_in_every_view_at_full_size(
    browser: Browser, tmp_path_factory: pytest.TempPathFactory
) -> None:
    filled = Filled(tmp_path_factory.mktemp("huge"), FULL)
    with served(filled.workspace) as url:
        assert findings(Screens(browser, filled, url), full_pages(filled), VIEWS) == []
    filled.close()
