"""Pictures of every page, empty and full, wide and narrow, light and dark.

``bench/screens.py FOLDER [small] [NAME…]``
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

sys.path[0] = str(
    Path(__file__).resolve().parents[1] / "tests"
)  # in place of this folder, which has a limits.py

from fixtures_filled import FULL, SMALL, Filled
from fixtures_screens import EMPTY_PAGES, VIEWS, Empty, Screens, chromium, full_pages, served


def main() -> None:
    target, *more = sys.argv[1:]
    names = {one for one in more if one != "small"}
    measure = SMALL if "small" in more else FULL
    with tempfile.TemporaryDirectory() as folder, chromium() as browser:
        empty, full = Empty(Path(folder) / "empty"), Filled(Path(folder) / "full", measure)
        for kind, home, pages in (("full", full, full_pages(full)), ("empty", empty, EMPTY_PAGES)):
            with served(home.workspace) as url:
                screens = Screens(browser, home, url)
                for view in VIEWS:
                    for name, path in pages.items():
                        if not names or name in names:
                            file = Path(target) / view.name / f"{kind}-{name}.png"
                            file.parent.mkdir(parents=True, exist_ok=True)
                            screens.show(path, view).screenshot(path=file)
            home.close()
    print(f"pictures in {target}")


if __name__ == "__main__":
    main()
