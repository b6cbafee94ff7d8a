"""``extractive``, the default: answers with the passages' own sentences, cited. Needs no model and no network."""

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass

from parley_inference.engine import Piece, Request
from parley_inference.extract.compose import answer, pieces
from parley_protocol.events import Usage
from parley_runtime.config import setting

NAME = "extractive"


@dataclass(frozen=True, slots=True, kw_only=True)
class ExtractiveSettings:
    """Settings of the extractive engine."""

    pace_ms: float = setting(
        "PARLEY_EXTRACTIVE_PACE_MS",
        8.0,
        "Time between two pieces (words) of an extractive answer, so that streaming can be seen",
        unit="milliseconds",
        zero="as fast as possible",
        minimum=0,
        maximum=1000,
    )


class ExtractiveGenerator:
    """Nothing is invented: an answer holds only units of the given passages and a few fixed phrases."""

    name = NAME
    model = NAME
    deterministic = True
    continues = False

    def __init__(self, settings: ExtractiveSettings) -> None:
        self._pace = settings.pace_ms / 1000
        self._turn = asyncio.Lock()

    async def generate(self, request: Request, *, prefix: str = "") -> AsyncGenerator[Piece, None]:
        """The whole answer, from the start; the part that repeats ``prefix`` comes in one piece, without pace."""
        # One at a time, and the loop in between: a burst of questions must not hold up a cancel.
        async with self._turn:
            await asyncio.sleep(0)
            text = answer(
                request.question, request.sources, intent=request.intent, kb=request.kb, messages=request.messages
            )
        rest = pieces(text)
        count = len(rest)
        if prefix and text.startswith(prefix):
            yield Piece(prefix)
            rest = pieces(text[len(prefix) :])
        for index, piece in enumerate(rest):
            if index:
                await asyncio.sleep(self._pace)
            yield Piece(piece)
        yield Piece("", Usage(completion_tokens=count))

    def problem(self) -> str | None:
        """Always fine."""
        return None

    async def close(self) -> None:
        """Nothing to free."""
