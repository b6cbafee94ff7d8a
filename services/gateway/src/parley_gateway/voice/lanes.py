"""Sends workers the audio of this gateway's streams, and tells them which leases to let go of."""

from __future__ import annotations

from collections.abc import Callable

from parley_gateway.voice.ear import Ear
from parley_gateway.voice.lane import Lane, Load
from parley_protocol import codec
from parley_protocol.audio import AudioBatch
from parley_protocol.routes import AUDIO
from parley_runtime.errors import OutcomeUnknown, ParleyError, Unroutable
from parley_runtime.ports import Clock, Link, Message
from parley_runtime.tasks import Tasks

FULL_S = 0.1
"""How long a worker whose queue is full is left alone."""


class Lanes:
    """One lane for each worker. What is put into them goes with the next :meth:`flush`, which ``promise`` asks for.

    ``lost`` is told of each run (stream and epoch) whose audio may not have arrived, and why.
    """

    def __init__(
        self,
        gateway: str,
        link: Link,
        clock: Clock,
        tasks: Tasks,
        *,
        promise: Callable[[], None],
        lost: Callable[[Ear, int, str], None],
    ) -> None:
        self._gateway = gateway
        self._link = link
        self._clock = clock
        self._tasks = tasks
        self._promise = promise
        self._lost = lost
        self._lanes: dict[str, Lane] = {}

    def __len__(self) -> int:
        return len(self._lanes)

    def ready(self, ear: Ear, *, at_once: bool = False) -> None:
        """The stream may have something to send."""
        run = ear.lease.run
        if run is None or not run.sending.waiting:
            return
        lane = self._lane(run.worker)
        lane.ears[ear] = None
        if at_once:
            lane.urgent = True
            self._flush(lane)

    def let_go(self, worker: str, stream: str, epoch: int) -> None:
        """The worker is to let go of a lease."""
        lane = self._lane(worker)
        lane.let_go(stream, epoch)
        self._flush(lane)

    def flush(self) -> None:
        """Send what waits, a message for each worker; forget the lanes of those for whom nothing does."""
        for lane in tuple(self._lanes.values()):
            self._flush(lane)
            if lane.idle:
                del self._lanes[lane.worker]

    def _lane(self, worker: str) -> Lane:
        lane = self._lanes.get(worker)
        if lane is None:
            lane = self._lanes[worker] = Lane(worker)
            self._promise()
        return lane

    def _flush(self, lane: Lane) -> None:
        now = self._clock.monotonic()
        if lane.busy or now < lane.not_before:
            return
        load = lane.take(now)
        if load.parts:
            lane.busy = True
            self._tasks.spawn(self._send(lane, load))

    async def _send(self, lane: Lane, load: Load) -> None:
        body = codec.pack(AudioBatch(self._gateway, load.parts))
        cause = ""
        try:
            await self._link.publish(AUDIO, lane.worker, Message(body, durable=False))
        except Unroutable:
            cause = "returned"
        except OutcomeUnknown:
            cause = "unconfirmed"
        except ParleyError:
            lane.not_before = self._clock.monotonic() + FULL_S
            lane.put_back(load)
        finally:
            lane.busy = False
        if cause:
            for ear, run, _ in load.taken:
                self._lost(ear, run.epoch, cause)
        if lane.urgent:
            self._flush(lane)
