"""Keeps the processes of one `up` running: ready at the start, restarted when they crash, stopped in order."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

import httpx

from parley_client.up import health
from parley_client.up.broker import Broker
from parley_client.up.child import Child, start
from parley_client.up.errors import UpError
from parley_client.up.plan import STOP_ORDER, Service
from parley_client.up.policy import BAD_CONFIGURATION, GiveUp, History, RestartPolicy, describe_end
from parley_client.up.ready import tail
from parley_client.up.report import Report, Step
from parley_client.up.settings import UpSettings

T = TypeVar("T")


DRAIN_S = 25.0
"""What the services drain for where PARLEY_DRAIN_S says nothing."""


@dataclass(frozen=True)
class Limits:
    """Seconds. `ready`: for all processes to be ready; the others: for a clean stop before SIGKILL."""

    ready: float = 90.0
    stop: float = 30.0
    broker_stop: float = 20.0
    hurried_stop: float = 2.0
    poll: float = 0.1


def limits(settings: UpSettings) -> Limits:
    """The limits for services that drain for PARLEY_DRAIN_S seconds."""
    drain = settings.env.get("PARLEY_DRAIN_S", "").strip()
    try:
        return Limits(stop=float(drain or DRAIN_S) + 5.0)
    except ValueError:
        return Limits()  # the services refuse to start with it, and say so


@dataclass
class _Kept:
    service: Service
    history: History
    child: Child | None = None
    ready: asyncio.Event = field(default_factory=asyncio.Event)
    says: str = ""


class Supervisor:
    """Runs a broker and services. `run` never returns by itself; `stop` must be called afterwards, whatever happened.

    Guaranteed: each process that ends is named with its code and log; one that ends with code 78 (bad configuration),
    or that keeps ending before it was ever ready, ends `run` with an UpError that shows its last lines; after `stop` no
    process of ours is left.
    """

    def __init__(
        self,
        report: Report,
        client: httpx.AsyncClient,
        policy: RestartPolicy | None = None,
        limits: Limits | None = None,
    ) -> None:
        self._report = report
        self._client = client
        self._policy = policy or RestartPolicy()
        self._limits = limits or Limits()
        self._broker: Broker | None = None
        self._kept: list[_Kept] = []
        self._hurry = asyncio.Event()

    def hurry(self) -> None:
        """Makes a stop that is under way kill what has not stopped yet."""
        self._hurry.set()

    async def provide(self, choose: Callable[[Step], Awaitable[Broker]]) -> str:
        """Starts the broker that `choose` picks, which `stop` will stop; returns its AMQP URL. Raises UpError."""
        with self._report.step("broker") as step:
            self._broker = await choose(step)
            return await self._broker.start(step)

    async def run(self, services: Sequence[Service], amqp_url: str, once_ready: Callable[[], Awaitable[None]]) -> None:
        """Starts `services` and keeps them and the broker running until cancelled; calls `once_ready` when all are.

        Raises UpError when the start fails.
        """
        self._kept = [_Kept(service, History(self._policy)) for service in services]
        try:
            async with asyncio.TaskGroup() as group:
                for kept in self._kept:
                    group.create_task(self._keep(kept), name=f"keep {kept.service.name}")
                if self._broker is not None:
                    group.create_task(self._keep_broker(self._broker, amqp_url), name="keep broker")
                await self._all_ready()
                await once_ready()
        except* (UpError, OSError) as errors:
            first: BaseException = errors
            while isinstance(first, BaseExceptionGroup):
                first = first.exceptions[0]
            raise first from None

    async def stop(self) -> None:
        """Stops gateways, then workers, then the broker. Safe to call again, and when nothing was started."""
        for roles in STOP_ORDER:
            await asyncio.gather(*(self._stop_one(kept) for kept in self._kept if kept.service.role in roles))
        if self._broker is not None:
            stopping = asyncio.ensure_future(self._broker.stop(self._limits.broker_stop))
            if not await self._unless_hurried(stopping):
                await self._broker.stop(self._limits.hurried_stop)

    async def _all_ready(self) -> None:
        names = ", ".join(kept.service.name for kept in self._kept)
        try:
            with self._report.step(f"starting {names}") as step:
                async with asyncio.timeout(self._limits.ready):
                    for kept in self._kept:
                        await kept.ready.wait()
                        step.now(f"{kept.service.name} is ready")
                step.done = f"ready: {names}"
        except TimeoutError:
            raise UpError("\n".join(self._late(kept) for kept in self._kept if not kept.ready.is_set())) from None

    def _late(self, kept: _Kept) -> str:
        said = f" It says: {kept.says}." if kept.says else ""
        shown = tail(kept.child) if kept.child else ""
        return f"{kept.service.name} was not ready within {self._limits.ready:g} s.{said}{shown}"

    async def _keep(self, kept: _Kept) -> None:
        name = kept.service.name
        while True:
            began = time.monotonic()
            kept.child = await start(kept.service.fresh(), partial(self._report.child, name))
            waiting = asyncio.create_task(self._await_ready(kept, began), name=f"ready {name}")
            try:
                code = await kept.child.wait()
            finally:
                waiting.cancel()
            kept.ready.clear()
            await self._pause(kept, kept.child, code, time.monotonic() - began)

    async def _pause(self, kept: _Kept, child: Child, code: int, ran_for: float) -> None:
        """Says what happened to the process and waits as long as the policy wants; raises where it gives up."""
        name = kept.service.name
        verdict = kept.history.ended(code, ran_for, random.random())  # noqa: S311 - jitter
        if isinstance(verdict, GiveUp):
            kind = "stopped" if code == BAD_CONFIGURATION else f"ended {describe_end(code)}"
            raise UpError(f"{name} {kind}: {verdict.reason}.{tail(child)}")
        if verdict.alarm:
            self._report.bad(f"{name} keeps ending and is restarted each time.{tail(child)}")
        self._report.warn(
            f"{name} ended {describe_end(code)} (see {child.command.log}); restarting in {verdict.delay:.1f} s"
        )
        await asyncio.sleep(verdict.delay)

    async def _await_ready(self, kept: _Kept, began: float) -> None:
        again = kept.history.was_ready or kept.history.fast_ends > 0
        while True:
            ready, kept.says = await health.readiness(self._client, kept.service.health)
            if ready:
                break
            await asyncio.sleep(self._limits.poll)
        kept.history.was_ready = True
        kept.ready.set()
        if again:
            self._report.good(f"{kept.service.name} is back ({time.monotonic() - began:.1f} s)")

    async def _keep_broker(self, broker: Broker, url: str) -> None:
        history = History(self._policy, was_ready=True)
        while True:
            began = time.monotonic()
            code = await broker.wait()
            verdict = history.ended(code, time.monotonic() - began, random.random())  # noqa: S311 - jitter
            delay = self._policy.longest if isinstance(verdict, GiveUp) else verdict.delay
            self._report.warn(f"broker ended {describe_end(code)}; restarting in {delay:.1f} s")
            await broker.stop(self._limits.broker_stop)
            await asyncio.sleep(delay)
            with self._report.step("broker") as step:
                if await broker.start(step) != url:
                    raise UpError("Another program took the broker's port while it was down: start `parley up` again.")

    async def _stop_one(self, kept: _Kept) -> None:
        child = kept.child
        if child is None or child.code is not None:
            return
        stopping = asyncio.ensure_future(child.stop(self._limits.stop))
        if not await self._unless_hurried(stopping):
            await child.stop(self._limits.hurried_stop)  # a second SIGTERM makes a service leave off draining
        elif not stopping.result():
            self._report.warn(f"{kept.service.name} did not stop within {self._limits.stop:g} s and was killed")

    async def _unless_hurried(self, stopping: "asyncio.Future[T]") -> bool:
        """Waits for `stopping`; False when it was given up because someone is in a hurry."""
        hurried = asyncio.ensure_future(self._hurry.wait())
        both: list[asyncio.Future[Any]] = [stopping, hurried]
        await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        hurried.cancel()
        if stopping.done():
            stopping.result()
            return True
        stopping.cancel()
        await asyncio.wait([stopping])
        return False
