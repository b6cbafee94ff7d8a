"""Publishes the leases of this gateway's streams to whichever worker has a seat."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from parley_gateway.voice.config import EarSettings
from parley_gateway.voice.ear import Ear
from parley_gateway.voice.leasing import Ask
from parley_protocol import codec
from parley_protocol.audio import Listen
from parley_protocol.faults import FaultCode
from parley_protocol.routes import WORK, Stage
from parley_runtime.errors import OutcomeUnknown, ParleyError, Refused
from parley_runtime.ports import Clock, Link, Message
from parley_runtime.tasks import Tasks
from parley_runtime.telemetry import names, tracing
from parley_runtime.telemetry.logging import get_logger
from parley_runtime.telemetry.metrics import counter

log = get_logger(__name__)

Unpublished = Callable[[Ear, int, FaultCode, bool], None]
"""A lease under this epoch was not published, for this reason; or, if True, may not have been."""


class Offering:
    """``unpublished`` is told of each lease that has not come to the broker."""

    def __init__(
        self, settings: EarSettings, link: Link, clock: Clock, tasks: Tasks, *, unpublished: Unpublished
    ) -> None:
        self._settings = settings
        self._link = link
        self._clock = clock
        self._tasks = tasks
        self._unpublished = unpublished

    def ask(self, ear: Ear, ask: Ask) -> None:
        """Offer the stream's lease."""
        if ask.cause:
            counter(names.LEASES_AGAIN).labels(ask.cause).inc()
            counter(names.AUDIO_REPLAYED).inc(ask.replayed)
            name = ear.lease.stream.name
            log.info("stream moves", stream=name, cause=ask.cause, epoch=ask.epoch, replayed=ask.replayed)
        listen = msgspec.structs.replace(
            ear.listen,
            epoch=ask.epoch,
            at=ask.boundary.at,
            utterance=ask.boundary.utterance,
            sent_at=self._clock.wall(),
        )
        self._tasks.spawn(self._publish(ear, listen))

    async def _publish(self, ear: Ear, listen: Listen) -> None:
        headers: dict[str, str | int] = {"parley-kind": "listen", "parley-v": 1}
        tracing.inject(headers, ear.context)
        message = Message(codec.pack(listen), headers, expires_s=self._settings.longest_s)
        try:
            await self._link.publish(WORK, Stage.LISTEN, message, timeout_s=self._settings.lease_s)
        except ParleyError as error:
            log.warning("lease not asked for", stream=listen.stream, cause=type(error).__name__)
            code = FaultCode.OVERLOADED if isinstance(error, Refused) else FaultCode.UNAVAILABLE
            self._unpublished(ear, listen.epoch, code, isinstance(error, OutcomeUnknown))
