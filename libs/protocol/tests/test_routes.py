"""The topology's promises."""

import pytest

from parley_protocol import routes

pytestmark = pytest.mark.unit


def test_only_first_stages_have_a_length_limit() -> None:
    limited = {queue.name for queue in routes.topology(5).queues if "x-max-length" in queue.arguments}
    assert limited == {"parley.retrieve", "parley.knowledge", "parley.review", "parley.listen", "parley.speak"}


def test_admission_zero_means_no_bound() -> None:
    assert not any("x-max-length" in queue.arguments for queue in routes.topology(0).queues)


def test_every_durable_queue_is_a_quorum_queue_that_never_drops() -> None:
    for queue in routes.topology().queues:
        assert queue.arguments["x-queue-type"] == "quorum"
        assert queue.arguments["x-overflow"] == "reject-publish"
        if "x-dead-letter-exchange" in queue.arguments:
            assert queue.arguments["x-dead-letter-strategy"] == "at-least-once"


def test_every_dead_letter_exchange_is_declared_and_leads_somewhere() -> None:
    topology = routes.topology()
    bound = {exchange for queue in topology.queues for exchange, _ in queue.bindings}
    declared = {exchange.name for exchange in topology.exchanges}
    for queue in topology.queues:
        target = queue.arguments.get("x-dead-letter-exchange")
        assert target is None or target in bound & declared


def test_the_record_queue_and_the_dead_queue_are_never_given_up() -> None:
    limits = {queue.name: queue.arguments["x-delivery-limit"] for queue in routes.topology().queues}
    assert limits["parley.record"] == limits["parley.dead"] == routes.NO_DELIVERY_LIMIT
    assert limits["parley.retrieve"] == limits["parley.generate"] == 20


def test_the_queue_declared_last_has_a_consumer() -> None:
    """A broker killed in the second after may know of it and never find its leader; consumers notice that."""
    assert routes.topology().queues[-1].name == routes.DEAD_QUEUE


def test_private_queues_are_neither_transient_nor_exclusive_and_expire() -> None:
    queue = routes.event_queue("gateway-1", "e1", expires_s=15)
    assert queue.arguments["x-expires"] == 15_000
    assert queue.bindings == ((routes.EVENTS, "gateway-1"),)
    both = routes.control_queue("rag-1", "e1", "workers")
    assert both.bindings == ((routes.CONTROL, "workers"), (routes.CONTROL, "rag-1"))
