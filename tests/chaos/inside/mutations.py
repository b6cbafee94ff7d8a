"""Mechanisms of the turn protocol that can be switched off, one at a time, to show that the checker misses each.

``PARLEY_CHAOS_MUTATION`` names the one that is off in a process, or (with a slash in it) a file that holds the name:
then it can be changed, or emptied, while the processes run. Everything is patched in from here.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec

from .points import wrap

REREAD_S: Final = 0.02
On = Callable[[], bool]


@dataclass(frozen=True)
class Mutation:
    """``what`` is missing; ``roles``: the processes in which ``install`` patches it out while ``on()``."""

    what: str
    roles: tuple[str, ...]
    install: Callable[[On], None]


class Switch:
    """Which mutation is on: ``value`` itself, or what the file ``value`` holds."""

    def __init__(self, value: str) -> None:
        self._path = Path(value) if "/" in value else None
        self._name = "" if self._path else value
        self._looked = float("-inf")

    def on(self, name: str) -> bool:
        """Whether ``name`` is on now; a changed file is seen within :data:`REREAD_S`."""
        now = time.monotonic()
        if self._path is not None and now - self._looked >= REREAD_S:
            self._looked = now
            self._name = self._path.read_text(encoding="ascii").strip() if self._path.exists() else ""
        return self._name == name


def apply(value: str, role: str) -> None:
    """Patch this process of ``role``. Raises ValueError for a name that is not known, and points.Changed."""
    if "/" not in value and value not in MUTATIONS:
        raise ValueError(f"no mutation {value!r}; there are {', '.join(MUTATIONS)}")
    switch = Switch(value)
    for name, mutation in MUTATIONS.items():
        if role in mutation.roles and ("/" in value or name == value):
            mutation.install(lambda name=name: switch.on(name))  # type: ignore[misc]  # a default binds the name


def _no_fence_test(on: On) -> None:
    from parley_runtime.store.turns import TurnTable

    def make(original: Any) -> Any:
        async def close(self: Any, record: Any) -> Any:
            return await original(self, msgspec.structs.replace(record, forced=True) if on() else record)

        return close

    wrap(TurnTable, "close", ("self", "record"), make)


def _no_again(on: On) -> None:
    from parley_runtime.work import admission

    def make(original: Any) -> Any:
        def certainly_first(job: Any, *, redelivered: bool, delivery_count: int | None) -> bool:
            return on() or bool(original(job, redelivered=redelivered, delivery_count=delivery_count))

        return certainly_first

    wrap(admission, "certainly_first", ("job", "redelivered", "delivery_count"), make)


def _no_begin(on: On) -> None:
    from parley_runtime.work.asks import Asks

    def begin(original: Any) -> Any:
        async def silent(self: Any, key: Any, fence: int) -> Any:
            return None if on() else await original(self, key, fence)

        return silent

    def announce(original: Any) -> Any:
        def silent(self: Any, key: Any, fence: int) -> None:
            if not on():
                original(self, key, fence)

        return silent

    wrap(Asks, "begin", ("self", "key", "fence"), begin)
    wrap(Asks, "announce", ("self", "key", "fence"), announce)


def _no_repetition(on: On) -> None:
    from parley_gateway.core.told import Told
    from parley_runtime.work.asks import Asks

    def begin(original: Any) -> Any:
        async def deaf(self: Any, key: Any, fence: int) -> Any:
            told = await original(self, key, fence)
            return None if on() else told

        return deaf

    def say(original: Any) -> Any:
        def replaced(self: Any, text: str) -> None:
            if on():
                self._replace(text)
            else:
                original(self, text)

        return replaced

    wrap(Asks, "begin", ("self", "key", "fence"), begin)
    wrap(Told, "_say", ("self", "text"), say)


def _no_watch(on: On) -> None:
    from parley_gateway.watcher import Watcher

    def make(original: Any) -> Any:
        def add(self: Any, watch: Any) -> None:
            if not on():
                original(self, watch)

        return add

    wrap(Watcher, "add", ("self", "watch"), make)


def _no_submission_test(on: On) -> None:
    from parley_runtime.store.ports import OtherSubmission
    from parley_runtime.store.turns import TurnTable

    def make(original: Any) -> Any:
        async def claim_first(self: Any, key: Any, *, submission: str, **asked: Any) -> Any:
            claim = await original(self, key, submission=submission, **asked)
            if on() and isinstance(claim, OtherSubmission):
                (row,) = await self.rows([key])
                asked.pop("fence", None)
                claim = await original(self, key, submission=row.submission, **asked)
            return claim

        return claim_first

    wrap(TurnTable, "claim_first", ("self", "key", "submission"), make, more=True)


def _no_reconciliation(on: On) -> None:
    from parley_gateway.core.turn import Turn
    from parley_gateway.core.view import View

    def close(original: Any) -> Any:
        def unread(self: Any, terminal: Any) -> None:
            if not on():
                original(self, terminal)
                return
            original(self, msgspec.structs.replace(terminal, text=None))
            self.terminal = terminal

        return unread

    def finish(original: Any) -> Any:
        def told(self: Any) -> Any:
            frame, terminal = original(self), self.turn.terminal
            return msgspec.structs.replace(frame, text=terminal.text) if on() and terminal.text is not None else frame

        return told

    wrap(Turn, "close", ("self", "terminal"), close)
    wrap(View, "_finish", ("self",), finish)


def _ack_on_receipt(on: On) -> None:
    from parley_runtime.work.serve import Server

    def make(original: Any) -> Any:
        async def run(self: Any, run: Any) -> str:
            if on():
                await run.lease.ack()
            return str(await original(self, run))

        return run

    wrap(Server, "_run", ("self", "run"), make)


def _accept_before_confirm(on: On) -> None:
    from parley_gateway.publishing import Publishing

    def make(original: Any) -> Any:
        async def publish(self: Any, entry: Any) -> None:
            if on():
                self._apply(entry.session.accept(entry, self._clock.monotonic()))
            await original(self, entry)

        return publish

    wrap(Publishing, "publish", ("self", "entry"), make)


def _no_session_order(on: On) -> None:
    from parley_gateway.core.effects import Publish
    from parley_gateway.core.entry import Phase
    from parley_gateway.core.order import Order

    def make(original: Any) -> Any:
        def advance(self: Any) -> list[Any]:
            if not on():
                return list(original(self))
            waiting = [entry for entry in self.open if entry.phase is Phase.QUEUED and entry.forced is None]
            for entry in waiting:
                entry.phase = Phase.PUBLISHING
                entry.turn.waits = False
            return [Publish(entry) for entry in waiting]

        return advance

    wrap(Order, "advance", ("self",), make)


def _no_fence_at_gateway(on: On) -> None:
    from parley_gateway.core.turn import Turn, Verdict
    from parley_protocol.events import Delta, Snapshot

    def make(original: Any) -> Any:
        def take(self: Any, fence: int, event: Any, now: float) -> Any:
            if on() and fence < self.fence and not self.frozen:
                if isinstance(event, Delta):
                    self.text += event.text
                    return Verdict.EXTENDED
                if isinstance(event, Snapshot) and event.text is not None:
                    self._replace(event.text)
                    return Verdict.REPLACED
            return original(self, fence, event, now)

        return take

    wrap(Turn, "take", ("self", "fence", "event", "now"), make)


def _done_before_stored(on: On) -> None:
    from parley_protocol.events import Terminal
    from parley_rag.recorder import Recorder
    from parley_runtime.store.ports import Superseded

    def make(original: Any) -> Any:
        def tell(self: Any, record: Any, closing: Any) -> None:
            if on() and isinstance(closing, Superseded):
                terminal = Terminal(n=record.n, status=record.status, text=record.text, sources=record.sources)
                self._sink.emit(record.reply_to, record.key, record.fence, terminal)
            original(self, record, closing)

        return tell

    wrap(Recorder, "_tell", ("self", "record", "closing"), make)


def _no_freeze(on: On) -> None:
    from parley_gateway.core.turn import Turn

    def make(original: Any) -> Any:
        def freeze(self: Any) -> None:
            if not on():
                original(self)

        return freeze

    wrap(Turn, "freeze", ("self",), make)


def _no_forced_record(on: On) -> None:
    from parley_gateway.publishing import Publishing
    from parley_protocol.control import Audience, Stop

    def make(original: Any) -> Any:
        async def record(self: Any, entry: Any, status: Any) -> None:
            if on():
                self._control.post(Audience.WORKERS.value, Stop(entry.turn.key, 0))
                return
            await original(self, entry, status)

        return record

    wrap(Publishing, "record", ("self", "entry", "status"), make)


WORKERS: Final = ("rag", "inference")
GATEWAY: Final = ("gateway",)
RAG: Final = ("rag",)

MUTATIONS: Final = {
    "no-fence-test": Mutation("a record closes the row whatever its fence", RAG, _no_fence_test),
    "no-again": Mutation("a job that may have been delivered before runs under its old fence", WORKERS, _no_again),
    "no-begin": Mutation("a later run speaks without asking what has been delivered", WORKERS, _no_begin),
    "no-watch": Mutation("a gateway waits for events for ever", GATEWAY, _no_watch),
    "no-submission-test": Mutation("a second submission of an open turn starts work", RAG, _no_submission_test),
    "no-reconciliation": Mutation(
        "a terminal's text is told without comparing it with what was delivered", GATEWAY, _no_reconciliation
    ),
    "ack-on-receipt": Mutation("a job is acknowledged before it is worked on", WORKERS, _ack_on_receipt),
    "accept-before-confirm": Mutation(
        "accepted is said before the broker has the job", GATEWAY, _accept_before_confirm
    ),
    "no-session-order": Mutation("a session's turns are published, and told, as they come", GATEWAY, _no_session_order),
    "done-before-stored": Mutation("a terminal is told from a record that was not stored", RAG, _done_before_stored),
    "no-forced-record": Mutation("a cancel only tells the workers to stop", GATEWAY, _no_forced_record),
    "no-freeze": Mutation("output goes on behind a cancel", GATEWAY, _no_freeze),
    "no-repetition": Mutation(
        "what a later run says again, because nobody told it in time, is new", (*WORKERS, *GATEWAY), _no_repetition
    ),
    "no-fence-at-gateway": Mutation("a gateway delivers items of a superseded run", GATEWAY, _no_fence_at_gateway),
}
"""By name. The first six are the protocol's own list; the others are what is done wrong most easily."""
