"""Clients on bare sockets: one that stops reading and comes back, and one that reads everything again at the end."""

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

from ..history import Asked, History, Reread
from .plans import Choices, Habits, Plan
from .wire import GONE, Door, Note, Raw

if TYPE_CHECKING:
    from .clients import Fleet

LONG = Habits(tokens=(2000, 4000), every_ms=(0, 1), salt=0.3)
"""Answers longer than the buffers between a gateway and a client that does not read."""
HOLD_S = (0.5, 6.0)
"""How long it does not read."""
REREAD_S = 15.0
"""Limit for reading the turns of one socket again."""
PENDING = 16
"""Turns that one hello may name."""


class Stopper:
    """Asks a long turn, stops reading in its middle for a while, and reads on: on the same socket, or, where the
    gateway closed it meanwhile, on a new one with the position of the last frame that it had read.
    """

    def __init__(self, name: str, fleet: "Fleet") -> None:
        self.name = name
        self.fleet = fleet
        self.choices = Choices(name, fleet.seed, LONG)

    async def run(self) -> None:
        """Until the fleet closes and the last turn has ended."""
        fleet = self.fleet
        raw = Raw(await fleet.note(self.name))
        while not fleet.closing.is_set():
            plan = self.choices.next()
            fleet.history.add(Asked(fleet.history.now(), self.name, plan.turn, plan.tag, plan.deadline_s))
            with fleet.turn_open():
                await self._turn(raw, plan)
            await soon(fleet.closing, self.choices.pause_s())

    async def _turn(self, raw: Raw, plan: Plan) -> None:
        stop_after = self.choices.rng.randint(2, 12)
        hold_s = self.choices.rng.uniform(*HOLD_S)
        start = {"type": "turn.start", "turn": plan.turn, "text": plan.text, "deadline_ms": int(plan.deadline_s * 1000)}
        raw.starts[plan.turn] = start
        while plan.turn in raw.starts or plan.turn in raw.pending:
            with contextlib.suppress(*GONE):
                async with raw.opened():
                    stop_after = await self._read(raw, plan, stop_after, hold_s)
            if await soon(self.fleet.leave, self.choices.rng.uniform(0.02, 0.3)):
                return

    async def _read(self, raw: Raw, plan: Plan, stop_after: int, hold_s: float) -> int:
        """To the end of the turn. Returns how many frames are left before the stop."""
        while plan.turn in raw.starts or plan.turn in raw.pending:
            frame = await raw.read()
            if frame["type"] == "error" and frame.get("turn") == plan.turn:
                if not frame.get("retryable") or await soon(
                    self.fleet.closing, (frame.get("retry_after_ms") or 200) / 1000
                ):
                    raw.starts.pop(plan.turn, None)
                    return 0
                await raw.send(raw.starts[plan.turn])
            stop_after -= 1
            if stop_after == 0:
                raw.note.door.stall()
                await soon(self.fleet.leave, hold_s)
                raw.note.door.read()
        return stop_after


async def reread(history: History, door: Door, session: str, client: str, turns: list[str]) -> None:
    """Each of ``turns`` as a new reader of ``session`` without a position gets it. A turn whose end does not come in
    :data:`REREAD_S` is written down without.
    """
    for first in range(0, len(turns), PENDING):
        wanted = turns[first : first + PENDING]
        frames: dict[str, list[dict[str, Any]]] = {turn: [] for turn in wanted}
        with contextlib.suppress(*GONE):
            async with asyncio.timeout(REREAD_S):
                await _collect(Raw(Note(History(), "reread", door), session), frames)
        for turn, told in frames.items():
            history.add(Reread(history.now(), client, turn, tuple(told)))


async def _collect(raw: Raw, frames: dict[str, list[dict[str, Any]]]) -> None:
    raw.pending = list(frames)
    async with raw.opened():
        while raw.pending:
            frame = await raw.read()
            if "seq" in frame and frame.get("turn") in frames:
                frames[frame["turn"]].append(frame)


async def soon(event: asyncio.Event, seconds: float) -> bool:
    """Whether ``event`` was set within so many seconds."""
    try:
        async with asyncio.timeout(seconds):
            return await event.wait()
    except TimeoutError:
        return False
