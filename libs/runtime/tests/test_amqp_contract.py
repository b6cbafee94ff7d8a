"""The AMQP broker keeps the broker contract on every RabbitMQ that Parley supports."""

import pytest

from parley_testkit.contracts import BrokerContract

pytestmark = pytest.mark.rabbit


class TestAmqpBroker(BrokerContract):
    pass
