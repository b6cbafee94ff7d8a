"""The AMQP broker keeps the broker contract on every RabbitMQ that Parley supports."""

from collections.abc import AsyncIterator, Iterator

import pytest

from parley_testkit.contracts import BrokerContract, RabbitUnderTest
from parley_testkit.rabbit import RealBroker, broker_ids, start_broker

pytestmark = pytest.mark.rabbit


@pytest.fixture(scope="module", params=broker_ids())
def real(request: pytest.FixtureRequest) -> Iterator[RealBroker]:
    broker = start_broker(request.param)
    yield broker
    broker.close()


@pytest.fixture
async def under_test(real: RealBroker) -> AsyncIterator[RabbitUnderTest]:
    rabbit = RabbitUnderTest(real)
    yield rabbit
    await rabbit.close()


class TestAmqpBroker(BrokerContract):
    pass
