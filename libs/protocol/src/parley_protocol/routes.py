"""Exchanges, queues and keys: frozen data. The only place that knows a routing name.

Arguments are accepted by RabbitMQ 3.10 and 4.x alike; a queue's arguments never differ between versions, so a
cluster can be upgraded under running services.
"""

import enum
from typing import Any

import msgspec

WORK = "parley.work"
EVENTS = "parley.events"
CONTROL = "parley.control"
DEAD = "parley.dead"
AUDIO = "parley.audio"
"""Direct: audio of streams, by the process id of the worker that listens."""

RETRY_LADDER_S = (1.0, 5.0, 30.0)
"""Delays of the retry ladder in seconds; a job past the last rung is a dead letter."""

DELIVERY_LIMIT = 20
"""Deliveries of one message before it is a dead letter. Rolling restarts count, so it is far above the ladder."""

NO_DELIVERY_LIMIT = 1_000_000_000
"""For the record queue: 4.x defaults to 20 when absent and 3.10 refuses -1."""


class Stage(enum.StrEnum):
    """A stage of work; its value is the routing key on ``parley.work`` and ends its queue's name."""

    RETRIEVE = "retrieve"
    GENERATE = "generate"
    RECORD = "record"
    KNOWLEDGE = "knowledge"
    REVIEW = "review"
    ASSESS = "assess"
    NOTIFY = "notify"
    LISTEN = "listen"
    SPEAK = "speak"


class ExchangeSpec(msgspec.Struct, frozen=True):
    """A durable exchange."""

    name: str
    kind: str


class QueueSpec(msgspec.Struct, frozen=True):
    """A durable queue and its bindings as (exchange, routing key)."""

    name: str
    arguments: dict[str, Any]
    bindings: tuple[tuple[str, str], ...]


class Topology(msgspec.Struct, frozen=True):
    """Declared whole, in order, by the first link of a process that connects."""

    exchanges: tuple[ExchangeSpec, ...]
    queues: tuple[QueueSpec, ...]

    def queue(self, name: str) -> QueueSpec:
        """The queue of that name. Raises KeyError where there is none."""
        return {queue.name: queue for queue in self.queues}[name]


def stage_queue(stage: str) -> str:
    """Name of a stage's queue."""
    return f"parley.{stage}"


def retry_exchange(rung: int) -> str:
    """Exchange of the retry ladder's rung; the routing key (a stage) survives the trip."""
    return f"parley.retry.{rung}"


DEAD_QUEUE = "parley.dead"

QUORUM = {"x-queue-type": "quorum"}


def _stage_spec(stage: Stage, *, limit: int, max_length: int) -> QueueSpec:
    arguments: dict[str, Any] = {
        **QUORUM,
        "x-delivery-limit": limit,
        "x-dead-letter-exchange": DEAD,
        "x-dead-letter-strategy": "at-least-once",
        "x-overflow": "reject-publish",
    }
    if max_length:
        arguments["x-max-length"] = max_length
    return QueueSpec(stage_queue(stage), arguments, ((WORK, stage),))


def _voice_spec(stage: Stage, *, max_length: int) -> QueueSpec:
    """Of a stage whose jobs a gateway repeats by itself: what expires or fails here is dropped, and never parked.
    Quorum all the same, so that speech goes on when a node of the broker is lost.
    """
    arguments: dict[str, Any] = {**QUORUM, "x-delivery-limit": DELIVERY_LIMIT, "x-overflow": "reject-publish"}
    if max_length:
        arguments["x-max-length"] = max_length
    return QueueSpec(stage_queue(stage), arguments, ((WORK, stage),))


def _rung_spec(rung: int, delay_s: float) -> QueueSpec:
    name = retry_exchange(rung)
    arguments: dict[str, Any] = {
        **QUORUM,
        "x-message-ttl": int(delay_s * 1000),
        "x-dead-letter-exchange": WORK,
        "x-dead-letter-strategy": "at-least-once",
        "x-overflow": "reject-publish",
        "x-delivery-limit": NO_DELIVERY_LIMIT,
    }
    return QueueSpec(name, arguments, ((name, ""),))


def topology(admission: int = 10_000) -> Topology:
    """Everything durable. ``admission`` bounds turns waiting at the first stage; 0 means no bound.

    Only first stages have a length limit: a turn that was accepted is never refused in mid-pipeline.
    """
    rungs = tuple(enumerate(RETRY_LADDER_S))
    return Topology(
        exchanges=(
            ExchangeSpec(WORK, "direct"),
            ExchangeSpec(EVENTS, "direct"),
            ExchangeSpec(CONTROL, "direct"),
            ExchangeSpec(AUDIO, "direct"),
            ExchangeSpec(DEAD, "fanout"),
            *(ExchangeSpec(retry_exchange(rung), "fanout") for rung, _ in rungs),
        ),
        queues=(
            _stage_spec(Stage.RETRIEVE, limit=DELIVERY_LIMIT, max_length=admission),
            _stage_spec(Stage.GENERATE, limit=DELIVERY_LIMIT, max_length=0),
            _stage_spec(Stage.RECORD, limit=NO_DELIVERY_LIMIT, max_length=0),
            _stage_spec(Stage.KNOWLEDGE, limit=DELIVERY_LIMIT, max_length=admission),
            _stage_spec(Stage.REVIEW, limit=DELIVERY_LIMIT, max_length=admission),
            _stage_spec(Stage.ASSESS, limit=DELIVERY_LIMIT, max_length=0),
            _stage_spec(Stage.NOTIFY, limit=DELIVERY_LIMIT, max_length=0),
            _voice_spec(Stage.LISTEN, max_length=admission),
            _voice_spec(Stage.SPEAK, max_length=admission),
            *(_rung_spec(rung, delay) for rung, delay in rungs),
            # The last one is a queue with a consumer: what a broker that is killed at once loses of it is noticed.
            QueueSpec(
                DEAD_QUEUE,
                {**QUORUM, "x-delivery-limit": NO_DELIVERY_LIMIT, "x-overflow": "reject-publish"},
                ((DEAD, ""),),
            ),
        ),
    )


def event_queue(gateway: str, epoch: str, *, expires_s: float = 15.0, max_length: int = 10_000) -> QueueSpec:
    """The queue of one connection epoch of one gateway; it dies ``expires_s`` after its consumer."""
    return _private("events", EVENTS, (gateway,), gateway, epoch, expires_s, max_length)


def control_queue(process: str, epoch: str, audience: str, *, expires_s: float = 15.0) -> QueueSpec:
    """A process's control queue: broadcasts to its audience and messages to its own id."""
    return _private("control", CONTROL, (audience, process), process, epoch, expires_s, 10_000)


def audio_queue(worker: str, epoch: str, *, expires_s: float = 15.0) -> QueueSpec:
    """A listening worker's queue of audio, of one connection epoch."""
    return _private("audio", AUDIO, (worker,), worker, epoch, expires_s, 10_000)


def _private(
    role: str, exchange: str, keys: tuple[str, ...], process: str, epoch: str, expires_s: float, max_length: int
) -> QueueSpec:
    arguments = {
        "x-expires": int(expires_s * 1000),
        "x-max-length": max_length,
        "x-overflow": "reject-publish",
    }
    return QueueSpec(f"parley.{role}.{process}.{epoch}", arguments, tuple((exchange, key) for key in keys))
