"""Carries out what the pure session asks: publishes, control messages, row reads, frames."""

import asyncio
import secrets
from collections.abc import Callable, Coroutine, Iterable
from typing import Any

from parley_gateway import report
from parley_gateway.config import TurnSettings
from parley_gateway.core import effects as fx
from parley_gateway.core import flow
from parley_gateway.core.entry import Entry, Phase, Request
from parley_gateway.core.session import Session
from parley_gateway.registry import Registry
from parley_gateway.ticker import Ticker
from parley_protocol import codec
from parley_protocol.control import Attach, Audience, Begin, Stop
from parley_protocol.events import Fault, TurnStatus
from parley_protocol.faults import FaultCode
from parley_protocol.routes import WORK, Stage
from parley_protocol.work import Record, Retrieve
from parley_runtime.control import ControlPlane
from parley_runtime.errors import OutcomeUnknown, ParleyError, Refused
from parley_runtime.ports import Clock, Link, Message
from parley_runtime.store.ports import TurnRow, TurnStore
from parley_runtime.telemetry import names
from parley_runtime.telemetry.logging import get_logger
from parley_runtime.telemetry.metrics import counter

log = get_logger(__name__)

READ_S = 5.0
"""Deadline of a read of rows."""
AGAIN_S = (0.1, 0.2, 0.5, 1.0, 2.0)
"""Pauses between publishes of what must get through; the last one repeats."""
ATTACH_KEYS = 1000
"""Keys of one attach message."""
MIN_BUDGET_S = 0.05


class Dispatch:
    """The only place that turns effects into I/O. ``apply`` returns at once; what waits runs in tasks."""

    def __init__(
        self,
        gateway: str,
        settings: TurnSettings,
        clock: Clock,
        *,
        publisher: Link,
        control: ControlPlane,
        store: TurnStore,
        registry: Registry,
    ) -> None:
        self.gateway = gateway
        self._settings = settings
        self._clock = clock
        self._publisher = publisher
        self._control = control
        self._store = store
        self._registry = registry
        self._ticker = Ticker(clock, self._on_due)
        self._tasks: set[asyncio.Task[None]] = set()
        self._watching: dict[int, fx.Watch] = {}
        self._how = self._table()

    def apply(self, effects: Iterable[fx.Effect]) -> None:
        """Carry out in order."""
        for effect in effects:
            self._how[type(effect)](effect)

    def _table(self) -> dict[type[fx.Effect], Callable[[Any], None]]:
        return {
            fx.Touch: self._touch,
            fx.Tell: _tell,
            fx.TellOne: lambda effect: effect.sink.push(effect.frame),
            fx.Watch: self._watch,
            fx.SendStop: self._stop,
            fx.SendPrefix: lambda effect: self._control.post(effect.to, effect.prefix),
            fx.Publish: lambda effect: self._spawn(self._publish(effect.entry)),
            fx.PublishRecord: lambda effect: self._spawn(self._record(effect.entry, effect.status)),
            fx.Opened: self._opened,
            fx.Ended: self._ended,
        }

    def _touch(self, effect: fx.Touch) -> None:
        touch(effect.entry)
        self._ticker.promise(effect.entry)

    def _stop(self, effect: fx.SendStop) -> None:
        self._control.post(effect.to or Audience.WORKERS.value, Stop(effect.key, effect.fence))

    def _opened(self, effect: fx.Opened) -> None:
        self._registry.opened(effect.entry)
        report.opened(effect.entry)
        self._ticker.promise(effect.entry)

    def _ended(self, effect: fx.Ended) -> None:
        report.ended(effect.entry, taken=effect.taken)
        self._registry.ended(effect.entry, self._clock.monotonic(), taken=effect.taken)

    def promise(self, entry: Entry) -> None:
        """The turn may want to be looked at earlier than before."""
        self._ticker.promise(entry)

    def on_begin(self, begin: Begin) -> None:
        """A run is about to speak."""
        entry = self._registry.turns.get(begin.key)
        if entry is not None:
            self.apply(flow.on_begin(entry, begin, self.gateway))

    def watch_all(self, cause: str) -> None:
        """Every unfinished turn: events may have been lost."""
        now = self._clock.monotonic()
        for entry in self._registry.open_turns():
            flow.watch_now(entry, now, cause)
            self._ticker.promise(entry)

    async def close(self) -> None:
        """Stop timers and tasks."""
        self._ticker.close()
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("turn task failed", exc_info=error)

    def _on_due(self, entry: Entry, now: float) -> None:
        self.apply(flow.on_tick(entry, now))

    # --- publishing -------------------------------------------------------------------------------------------

    async def _publish(self, entry: Entry) -> None:
        """Until the job is confirmed, refused, or no longer wanted."""
        session: Session = entry.session
        request = entry.request
        assert request is not None
        for pause in _pauses():
            message = self._job(entry, request)
            try:
                await self._publisher.publish(WORK, Stage.RETRIEVE, message, timeout_s=self._settings.publish_s)
            except OutcomeUnknown:
                entry.again = True
                await asyncio.sleep(pause)
                if entry.phase is not Phase.PUBLISHING or entry.forced is not None:
                    return
                continue
            except ParleyError as error:
                self._refuse(entry, error)
                return
            self.apply(session.accept(entry, self._clock.monotonic()))
            self.promise(entry)
            return

    def _refuse(self, entry: Entry, error: ParleyError) -> None:
        session: Session = entry.session
        if entry.phase is not Phase.PUBLISHING:
            return  # an event has shown that an earlier try got through
        full = isinstance(error, Refused)
        code = FaultCode.OVERLOADED if full else FaultCode.UNAVAILABLE
        text = (
            "too many turns wait at present; send this turn again later"
            if full
            else "the message broker cannot be reached at present; send this turn again later"
        )
        log.warning("turn not taken", code=code.value, cause=type(error).__name__)
        retry = int(self._settings.retry_after_s * 1000)
        self.apply(session.refuse(entry, code, text, self._clock.monotonic(), retry_after_ms=retry))

    def _job(self, entry: Entry, request: Request) -> Message:
        entry.submission = secrets.token_hex(8)
        budget = max(MIN_BUDGET_S, entry.deadline_at - self._clock.monotonic())
        job = Retrieve(
            key=entry.turn.key,
            submission=entry.submission,
            budget_s=budget,
            again=entry.again,
            reply_to=(self.gateway,),
            sent_at=self._clock.wall(),
            question=request.text,
            kb=request.kb,
            digest=request.digest,
            context=request.context,
            messages=request.messages,
            sampling=request.sampling,
        )
        return Message(codec.pack(job), report.headers(entry, "retrieve"), expires_s=budget)

    async def _record(self, entry: Entry, status: TurnStatus) -> None:
        """The forced record, until it is confirmed or the turn has ended; then ``stop`` to all workers."""
        entry.submission = entry.submission or secrets.token_hex(8)
        for pause in _pauses():
            message = Message(codec.pack(self._forced(entry, status)), report.headers(entry, "record"))
            try:
                await self._publisher.publish(WORK, Stage.RECORD, message, timeout_s=self._settings.publish_s)
            except ParleyError as error:
                log.warning("forced record not confirmed; again", status=status.value, cause=type(error).__name__)
                await asyncio.sleep(pause)
                if not entry.ended:
                    continue
            break
        self._control.post(Audience.WORKERS.value, Stop(entry.turn.key, 0))

    def _forced(self, entry: Entry, status: TurnStatus) -> Record:
        turn, request = entry.turn, entry.request
        retrieval = turn.last.retrieval
        fault = None
        if status is TurnStatus.EXPIRED:
            fault = Fault(FaultCode.EXPIRED.value, "the turn's deadline passed before its answer was complete", True)
        return Record(
            key=turn.key,
            submission=entry.submission,
            budget_s=0.0,
            fence=turn.fence,
            n=turn.n,
            marks=turn.last,
            reply_to=(self.gateway,),
            sent_at=self._clock.wall(),
            question=request.text if request is not None else "",
            kb=request.kb if request is not None else "default",
            status=status,
            text=turn.text if turn.known else None,
            sources=retrieval.sources if retrieval is not None else (),
            fault=fault,
            forced=True,
        )

    # --- watching ---------------------------------------------------------------------------------------------

    def _watch(self, watch: fx.Watch) -> None:
        """One read and one attach for all turns that are due in the same turn of the loop."""
        counter(names.WATCHES).labels(watch.cause).inc()
        if not self._watching:
            asyncio.get_running_loop().call_soon(self._watch_due)
        known = self._watching.get(id(watch.entry))
        if known is None or not known.attach:
            self._watching[id(watch.entry)] = watch

    def _watch_due(self) -> None:
        watches, self._watching = list(self._watching.values()), {}
        self._spawn(self._read(watches))

    async def _read(self, watches: list[fx.Watch]) -> None:
        rows = await self.read_rows([watch.entry.turn.key for watch in watches])
        now = self._clock.monotonic()
        for watch in watches:
            entry = watch.entry
            if rows is None:
                self.apply(flow.on_row_unread(entry, now))
            else:
                self.apply(flow.on_row(entry, rows.get(entry.turn.key), now))
            self.promise(entry)
        keys = [watch.entry.turn.key for watch in watches if watch.attach and not watch.entry.ended]
        for first in range(0, len(keys), ATTACH_KEYS):
            attach = Attach(self.gateway, tuple(keys[first : first + ATTACH_KEYS]))
            await self._control.broadcast(Audience.WORKERS, attach)

    async def read_rows(self, keys: list[Any]) -> dict[Any, TurnRow] | None:
        """Rows by key; None where the store did not answer in time."""
        try:
            async with asyncio.timeout(READ_S):
                return {row.key: row for row in await self._store.rows(keys)}
        except (ParleyError, TimeoutError) as error:
            log.warning("rows cannot be read; again soon", cause=type(error).__name__, turns=len(keys))
            return None

    async def read_after(self, session: Session, turn: str, limit: int) -> list[TurnRow]:
        """Rows of the session after ``turn``; none where the store did not answer in time."""
        try:
            async with asyncio.timeout(READ_S):
                return await self._store.after(session.tenant, session.id, turn, limit=limit)
        except (ParleyError, TimeoutError) as error:
            log.warning("rows cannot be read", cause=type(error).__name__)
            return []


def touch(entry: Entry) -> None:
    """Views of the turn have something to write."""
    for view in entry.views:
        view.sink.touch(view)


def _tell(effect: fx.Tell) -> None:
    for view in effect.entry.views:
        view.sink.push(effect.frame)


def _pauses() -> Iterable[float]:
    yield from AGAIN_S
    while True:
        yield AGAIN_S[-1]
