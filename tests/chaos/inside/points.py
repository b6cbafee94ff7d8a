"""Hold points: places in a turn's life where a process stops and asks whether it may go on.

They are put into the real services from outside (see ``probe``); nothing in Parley knows of them. A point acts only for
turns whose id contains ``hold``: the process connects to the unix socket of ``PARLEY_CHAOS_PROBE``, writes one line of
JSON ``{"pid", "role", "point", "turn", "fence"}`` and goes on when a line comes back, or when the connection ends.
Where nobody listens it goes on at once. ``fence`` is 0 where the run has none yet.

    gateway    accept      before the turn's job is published
    rag        queued      its job is delivered; before the claim
               retrieving  claimed and worked on; before the next job is published
               forwarded   the next job is confirmed; before the ack
    inference  first       before the first token
               answer      half of the tokens are written
               record      the answer is whole; before its record is published
               recorded    the record is confirmed; before the ack
    rag        stored      the row is closed; before its terminal is sent
               told        the terminal is sent; before the record's ack
"""

import asyncio
import contextlib
import inspect
import json
import os
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from contextvars import ContextVar
from typing import Any, Final

POINTS: Final = {
    "gateway": ("accept",),
    "rag": ("queued", "retrieving", "forwarded", "stored", "told"),
    "inference": ("first", "answer", "record", "recorded"),
}
"""By role, in the order in which a turn passes them."""

IN_ORDER: Final = (
    "accept",
    "queued",
    "retrieving",
    "forwarded",
    "first",
    "answer",
    "record",
    "recorded",
    "stored",
    "told",
)
"""``forwarded`` and ``first``, and ``recorded`` and ``stored``, are in two processes: either may be the earlier."""

WORD: Final = "hold"
Reach = Callable[[str, str, int], Awaitable[None]]


class Changed(RuntimeError):
    """Parley no longer has what a patch takes hold of: the patch must follow it."""


def wrap(owner: Any, name: str, parameters: tuple[str, ...], make: Callable[[Any], Any], *, more: bool = False) -> None:
    """Replace ``owner.name`` by ``make(original)``. ``more``: further parameters may follow; they are passed on.

    Raises:
        Changed: there is no such function, or it takes other parameters than ``parameters``.
    """
    where = f"{getattr(owner, '__name__', owner)}.{name}"
    original = vars(owner).get(name)
    if not inspect.isfunction(original):
        raise Changed(f"{where} is gone; tests/chaos must follow")
    found = tuple(inspect.signature(original).parameters)
    if (found[: len(parameters)] if more else found) != parameters:
        raise Changed(f"{where} takes {found}, not {parameters}; tests/chaos must follow")
    setattr(owner, name, make(original))


class Holds:
    """The asking side."""

    def __init__(self, path: str, role: str) -> None:
        self._path = path
        self._role = role

    async def reach(self, point: str, turn: str, fence: int = 0) -> None:
        """Returns when the listener, or its absence, lets the process go on."""
        if WORD not in turn:
            return
        writer: asyncio.StreamWriter | None = None
        try:
            reader, writer = await asyncio.open_unix_connection(self._path)
            asked = {"pid": os.getpid(), "role": self._role, "point": point, "turn": turn, "fence": fence}
            writer.write(json.dumps(asked).encode() + b"\n")
            await reader.readline()
        except OSError:
            return
        finally:
            if writer is not None:
                writer.close()


def install(role: str, path: str) -> None:
    """Put the points of ``role`` in. Raises Changed."""
    reach = Holds(path, role).reach
    {"gateway": _gateway, "rag": _rag, "inference": _inference, "asr": _asr}[role](reach)


def _asr(reach: Reach) -> None:
    """A turn that is being said has not begun: nothing of it can be held there."""


def _gateway(reach: Reach) -> None:
    from parley_gateway.publishing import Publishing

    def publish(original: Any) -> Any:
        async def held(self: Any, entry: Any) -> None:
            await reach("accept", entry.turn.key.turn, 0)
            await original(self, entry)

        return held

    wrap(Publishing, "publish", ("self", "entry"), publish)


def _rag(reach: Reach) -> None:
    from parley_rag.handler import RetrieveHandler
    from parley_rag.recorder import Recorder
    from parley_runtime.store.ports import Stored
    from parley_runtime.store.turns import TurnTable
    from parley_runtime.work.serve import Server

    def serve(original: Any) -> Any:
        async def held(self: Any, run: Any, delivery: Any) -> str:
            await reach("queued", run.key.turn, 0)
            return str(await original(self, run, delivery))

        return held

    def close(original: Any) -> Any:
        async def held(self: Any, record: Any) -> Any:
            closing = await original(self, record)
            if isinstance(closing, Stored):
                await reach("stored", record.key.turn, record.fence)
            return closing

        return held

    def record(original: Any) -> Any:
        async def held(self: Any, delivery: Any, record: Any) -> None:
            async def told() -> None:
                await reach("told", record.key.turn, record.fence)

            await original(self, _Delivery(delivery, told), record)

        return held

    wrap(Server, "_serve", ("self", "run", "delivery"), serve)
    wrap(RetrieveHandler, "__call__", ("self", "run"), _after(reach, "retrieving"))
    _confirmed(reach, "Generate", "forwarded")
    wrap(TurnTable, "close", ("self", "record"), close)
    wrap(Recorder, "_record", ("self", "delivery", "record"), record)


def _inference(reach: Reach) -> None:
    from parley_inference import handler
    from parley_inference.engines.scripted import ScriptedGenerator, script_of
    from parley_inference.handler import GenerateHandler

    current: ContextVar[Any] = ContextVar("run")

    def call(original: Any) -> Any:
        async def held(self: Any, run: Any) -> Any:
            current.set(run)
            return await original(self, run)

        return held

    def stream(original: Any) -> Any:
        async def held(engine: Any, request: Any, *, prefix: str = "") -> AsyncGenerator[Any, None]:
            if not isinstance(engine, ScriptedGenerator):
                raise Changed("hold points need PARLEY_ENGINE=scripted")
            run, said = current.get(), 0
            half = max(1, script_of(request, engine.settings).count // 2)
            async with aclosing(original(engine, request, prefix=prefix)) as pieces:
                async for piece in pieces:
                    if piece.text and not said:
                        await reach("first", run.key.turn, run.fence)
                    yield piece
                    said += bool(piece.text)
                    if piece.text and said == half:
                        await reach("answer", run.key.turn, run.fence)

        return held

    wrap(handler, "stream", ("engine", "request", "prefix"), stream)
    wrap(GenerateHandler, "__call__", ("self", "run"), _after(reach, "record"))
    wrap(GenerateHandler, "__call__", ("self", "run"), call)
    _confirmed(reach, "Record", "recorded")


def _after(reach: Reach, point: str) -> Callable[[Any], Any]:
    """Behind a stage's handler, still within its run: a run that is held can be stopped and superseded."""

    def make(original: Any) -> Any:
        async def held(self: Any, run: Any) -> Any:
            job = await original(self, run)
            await reach(point, run.key.turn, run.fence)
            return job

        return held

    return make


def _confirmed(reach: Reach, kind: str, point: str) -> None:
    """Between the confirm of the job ``kind`` and the ack of the one before it."""
    from parley_runtime.work.exits import Exits

    def publish(original: Any) -> Any:
        async def held(self: Any, run: Any, job: Any) -> bool:
            taken = bool(await original(self, run, job))
            if taken and type(job).__name__ == kind:
                await reach(point, run.key.turn, run.fence)
            return taken

        return held

    wrap(Exits, "_publish", ("self", "run", "job"), publish)


class _Delivery:
    """A delivery whose ack comes after ``before``."""

    def __init__(self, delivery: Any, before: Callable[[], Awaitable[None]]) -> None:
        self._delivery = delivery
        self._before = before

    def __getattr__(self, name: str) -> Any:
        return getattr(self._delivery, name)

    async def ack(self, *, multiple: bool = False) -> bool:
        """As the delivery's own, later."""
        with contextlib.suppress(OSError):
            await self._before()
        return bool(await self._delivery.ack(multiple=multiple))
