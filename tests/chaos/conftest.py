"""What a run of the matrix leaves behind where a test fails."""

from collections.abc import Generator
from typing import Any

import pytest


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, Any, None]:
    """Name the report of a failed run: it has the timeline of faults and turns, and lies beside every log."""
    outcome = yield
    report = outcome.get_result()
    folder = getattr(item, "funcargs", {}).get("out")
    if report.failed and folder is not None:
        report.sections.append(("chaos report", f"report, history and logs: {folder}"))
