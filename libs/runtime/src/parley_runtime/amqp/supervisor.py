"""Keeps one connection up: dial, prepare, serve, and again after a jittered pause."""

import asyncio
from collections.abc import Awaitable, Callable

from parley_runtime.amqp import meters
from parley_runtime.amqp.backoff import delay_s
from parley_runtime.amqp.faults import WireError, reason_of
from parley_runtime.amqp.wire import Wire
from parley_runtime.errors import ConfigError, Unavailable
from parley_runtime.ports import LinkState, OnState
from parley_runtime.telemetry.logging import get_logger

STEADY_S = 2.0
"""A connection that lived this long resets the back-off."""

Dial = Callable[[], Awaitable[Wire]]
Prepare = Callable[[Wire], Awaitable[None]]


class Supervisor:
    """Owns a link's connection and state. One task; every state change is told to the watchers on the loop."""

    def __init__(self, dial: Dial, prepare: Prepare, *, name: str, purpose: str) -> None:
        self._dial, self._prepare = dial, prepare
        self._purpose = purpose
        self._log = get_logger(__name__).bind(link=f"{name}:{purpose}")
        self._state = LinkState.CONNECTING
        self._problem = "not connected yet"
        self._told = ""
        self._watchers: list[OnState] = []
        self._wire: Wire | None = None
        self._up = asyncio.Event()
        self._writable = asyncio.Event()
        self._first: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._task: asyncio.Task[None] | None = None

    @property
    def state(self) -> LinkState:
        return self._state

    @property
    def wire(self) -> Wire | None:
        """The connection, while there is one that publishes can be written to."""
        return self._wire if self._state is LinkState.UP else None

    def watch(self, on_state: OnState) -> None:
        self._watchers.append(on_state)

    async def start(self, wait_s: float) -> None:
        """Returns when first connected.

        Raises:
            Unavailable: not within ``wait_s``.
            ConfigError: the broker refused the login or the topology.
        """
        self._task = asyncio.create_task(self._run(), name=f"link {self._purpose}")
        done, _ = await asyncio.wait({self._first}, timeout=wait_s)
        if not done:
            hint = "Is it running, and is AMQP_URL right?"
            raise Unavailable(f"RabbitMQ did not answer within {wait_s:g} s: {self._problem}. {hint}")
        self._first.result()

    async def connected(self) -> Wire:
        """The connection, once there is one. Raises Unavailable when the link is closed."""
        while True:
            await self._up.wait()
            if self._state is LinkState.CLOSED:
                raise Unavailable("the link is closed")
            if self._wire is not None:
                return self._wire

    async def writable(self) -> Wire:
        """The connection, once the broker reads publishes. Raises Unavailable when the link is closed."""
        while True:
            await self._writable.wait()
            if self._state is LinkState.CLOSED:
                raise Unavailable("the link is closed")
            if self._wire is not None:
                return self._wire

    def why(self) -> str:
        """What is wrong with the connection, for error messages."""
        return self._problem or "the broker is slow"

    async def close(self) -> None:
        """End the connection. Idempotent."""
        if self._state is LinkState.CLOSED:
            return
        wire, self._wire = self._wire, None
        self._problem = "the link is closed"
        self._enter(LinkState.CLOSED, "closed by us")
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})
        if wire is not None:
            await wire.hang_up()

    async def _run(self) -> None:
        failures = 0
        clock = asyncio.get_running_loop().time
        while True:
            quick = True
            try:
                wire = await self._dial_and_prepare()
            except ConfigError as error:
                if not self._first.done():
                    self._first.set_exception(error)
                    return
                self._failed(str(error))
                quick = False
            except WireError as error:
                self._failed(str(error))
                quick = error.quick
            except Exception as error:
                self._log.exception("link_failed_unexpectedly")
                self._problem = type(error).__name__
                quick = False
            else:
                since = clock()
                await self._serve(wire)
                if clock() - since > STEADY_S:
                    failures = 0
            failures += 1
            await asyncio.sleep(delay_s(failures, quick=quick))

    def _failed(self, reason: str) -> None:
        """One line for each new reason, not for each attempt."""
        self._problem = reason
        if reason != self._told:
            self._told = reason
            self._log.warning("broker_unreachable", reason=reason)

    async def _dial_and_prepare(self) -> Wire:
        wire = await self._dial()
        try:
            await self._prepare(wire)
        except BaseException:
            await asyncio.shield(wire.hang_up())
            raise
        return wire

    async def _serve(self, wire: Wire) -> None:
        lost = wire.closing
        self._wire = wire
        self._problem = self._told = ""
        wire.on_blocked = self._on_blocked
        self._enter(LinkState.UP, "connected")
        self._log.info("link_up")
        if wire.blocked:
            self._on_blocked(wire.blocked)
        if not self._first.done():
            self._first.set_result(None)
        await asyncio.wait({lost})
        reason = "the connection was lost"
        error = None if lost.cancelled() else lost.exception()
        if error is not None and not isinstance(error, asyncio.CancelledError):
            reason = reason_of(error)
        self._wire = None
        self._problem = reason
        self._enter(LinkState.CONNECTING, reason)
        meters.link_lost(self._purpose)
        self._log.warning("link_lost", reason=reason)
        wire.cut()
        await wire.release_writers()

    def _on_blocked(self, reason: str) -> None:
        if self._wire is None:
            return
        self._problem = reason and f"the broker refuses publishes ({reason})"
        self._enter(LinkState.BLOCKED if reason else LinkState.UP, reason or "unblocked")

    def _enter(self, state: LinkState, reason: str) -> None:
        if state is self._state:
            return
        self._state = state
        for event, usable in (
            (self._up, {LinkState.UP, LinkState.BLOCKED, LinkState.CLOSED}),
            (self._writable, {LinkState.UP, LinkState.CLOSED}),
        ):
            if state in usable:
                event.set()
            else:
                event.clear()
        meters.link_state(self._purpose, state)
        for watcher in self._watchers:
            try:
                watcher(state, reason)
            except Exception:
                self._log.exception("state_watcher_failed", state=state.value)
