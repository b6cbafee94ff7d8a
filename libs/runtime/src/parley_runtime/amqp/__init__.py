"""RabbitMQ behind :mod:`parley_runtime.ports`: the only package that imports aiormq.

Its log lines are silenced because each event they tell of reaches a link's own line, with the link's purpose.
"""

import logging

from parley_runtime.amqp.broker import AmqpBroker

__all__ = ["AmqpBroker"]

for _name in ("aiormq.connection", "aiormq.channel"):
    logging.getLogger(_name).setLevel(logging.CRITICAL)
