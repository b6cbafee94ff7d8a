"""Fixtures of the runtime's tests."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from parley_testkit.house import House, open_house


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    """A whole installation without a network."""
    async with open_house(tmp_path) as opened:
        yield opened
