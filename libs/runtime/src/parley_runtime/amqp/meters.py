"""Metrics of links. Labels are bounded: purposes, exchanges, and queues without their owner and epoch."""

from collections.abc import Callable

from parley_protocol.routes import QueueSpec
from parley_runtime.ports import LinkState
from parley_runtime.telemetry import names
from parley_runtime.telemetry.metrics import counter, gauge, histogram


def link_state(purpose: str, state: LinkState) -> None:
    """Set the link's gauge."""
    gauge(names.LINK_STATE).labels(purpose).set(1 if state is LinkState.UP else 0)


def link_lost(purpose: str) -> None:
    """Count a lost connection."""
    counter(names.LINK_RECONNECTS).labels(purpose).inc()


CONFIRMED = "confirmed"
Inc = Callable[[], None]
Observe = Callable[[float], None]


class PublishMeter:
    """Counts publishes; keeps the labelled children, which are costly to look up for each message."""

    def __init__(self) -> None:
        self._children: dict[tuple[str, str], tuple[Inc, Observe | None]] = {}

    def count(self, exchange: str, outcome: str, seconds: float) -> None:
        """``seconds`` from the call to the confirm."""
        child = self._children.get((exchange, outcome))
        if child is None:
            child = self._children[exchange, outcome] = _children(exchange, outcome)
        child[0]()
        if child[1] is not None:
            child[1](seconds)


def _children(exchange: str, outcome: str) -> tuple[Inc, Observe | None]:
    inc = counter(names.PUBLISHES).labels(exchange, outcome).inc
    return inc, histogram(names.PUBLISH_SECONDS).labels(exchange).observe if outcome == CONFIRMED else None


def delivery_counter(queue: str, *, redelivered: bool) -> Inc:
    """Counts a delivery each time it is called."""
    return counter(names.DELIVERIES).labels(queue, "yes" if redelivered else "no").inc


def queue_label(queue: QueueSpec) -> str:
    """A private queue goes by its exchange, since its own name holds a process id and an epoch."""
    if "x-expires" in queue.arguments and queue.bindings:
        return queue.bindings[0][0]
    return queue.name
