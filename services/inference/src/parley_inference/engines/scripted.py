"""``scripted``: the same tokens at the same pace every time, for tests and benchmarks. Never chosen by ``auto``."""

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass

from parley_inference.engine import Piece, Request
from parley_protocol.events import Usage
from parley_runtime.config import setting
from parley_runtime.errors import EngineError

NAME = "scripted"


@dataclass(frozen=True, slots=True, kw_only=True)
class ScriptedSettings:
    """Settings of the engine for tests and benchmarks."""

    tokens: int = setting("PARLEY_SCRIPT_TOKENS", 20, "Tokens of each scripted answer", unit="tokens", minimum=1)
    interval_ms: float = setting(
        "PARLEY_SCRIPT_INTERVAL_MS",
        0.0,
        "Time before each scripted token",
        unit="milliseconds",
        zero="all at once",
        minimum=0,
    )
    fail_at: int = setting(
        "PARLEY_SCRIPT_FAIL_AT",
        0,
        "The scripted engine fails in place of this token (counted from 1), at every attempt",
        unit="token",
        zero="never",
        minimum=0,
    )


class ScriptedGenerator:
    """Token *k* is ``t<k>`` and a space, so that loss, doubling and disorder can be seen in the text."""

    name = NAME
    model = NAME
    deterministic = True
    continues = False

    def __init__(self, settings: ScriptedSettings) -> None:
        self._settings = settings

    async def generate(self, request: Request, *, prefix: str = "") -> AsyncGenerator[Piece, None]:
        """Always the whole script, the part within ``prefix`` without waits. ``sampling.max_tokens`` cuts it."""
        settings = self._settings
        count = min(settings.tokens, request.sampling.max_tokens or settings.tokens)
        interval = settings.interval_ms / 1000
        loop = asyncio.get_running_loop()
        due, said = loop.time(), 0
        for index in range(1, count + 1):
            # By the clock and not by sleeps added up, so that load does not stretch the script.
            due += interval if said >= len(prefix) else 0.0
            await asyncio.sleep(max(0.0, due - loop.time()))
            if index == settings.fail_at:
                raise EngineError(f"the script fails at token {index} (PARLEY_SCRIPT_FAIL_AT)")
            text = token(index, count)
            said += len(text)
            yield Piece(text)
        words = sum(len(message.content.split()) for message in request.messages)
        yield Piece("", Usage(prompt_tokens=words, completion_tokens=count))

    def problem(self) -> str | None:
        """Always fine."""
        return None

    async def close(self) -> None:
        """Nothing to free."""


def token(index: int, count: int) -> str:
    """The text of token ``index`` (from 1) of ``count``."""
    return f"t{index}" if index == count else f"t{index} "
