"""How processes share a test run (pytest-xdist): what starts installations stays in one process, all else is shared."""

import pytest
from xdist.scheduler import LoadScopeScheduling  # type: ignore[import-untyped]  # it has no types

INSTALLATIONS = ("tests/chaos/test_matrix.py", "tests/chaos/", "tests/e2e/", "tests/browser/", "tests/compat/")
"""What starts whole installations, in the order in which it runs: one after the other, in one process. They share
brokers and stacks, and two of them at once are more than a small machine has to give.
"""

FIRST = (*INSTALLATIONS, "tests/model/", "libs/runtime/", "libs/client/")
"""What takes longest begins first; all that follows is short."""


class Sharing(LoadScopeScheduling):  # type: ignore[misc]
    """Hands out all of :data:`INSTALLATIONS` to one process, and file by file to the others."""

    def _split_scope(self, nodeid: str) -> str:
        return "installations" if nodeid.startswith(INSTALLATIONS) else nodeid.split("::", 1)[0]


def rank(item: pytest.Item) -> int:
    """Where in the run a test belongs; those of one rank keep their order."""
    found = (place for place, start in enumerate(FIRST) if item.nodeid.startswith(start))
    return next(found, len(FIRST))
