"""What an engine is, and the one way in which it is called."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from parley_protocol.events import Ending, Source, Usage
from parley_protocol.work import ChatMessage, Sampling
from parley_runtime.errors import Expired


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One answer to make. ``deadline_s``: seconds from now; ``sources`` are what ``[1]``, ``[2]`` stand for."""

    messages: tuple[ChatMessage, ...]
    question: str
    sources: tuple[Source, ...] = ()
    intent: str = ""
    kb: str = "default"
    sampling: Sampling = field(default_factory=Sampling)
    deadline_s: float = 60.0
    prepared: str = ""
    """The answer, where it is known already."""
    user: str = ""
    """What the client calls the conversation; never empty where the engine ``threads``."""
    thread: str = ""
    """What the engine called the conversation before, where it ``threads``."""


@dataclass(frozen=True, slots=True)
class Piece:
    """Some more text (may be empty) and, once known, the usage of the whole run.

    ``thread``: what the engine calls the conversation. ``sources``: what it says that the answer rests on.
    ``ending``: how the answer ended, where there is something to say of it.
    """

    text: str
    usage: Usage | None = None
    thread: str = ""
    sources: tuple[Source, ...] = ()
    ending: Ending | None = None


class Generator(Protocol):
    """An engine. Opened by its registration, used by any number of requests at once, closed once.

    ``deterministic``: the same request gives the same text, in any process. ``continues``: :meth:`generate` honours
    ``prefix`` by yielding only what follows it.
    """

    @property
    def name(self) -> str: ...
    @property
    def model(self) -> str: ...
    @property
    def deterministic(self) -> bool: ...
    @property
    def continues(self) -> bool: ...

    def generate(self, request: Request, *, prefix: str = "") -> AsyncGenerator[Piece, None]:
        """Stream the answer. Closing the generator, or cancelling the task that reads it, stops the engine's work
        within 100 ms; other requests are not touched.

        ``prefix`` is text that an earlier run has delivered. An engine that cannot continue answers from the start.

        Raises:
            EngineError: this attempt failed; another may succeed. Pieces may have been yielded before.
            EngineRejected: the engine refuses this request.
        """
        ...

    def problem(self) -> str | None:
        """Why the engine cannot answer at present, for readiness; None where it can."""
        ...

    async def close(self) -> None:
        """Free everything. Idempotent."""
        ...


@runtime_checkable
class Calling(Protocol):
    """Of an engine that honours ``Sampling.tools``. ``calls_tools``: it does, as it is set up."""

    @property
    def calls_tools(self) -> bool: ...


@runtime_checkable
class Remembering(Protocol):
    """Of an engine that keeps conversations itself. ``threads``: it does, as it is set up."""

    @property
    def threads(self) -> bool: ...


class _Deadline:
    """One timer for a whole answer, which cancels its reader only while that waits for a piece.

    ``asyncio.timeout`` would have to be entered for every piece, as nothing may be cancelled while the pieces' consumer
    has the word; with an engine that costs nothing that was a quarter of the worker's time.
    """

    __slots__ = ("_before", "_cancelled", "_task", "_timer", "passed", "waiting")

    def __init__(self, seconds: float) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._task = task
        self._before = task.cancelling()
        self._cancelled = False
        self.passed = False
        self.waiting = False
        self._timer = asyncio.get_running_loop().call_later(seconds, self._fire)

    def _fire(self) -> None:
        self.passed = True
        if self.waiting:
            self._cancelled = True
            self._task.cancel()

    def caused(self) -> bool:
        """Whether a cancellation that has just arrived is this timer's, and nobody else's as well."""
        if not self._cancelled:
            return False
        self._cancelled = False
        return self._task.uncancel() <= self._before

    def close(self) -> None:
        """Stop the timer, and take back a cancellation that the engine kept to itself."""
        self._timer.cancel()
        self.caused()


async def stream(engine: Generator, request: Request, *, prefix: str = "") -> AsyncGenerator[Piece, None]:
    """``engine.generate`` under the request's deadline; pieces with nothing in them are left out. One task reads it.

    Raises:
        Expired: the deadline passed before the answer was whole. The engine has been stopped.
    """
    limit = _Deadline(request.deadline_s)
    try:
        async with aclosing(engine.generate(request, prefix=prefix)) as pieces:
            while not limit.passed:
                limit.waiting = True
                try:
                    piece = await anext(pieces)
                except StopAsyncIteration:
                    return
                except asyncio.CancelledError:
                    if not limit.caused():
                        raise
                    break
                finally:
                    limit.waiting = False
                if piece.text or piece.usage is not None or piece.thread or piece.sources or piece.ending is not None:
                    yield piece
            raise Expired("the answer was not ready within the turn's deadline; allow more time")
    finally:
        limit.close()
