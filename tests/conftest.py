"""What every test shares: where a skip is a failure, and programs that others wrote."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile(
    "default", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow], database=None
)
settings.load_profile("default")

_go_bin = Path.home() / "go/bin"
if _go_bin.is_dir():
    os.environ["PATH"] += f"{os.pathsep}{_go_bin}"


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]):  # type: ignore[no-untyped-def]
    """In continuous integration all that the tests need is installed: a skip there hides something."""
    outcome = yield
    report = outcome.get_result()
    if report.skipped and os.environ.get("VBM_SKIP_IS_FAILURE") and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"skipped where nothing may be: {report.longrepr}"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Long campaigns run only when asked for with ``-m soak``."""
    if "soak" in (config.option.markexpr or ""):
        return
    keep = [item for item in items if item.get_closest_marker("soak") is None]
    config.hook.pytest_deselected(items=[item for item in items if item not in keep])
    items[:] = keep
