"""Fixtures of the runtime's tests."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from parley_testkit.contracts import RabbitUnderTest
from parley_testkit.house import House, open_house
from parley_testkit.rabbit import RealBroker, broker_ids, start_broker


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    """A whole installation without a network."""
    async with open_house(tmp_path) as opened:
        yield opened


@pytest.fixture(scope="module", params=broker_ids())
def real(request: pytest.FixtureRequest) -> Iterator[RealBroker]:
    """Each real broker there is, one after another."""
    broker = start_broker(request.param)
    yield broker
    broker.close()


@pytest.fixture
async def under_test(real: RealBroker) -> AsyncIterator[RabbitUnderTest]:
    """What contract suites run on."""
    rabbit = RabbitUnderTest(real)
    yield rabbit
    await rabbit.close()
