"""Consumers that come back: after a reconnect, a broker-side cancel, a closed channel or a deleted queue."""

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from typing import Any

from parley_protocol.routes import QueueSpec
from parley_runtime.amqp import meters
from parley_runtime.amqp.backoff import delay_s
from parley_runtime.amqp.consuming import consume
from parley_runtime.amqp.delivery import Lane
from parley_runtime.amqp.faults import WireError, wire_errors
from parley_runtime.amqp.leaderless import Found, is_quorum, replace
from parley_runtime.amqp.supervisor import Supervisor
from parley_runtime.amqp.topology import declare_queue
from parley_runtime.amqp.wire import Wire
from parley_runtime.errors import ConfigError, Unavailable
from parley_runtime.ports import OnDelivery, QueueFactory
from parley_runtime.telemetry.logging import get_logger

CONSUME_S = 5.0
"""Limit for declare, bind and consume together. A quorum queue without a leader answers consume only with silence."""

SILENT_TRIES = 3
"""Silences in a row after which a quorum queue counts as one without a leader."""

OnReady = Callable[[QueueSpec], Awaitable[None] | None]

_log = get_logger(__name__)


class SilentQueue(WireError):
    """A queue that does not answer consume."""


class AmqpSubscription:
    """Implements :class:`parley_runtime.ports.Subscription`. Each (re)consume has a channel of its own."""

    def __init__(
        self,
        supervisor: Supervisor,
        queue: QueueFactory,
        on_delivery: OnDelivery,
        *,
        prefetch: int,
        on_ready: OnReady | None,
        replaces: bool,
    ) -> None:
        if prefetch < 1:
            raise ValueError("prefetch must be at least 1")
        self._supervisor = supervisor
        self._queue, self._on_delivery, self._on_ready = queue, on_delivery, on_ready
        self._prefetch, self._replaces = prefetch, replaces
        self._lane: Lane | None = None
        self._left: list[str] = []
        self._problem = "not consuming yet"
        self._consuming = asyncio.Event()
        self._task = asyncio.create_task(self._run(), name="subscription")
        self._others: set[asyncio.Task[None]] = set()

    @property
    def consuming(self) -> bool:
        return self._consuming.is_set()

    async def wait_consuming(self, timeout_s: float) -> None:
        """Raises Unavailable after ``timeout_s``."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._consuming.wait()
        except TimeoutError:
            why = self._problem or self._supervisor.why()
            raise Unavailable(f"not consuming after {timeout_s:g} s: {why}") from None

    async def cancel(self) -> None:
        """Stop new deliveries; those handed out can be settled until the link closes. Idempotent."""
        self._consuming.clear()
        self._problem = "cancelled"
        if not self._task.done():
            self._task.cancel()
            await asyncio.wait({self._task})
        lane = self._lane
        if lane is None or not lane.handing_over:
            return
        if lane.alive:
            with suppress(TimeoutError, WireError):
                async with asyncio.timeout(CONSUME_S):
                    with wire_errors():
                        for tag in list(lane.channel.consumers):
                            await lane.channel.basic_cancel(tag)
        lane.handing_over = False

    async def stop(self) -> None:
        """End the tasks when the link closes."""
        self._consuming.clear()
        tasks = {self._task, *self._others}
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)

    async def _run(self) -> None:
        failures = silent = 0
        while True:
            try:
                wire = await self._supervisor.connected()
            except Unavailable:
                return
            try:
                lane, spec = await self._consume(wire)
            except Exception as error:
                failures += 1
                silent = silent + 1 if isinstance(error, SilentQueue) else 0
                if silent == SILENT_TRIES:
                    silent = 0
                    await self._replace(wire)
                await self._pause(error, failures)
                continue
            failures = silent = 0
            await self._serve(wire, lane, spec)

    async def _pause(self, error: Exception, failures: int) -> None:
        if isinstance(error, WireError | ConfigError):
            self._problem = str(error)
            _log.warning("consume_failed", reason=str(error), failures=failures)
        else:
            self._problem = type(error).__name__
            _log.exception("consume_failed", exc_info=error)
        await asyncio.sleep(delay_s(failures, quick=isinstance(error, WireError) and error.quick))

    async def _consume(self, wire: Wire) -> tuple[Lane, QueueSpec]:
        spec = self._queue()
        lane: Lane | None = None
        try:
            async with asyncio.timeout(CONSUME_S):
                lane = Lane(await wire.open_channel(), spec.name, meters.queue_label(spec), self._on_delivery)
                with wire_errors():
                    await lane.channel.basic_qos(prefetch_count=self._prefetch)
                if self._replaces:
                    self._left.append(spec.name)
                await declare_queue(lane.channel, spec)
                await consume(wire, lane.channel, spec, lane.receive)
        except TimeoutError:
            self._abandon(lane)
            raise SilentQueue(f"queue {spec.name!r} gave no consume-ok within {CONSUME_S:g} s", quick=False) from None
        except BaseException:
            self._abandon(lane)
            raise
        return lane, spec

    async def _replace(self, wire: Wire) -> None:
        """A quorum queue that stays silent has no leader. One that was only just declared is declared anew."""
        spec = self._queue()
        if not is_quorum(spec):
            return
        try:
            found = await replace(wire, spec)
        except WireError as error:
            _log.warning("queue_not_replaced", queue=meters.queue_label(spec), reason=str(error))
            return
        finally:
            # The broker closes the connection of a consumer that it cannot answer a minute later: rather now.
            wire.cut()
        if found is Found.REPLACED:
            _log.warning("queue_replaced", queue=meters.queue_label(spec), reason="it never got a leader")
        elif found is Found.ANSWERS:
            _log.warning("queue_silent", queue=meters.queue_label(spec), reason=f"{found.value}: the broker is slow")
        else:
            _log.error(
                "queue_without_leader",
                queue=meters.queue_label(spec),
                hint="if it stays so: rabbitmqctl delete_queue; what waits in it is then lost",
            )

    def _abandon(self, lane: Lane | None) -> None:
        """A consumer that nobody waits for any more must not hold messages."""
        if lane is not None:
            lane.handing_over = False
            self._background(_close(lane), "close an abandoned consumer")

    async def _serve(self, wire: Wire, lane: Lane, spec: QueueSpec) -> None:
        self._lane = lane
        self._problem = ""
        if not lane.lost.done():
            self._consuming.set()
            await self._tell_ready(spec)
        if self._replaces:
            self._forget_queues(wire, but=spec.name)
        reason = await lane.lost
        self._consuming.clear()
        self._problem = reason
        _log.warning("consumer_lost", queue=meters.queue_label(spec), reason=reason)
        await _close(lane)

    async def _tell_ready(self, spec: QueueSpec) -> None:
        if self._on_ready is None:
            return
        try:
            told = self._on_ready(spec)
            if inspect.isawaitable(told):
                await told
        except Exception:
            _log.exception("on_ready_failed", queue=meters.queue_label(spec))

    def _forget_queues(self, wire: Wire, *, but: str) -> None:
        old = [name for name in self._left if name != but]
        self._left = [but]
        if old:
            self._background(_delete(wire, old), "delete old epochs")

    def _background(self, work: Coroutine[Any, Any, None], name: str) -> None:
        task = asyncio.create_task(work, name=name)
        self._others.add(task)
        task.add_done_callback(self._others.discard)


async def _close(lane: Lane) -> None:
    with suppress(TimeoutError, WireError):
        async with asyncio.timeout(CONSUME_S):
            with wire_errors():
                await lane.channel.close()


async def _delete(wire: Wire, names: list[str]) -> None:
    try:
        async with asyncio.timeout(CONSUME_S):
            channel = await wire.open_channel()
            with wire_errors():
                for name in names:
                    await channel.queue_delete(name)
                await channel.close()
    except (TimeoutError, WireError) as error:
        # Each has x-expires, so the broker removes it.
        _log.info("old_epoch_left_to_expire", queues=len(names), reason=str(error))
