"""How processes share a test run (pytest-xdist): what takes longest begins first, and what shares an installation stays
in one process.
"""

import pytest
from xdist.scheduler import LoadScopeScheduling  # type: ignore[import-untyped]  # it has no types

TOGETHER = ("tests/browser/", "tests/compat/", "tests/e2e/")
"""Folders whose files share installations and a broker: one process has them all."""

FIRST = ("tests/chaos/test_matrix.py", "tests/e2e/", "tests/chaos/", "tests/browser/", "tests/compat/", "tests/model/")
"""What takes minutes, longest first; all that follows is short and fills what room is left."""


class Sharing(LoadScopeScheduling):  # type: ignore[misc]
    """Hands out whole files, or whole folders of :data:`TOGETHER`."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.split("::", 1)[0]
        return next((folder for folder in TOGETHER if file.startswith(folder)), file)


def rank(item: pytest.Item) -> int:
    """Where in the run a test belongs; those of one rank keep their order."""
    found = (place for place, start in enumerate(FIRST) if item.nodeid.startswith(start))
    return next(found, len(FIRST))
