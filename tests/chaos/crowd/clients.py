"""Clients of a chaos run: many sessions that ask turn after turn, misbehave as people's networks do, and write down
everything that passes their sockets. Nothing is judged here.

    async with Fleet(balancer.door, history, sessions=20, seed=7) as fleet:
        done = await fleet.ask_one("hold-3")          # a turn to aim at, on a session of its own
        await fleet.finish(60.0)                      # no new turns, open ones end, everything is read again

Names: a patron is ``p1``, ``p2``, ...; its second sockets are ``p1+1``, ...; a reader that stops is ``s1``, ...; a turn
of ``ask_one`` has the client ``aim-<turn>``. Each asks the fleet's ``doors`` for a door under its name.
"""

import asyncio
import contextlib
import re
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, replace
from typing import Self

from parley_client import (
    Chat,
    ClientClosed,
    ClientError,
    ClientOptions,
    Disconnected,
    Done,
    Turn,
    TurnRefused,
    connect,
)

from ..history import Asked, Finished, History
from .plans import BUDGET_S, Choices, Habits, Plan
from .readers import Stopper, reread, soon
from .wire import Door, Doors, Note

PATIENCE_S = 150.0
"""A turn whose end has not come in this time is given up; the checker will call it lost."""
AFTER_S = 0.2
"""Pause before a refused turn is asked again where the server names none."""
READERS = 16
"""Sessions that are read again at the same time."""
LEAVE_S = 10.0
TRIES = 200
"""How often one turn is asked before the client lets it be; every refusal is in the history."""


@dataclass(frozen=True, slots=True)
class Trouble:
    """A client that could not go on: not a frame, so the checker does not see it, but the run has failed."""

    client: str
    at: float
    what: str


class Asker:
    """One client of the library on one session. ``session``: joins an earlier one."""

    def __init__(self, note: Note, *, session: str | None = None, binary: bool = True) -> None:
        self.note = note
        self.options = ClientOptions(
            session=session, binary=binary, give_up_s=0, turn_s=PATIENCE_S, connect_s=10.0, observer=note
        )

    def connected(self) -> contextlib.AbstractAsyncContextManager[Chat]:
        """The library's own context."""
        return connect(self.note.door.url, self.options)

    async def ask(self, chat: Chat, plan: Plan, closing: asyncio.Event) -> Turn | None:
        """Until it is accepted: a refused turn is asked again when the server says so. None: not taken."""
        history = self.note.history
        cancels = plan.cancel_at is not None
        history.add(Asked(history.now(), self.note.client, plan.turn, plan.tag, plan.deadline_s, cancels))
        for _ in range(TRIES):
            try:
                return await chat.ask(plan.text, turn=plan.turn, deadline_s=plan.deadline_s, interrupt=plan.interrupt)
            except TurnRefused as refused:
                if not refused.retryable or await soon(closing, refused.retry_after_s or AFTER_S):
                    return None
        return None


async def follow(turn: Turn, steps: dict[int, Callable[[], Awaitable[None]]]) -> Done:
    """Read to the end; each step is taken when so many tokens have been read, or at the end. Raises ClientError."""
    due = sorted(steps)
    async for event in turn:
        said = turn.text.count(" ")
        while due and (said >= due[0] or isinstance(event, Done)):
            await steps[due.pop(0)]()
    return await turn.done()


class Patron:
    """One session whose turns follow one another until the fleet closes."""

    def __init__(self, name: str, fleet: "Fleet", habits: Habits) -> None:
        self.name = name
        self.fleet = fleet
        self.choices = Choices(name, fleet.seed, habits)
        self.twins = 0

    async def run(self) -> None:
        """Until the fleet leaves. Raises ClientError where the server sends us away for good."""
        fleet, rng = self.fleet, self.choices.rng
        asker = Asker(await fleet.note(self.name), binary=rng.random() < 0.5)
        async with asker.connected() as chat:
            while not fleet.closing.is_set():
                turns = [self._turn(asker, chat, plan) for plan in self.choices.burst()]
                for result in await asyncio.gather(*turns, return_exceptions=True):
                    self._judge(result)
                await soon(fleet.closing, self.choices.pause_s())
            await fleet.leave.wait()

    def _judge(self, result: object) -> None:
        """A turn that the library gave up is trouble, and so is a session that is no more; the latter ends it all."""
        if isinstance(result, Disconnected | ClientClosed) or (
            isinstance(result, BaseException) and not isinstance(result, ClientError)
        ):
            raise result
        if isinstance(result, ClientError):
            self.fleet.trouble(self.name, result)

    async def _turn(self, asker: Asker, chat: Chat, plan: Plan) -> None:
        with self.fleet.turn_open():
            turn = await asker.ask(chat, plan, self.fleet.closing)
            if turn is None:
                return
            twins: list[asyncio.Task[None]] = []
            await follow(turn, self._steps(asker, turn, plan, twins))
            await asyncio.gather(*twins)
            if plan.conflict:
                await self._second(plan, text=f"{plan.text} otherwise")

    def _steps(
        self, asker: Asker, turn: Turn, plan: Plan, twins: list["asyncio.Task[None]"]
    ) -> dict[int, Callable[[], Awaitable[None]]]:
        async def drop() -> None:
            asker.note.drop(elsewhere=plan.elsewhere)

        async def again() -> None:
            twins.append(asyncio.create_task(self._second(plan), name=f"{self.name} {plan.turn} again"))

        wanted = ((plan.again_at, again), (plan.drop_at, drop), (plan.cancel_at, turn.cancel))
        return {at: step for at, step in wanted if at is not None}

    async def _second(self, plan: Plan, text: str | None = None) -> None:
        """The same turn, or another ``text`` under its id, on another socket: most likely at another gateway."""
        fleet = self.fleet
        self.twins += 1
        session = (await fleet.note(self.name)).session
        asker = Asker(await fleet.note(f"{self.name}+{self.twins}"), session=session, binary=self.twins % 2 == 0)
        async with asker.connected() as chat:
            if text is None:
                turn = await asker.ask(chat, replace(plan, interrupt=False, cancel_at=None), fleet.closing)
                if turn is not None:
                    await turn.done()
                return
            with contextlib.suppress(TurnRefused):
                turn = await chat.ask(text, turn=plan.turn, deadline_s=plan.deadline_s)
                await turn.done()


class Fleet:
    """``sessions`` patrons and ``stoppers`` readers that stop, all at ``doors``; the same ``seed``, the same plans.

    Entered, it asks; left without :meth:`finish`, it just goes away.
    """

    def __init__(
        self,
        doors: Doors,
        history: History,
        *,
        sessions: int = 0,
        stoppers: int = 0,
        seed: int = 0,
        habits: Habits | None = None,
    ) -> None:
        self.history = history
        self.seed = seed
        self.closing = asyncio.Event()
        """No new turns."""
        self.leave = asyncio.Event()
        """Sockets may close."""
        self.troubles: list[Trouble] = []
        self._doors = doors
        self._notes: dict[str, Note] = {}
        self._idle = asyncio.Event()
        self._idle.set()
        self._open = 0
        self._tasks: list[asyncio.Task[None]] = []
        self._members: list[Patron | Stopper] = [
            Patron(f"p{number}", self, habits or Habits()) for number in range(1, sessions + 1)
        ]
        self._members += [Stopper(f"s{number}", self) for number in range(1, stoppers + 1)]

    async def __aenter__(self) -> Self:
        for member in self._members:
            self._tasks.append(asyncio.create_task(self._run(member), name=member.name))
        return self

    async def __aexit__(self, *exc: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _run(self, member: "Patron | Stopper") -> None:
        try:
            await member.run()
        except ClientError as error:
            self.trouble(member.name, error)

    # --- for members ------------------------------------------------------------------------------------------

    async def note(self, client: str) -> Note:
        """The pen of ``client``, the same at each call."""
        if client not in self._notes:
            self._notes[client] = Note(self.history, client, await self._doors(client))
        return self._notes[client]

    def trouble(self, client: str, error: BaseException) -> None:
        """A client could not go on as it should."""
        self.troubles.append(Trouble(client, self.history.now(), f"{type(error).__name__}: {error}"))

    @contextlib.contextmanager
    def turn_open(self) -> Iterator[None]:
        """Counts a turn that :meth:`finish` waits for."""
        self._open += 1
        self._idle.clear()
        try:
            yield
        finally:
            self._open -= 1
            if not self._open:
                self._idle.set()

    # --- for the run ------------------------------------------------------------------------------------------

    @property
    def open_turns(self) -> int:
        """Turns asked and not ended."""
        return self._open

    async def ask_one(
        self,
        turn: str,
        *,
        tokens: int = 30,
        every_ms: float = 20.0,
        salt: bool = False,
        cancel_at: int | None = None,
        deadline_s: float = BUDGET_S,
    ) -> Done | None:
        """One turn under the id ``turn``, on a session of its own with the client ``aim-<turn>``, to its end.

        None where it was refused for good or has no end; the reason of the latter is in ``troubles``.
        """
        plan = Plan(
            turn=turn,
            tag=re.sub(r"[^\w-]", "-", f"aim-{turn}"),
            tokens=tokens,
            every_ms=every_ms,
            salt=salt,
            cancel_at=cancel_at,
            deadline_s=deadline_s,
        )
        client = f"aim-{turn}"
        asker = Asker(await self.note(client))
        try:
            with self.turn_open():
                async with asker.connected() as chat:
                    told = await asker.ask(chat, plan, self.closing)
                    return None if told is None else await follow(told, _cancel(told, cancel_at))
        except ClientError as error:
            self.trouble(client, error)
            return None

    async def finish(self, budget_s: float, fresh: Callable[[], Awaitable[Door]] | None = None) -> None:
        """No new turns; waits ``budget_s`` at most for the open ones, reads every turn again from its start, ends the
        history with ``Finished``, and only then lets the sockets close. Call when every fault is healed.

        ``fresh``: the door to read again through, of a gateway that knows nothing but what is stored.
        """
        self.closing.set()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(budget_s):
                await self._idle.wait()
        sessions: dict[str, tuple[str, dict[str, None]]] = {}
        for note in self._notes.values():
            if note.session is not None:
                sessions.setdefault(note.session, (note.client, {}))[1].update(note.promised)
        door = await (fresh() if fresh is not None else self._doors("reread"))
        gate = asyncio.Semaphore(READERS)

        async def one(session: str, client: str, turns: list[str]) -> None:
            async with gate:
                await reread(self.history, door, session, client, turns)

        await asyncio.gather(*(one(session, *about[:1], list(about[1])) for session, about in sessions.items()))
        self.history.add(Finished(self.history.now()))
        self.leave.set()
        await asyncio.wait(self._tasks, timeout=LEAVE_S) if self._tasks else None


def _cancel(turn: Turn, at: int | None) -> dict[int, Callable[[], Awaitable[None]]]:
    return {} if at is None else {at: turn.cancel}
