"""Metrics of links. Labels are bounded: purposes, exchanges, and queues without their owner and epoch."""

from parley_protocol.routes import QueueSpec
from parley_runtime.ports import LinkState


def link_state(purpose: str, state: LinkState) -> None:
    """Set the link's gauge."""


def link_lost(purpose: str) -> None:
    """Count a lost connection."""


def published(exchange: str, outcome: str, seconds: float) -> None:
    """Count a publish and, if it was confirmed, its time in seconds."""


def delivered(queue: str, *, redelivered: bool) -> None:
    """Count a delivery."""


def queue_label(queue: QueueSpec) -> str:
    """A private queue goes by its exchange, since its own name holds a process id and an epoch."""
    if "x-expires" in queue.arguments and queue.bindings:
        return queue.bindings[0][0]
    return queue.name
