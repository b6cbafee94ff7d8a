"""Contract suites: what every implementation of a port must do, as test classes that a test module inherits."""

from parley_testkit.contracts.consuming import ConsumingContract
from parley_testkit.contracts.harness import BrokerUnderTest, MemoryUnderTest, RabbitUnderTest
from parley_testkit.contracts.links import LinkContract
from parley_testkit.contracts.publishing import PublishingContract
from parley_testkit.contracts.redelivery import RedeliveryContract

__all__ = ["BrokerContract", "BrokerUnderTest", "MemoryUnderTest", "RabbitUnderTest"]


class BrokerContract(PublishingContract, ConsumingContract, RedeliveryContract, LinkContract):
    """Every promise of ``parley_runtime.ports``. The inheriting module provides a fixture ``under_test`` that yields a
    :class:`BrokerUnderTest`.
    """
