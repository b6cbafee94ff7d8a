"""What a scenario is played with: clients at chosen gateways, a turn that can be held, figures of processes."""

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from typing import Any, Final

from ..crowd.wire import GONE, FixedDoor, Note, Raw
from ..history import Asked, Healed, History, Injected
from ..world.stops import Reached, Stop
from ..world.world import Member, World

STEP_S: Final = 10.0
"""Limit of every single step."""
BUDGET_S: Final = 60.0
POLL_S: Final = 0.02


class Person:
    """One client on one socket, whose frames are read, and written down, as they come."""

    def __init__(self, history: History, name: str, gateway: Member, session: str | None = None) -> None:
        self.raw = Raw(Note(history, name, FixedDoor(gateway.service.url, gateway.name)), session)
        self.name = name
        self.history = history
        self.degraded = False
        self.accepted: set[str] = set()
        self.done: dict[str, dict[str, Any]] = {}
        self.texts: dict[str, str] = {}
        self._news = asyncio.Condition()
        self._reading: asyncio.Task[None] | None = None
        self._closing = AsyncExitStack()

    async def come(self) -> "Person":
        """Connected and greeted; then everything is read in the background."""
        async with asyncio.timeout(STEP_S):
            await self._closing.enter_async_context(self.raw.opened())
        self._reading = asyncio.create_task(self._read())
        return self

    async def move(self, gateway: Member) -> None:
        """Come back to ``gateway``: ask after turns that were accepted, and again those that were not."""
        await self.go()
        self.raw.note.door = FixedDoor(gateway.service.url, gateway.name)
        await self.come()

    async def go(self) -> None:
        """Close the socket. Idempotent."""
        reading, self._reading = self._reading, None
        error: BaseException | None = None
        if reading is not None:
            reading.cancel()
            await asyncio.wait({reading})
            error = None if reading.cancelled() else reading.exception()
        with suppress(*GONE):
            await self._closing.__aexit__(type(error) if error is not None else None, error, None)

    async def ask(self, turn: str, question: str, tag: str, *, again: bool = False) -> None:
        """Start a turn. ``again``: it has been asked before."""
        if not again:
            self.history.add(Asked(self.history.now(), self.name, turn, tag, BUDGET_S))
        start = {"type": "turn.start", "turn": turn, "text": question}
        self.raw.starts[turn] = start
        await self.raw.send(start)

    async def until(self, condition: Callable[[], Any], within_s: float = STEP_S) -> None:
        """A condition on what has been read. Raises TimeoutError."""
        async with asyncio.timeout(within_s), self._news:
            await self._news.wait_for(condition)

    async def _read(self) -> None:
        while True:
            frame = await self.raw.read()
            turn = frame.get("turn", "")
            match frame["type"]:
                case "degraded" | "restored":
                    self.degraded = frame["type"] == "degraded"
                case "turn.accepted":
                    self.accepted.add(turn)
                case "answer.delta":
                    self.texts[turn] = self.texts.get(turn, "") + frame["text"]
                case "turn.restarted":
                    self.texts[turn] = ""
                case "turn.done":
                    self.done[turn] = frame
            async with self._news:
                self._news.notify_all()


@dataclass
class Scene:
    """What an act uses. ``turn`` is the held one; its question makes six tokens, one every 100 ms: each of them is an
    item of its own, so that item numbers of two runs agree.
    """

    world: World
    history: History
    name: str
    mark: str = field(default_factory=lambda: secrets.token_hex(3))
    people: list[Person] = field(default_factory=list)
    turns: dict[str, Person] = field(default_factory=dict)
    _faults: list[tuple[str, str]] = field(default_factory=list)

    @property
    def turn(self) -> str:
        return f"hold-{self.name}-{self.mark}"

    @property
    def tag(self) -> str:
        return f"{self.name}-{self.mark}"

    def question(self, *, salt: bool = True, tokens: int = 6, every: int = 100) -> str:
        """For the scripted engine."""
        return f"tag={self.tag} tokens={tokens} every={every}" + (" salt" if salt else "")

    def gateway(self, number: int) -> Member:
        return self.world.of("gateway")[number - 1]

    async def person(self, gateway: int = 1, session: str | None = None, pending: tuple[str, ...] = ()) -> Person:
        """A client at the gateway of that number; ``pending``: turns it asks after."""
        name = f"{self.name}-{len(self.people) + 1}"
        person = Person(self.history, name, self.gateway(gateway), session)
        person.raw.pending.extend(pending)
        self.people.append(person)
        return await person.come()

    async def ask(self, person: Person, question: str, turn: str = "", tag: str = "", *, again: bool = False) -> str:
        """The scene's turn, or another one."""
        turn = turn or self.turn
        self.turns[turn] = person
        await person.ask(turn, question, tag or self.tag, again=again)
        return turn

    def hold(self, point: str) -> Stop:
        """Arm ``point`` for the scene's turn: the next process that reaches it is held."""
        return self.world.stops.arm(self.turn, point)

    def passed(self, point: str) -> list[Reached]:
        """Processes that have come to ``point`` with the scene's turn."""
        return [one for one in self.world.stops.passed.get(self.turn, []) if one.point == point]

    def member(self, reached: Reached) -> Member:
        found = self.world.by_pid(reached.pid)
        assert found is not None
        return found

    def inject(self, fault: str, member: Member, phase: str) -> None:
        """Write a fault down."""
        self.history.add(Injected(self.history.now(), fault, member.name, phase, self.turn))
        self._faults.append((fault, member.name))

    def healed(self) -> None:
        """Every fault of the scene is taken back."""
        for fault, target in self._faults:
            self.history.add(Healed(self.history.now(), fault, target))
        self._faults.clear()

    async def until(self, condition: Callable[[], bool], what: str, within_s: float = STEP_S) -> None:
        """Raises TimeoutError that names ``what``."""
        try:
            async with asyncio.timeout(within_s):
                while True:
                    if condition():
                        return
                    await asyncio.sleep(POLL_S)
        except TimeoutError:
            raise TimeoutError(f"{self.name}: {what}: not within {within_s:g} s") from None

    async def until_counted(self, members: list[Member], sample: str, above: float) -> None:
        """Until :func:`counted` exceeds ``above``. Raises TimeoutError."""
        async with asyncio.timeout(STEP_S):
            while True:
                if await counted(members, sample) > above:
                    return
                await asyncio.sleep(POLL_S)

    async def until_anew(self, person: Person, within_s: float) -> None:
        """Until ``person`` has been told another beginning than the one told so far, or for ``within_s``."""
        before = self.text(person)
        with suppress(TimeoutError):
            await person.until(lambda: not before.startswith(self.text(person)), within_s)

    def text(self, person: Person) -> str:
        """What ``person`` has of the scene's turn."""
        return person.texts.get(self.turn, "")

    async def until_half(self, person: Person) -> None:
        """Three of the six tokens. Raises TimeoutError."""
        await person.until(lambda: self.text(person).count(" ") >= 3)


async def counted(members: list[Member], sample: str) -> float:
    """Sum of a metric over running processes; ``sample`` begins its lines."""
    texts = await asyncio.gather(
        *(asyncio.to_thread(member.service.metrics) for member in members if member.running and not member.paused)
    )
    lines = [line for text in texts for line in text.splitlines() if line.startswith(sample)]
    return sum(float(line.rpartition(" ")[2]) for line in lines)


Act = Callable[[Scene], Awaitable[None]]
