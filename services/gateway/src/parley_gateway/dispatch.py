"""Carries out what the pure session asks: publishes, control messages, row reads, frames."""

from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from parley_gateway import report
from parley_gateway.admission import Admission
from parley_gateway.config import TurnSettings
from parley_gateway.core import effects as fx
from parley_gateway.core import flow
from parley_gateway.core.entry import Entry
from parley_gateway.publishing import Publishing
from parley_gateway.registry import Registry
from parley_gateway.ticker import Ticker
from parley_gateway.watcher import Watcher
from parley_protocol.control import Audience, Leave, Stop
from parley_protocol.ids import SessionId
from parley_runtime.control import ControlPlane
from parley_runtime.ports import Clock, Link
from parley_runtime.store.ports import TurnStore
from parley_runtime.tasks import Tasks
from parley_runtime.telemetry.logging import get_logger
from parley_runtime.work.lastword import Delivered

log = get_logger(__name__)

SETTLE_S = 1.0


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
        admission: Admission,
        delivered: Delivered,
    ) -> None:
        self.gateway = gateway
        self._clock = clock
        self._control = control
        self._registry = registry
        self._admission = admission
        self._ticker = Ticker(clock, self._on_due)
        self._tasks = Tasks("turns")
        self._publishing = Publishing(
            gateway, settings, clock, publisher, control, self.apply, self.promise, admission, delivered
        )
        self.watcher = Watcher(gateway, clock, store, control, self.apply, self.promise, self._tasks.spawn)
        self._how = self._table()

    def before_publish(self, wait: Callable[[SessionId], Awaitable[object] | None]) -> None:
        """What a session's next turn waits for before its job goes out; None: nothing."""
        self._publishing.before = wait

    def apply(self, effects: Iterable[fx.Effect]) -> None:
        """Carry out in order."""
        for effect in effects:
            self._how[type(effect)](effect)

    def _table(self) -> dict[type[fx.Effect], Callable[[Any], object]]:
        return {
            fx.Touch: self._touch,
            fx.Tell: _tell,
            fx.TellOne: lambda effect: effect.sink.push(effect.frame),
            fx.Watch: self.watcher.add,
            fx.SendStop: self._stop,
            fx.SendLeave: self._leave,
            fx.SendPrefix: lambda effect: self._control.post(effect.to, effect.prefix),
            fx.Publish: lambda effect: self._tasks.spawn(self._publishing.publish(effect.entry)),
            fx.PublishRecord: lambda effect: self._tasks.spawn(self._publishing.record(effect.entry, effect.status)),
            fx.Opened: self._opened,
            fx.Ended: self._ended,
        }

    def _touch(self, effect: fx.Touch) -> None:
        touch(effect.entry)
        self._ticker.promise(effect.entry)

    def _stop(self, effect: fx.SendStop) -> None:
        self._control.post(effect.to or Audience.WORKERS.value, Stop(effect.key, effect.fence))

    def _leave(self, effect: fx.SendLeave) -> None:
        log.info("turn left: its session has no socket here", turn=effect.key.turn, session=effect.key.session[:8])
        self._control.post(Audience.WORKERS.value, Leave(effect.key, self.gateway, abandoned=True))

    def _opened(self, effect: fx.Opened) -> None:
        self._registry.opened(effect.entry)
        report.opened(effect.entry)
        self._ticker.promise(effect.entry)

    def _ended(self, effect: fx.Ended) -> None:
        entry, now = effect.entry, self._clock.monotonic()
        report.ended(entry, taken=effect.taken)
        if effect.taken and entry.request is not None:
            # One begun elsewhere may have ended long ago: returning clients would be taken for a fast service.
            self._admission.ended(now, now - (entry.accepted_at or entry.started_at))
        self._registry.ended(entry, now, taken=effect.taken)

    def promise(self, entry: Entry) -> None:
        """The turn may want to be looked at earlier than before."""
        self._ticker.promise(entry)

    def watch_all(self, cause: str, *, after_s: float = 0.0) -> None:
        """Every unfinished turn: events may have been lost. One whose items flow within ``after_s`` has lost none."""
        at = self._clock.monotonic() + after_s
        for entry in self._registry.open_turns():
            flow.watch_now(entry, at, cause)
            self._ticker.promise(entry)

    async def close(self) -> None:
        """Stop timers; let what is being published get its confirm for at most :data:`SETTLE_S`; stop tasks."""
        self._ticker.close()
        await self._tasks.close(SETTLE_S)

    def _on_due(self, entry: Entry, now: float) -> None:
        self.apply(flow.on_tick(entry, now))


def touch(entry: Entry) -> None:
    """Views of the turn have something to write."""
    for view in entry.views:
        view.sink.touch(view)


def _tell(effect: fx.Tell) -> None:
    for view in effect.entry.views:
        view.sink.push(effect.frame)
