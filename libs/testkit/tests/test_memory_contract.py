"""The in-memory broker keeps the broker contract, in virtual time."""

from collections.abc import AsyncIterator

import pytest

from parley_testkit.contracts import BrokerContract, MemoryUnderTest

pytestmark = [pytest.mark.unit, pytest.mark.virtual_time]


@pytest.fixture
async def under_test() -> AsyncIterator[MemoryUnderTest]:
    memory = MemoryUnderTest()
    yield memory
    await memory.close()


class TestMemoryBroker(BrokerContract):
    pass
