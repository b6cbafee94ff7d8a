"""``tone``: a tone for every character, the same samples every time, for tests and benchmarks. Never chosen by
``auto``.
"""

import asyncio
import math
from array import array
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from sys import byteorder

from parley_inference.speech.scripts import speakable
from parley_inference.speech.synthesizer import Utterance
from parley_runtime.config import setting
from parley_runtime.errors import EngineRejected

NAME = "tone"


@dataclass(frozen=True, slots=True, kw_only=True)
class ToneSettings:
    """Settings of the synthesizer for tests and benchmarks."""

    char_ms: int = setting(
        "PARLEY_TONE_CHAR_MS", 60, "Audio of one character of the tone engine", unit="milliseconds", minimum=1
    )
    factor: float = setting(
        "PARLEY_TONE_FACTOR",
        0.0,
        "Time that the tone engine takes for a second of audio",
        unit="seconds",
        zero="at once",
        minimum=0,
    )


class ToneSynthesizer:
    """Letters and digits sound, at a pitch of their own; everything else is silence of the same length."""

    name = NAME
    model = NAME
    deterministic = True

    def __init__(self, settings: ToneSettings) -> None:
        self.settings = settings

    async def speak(self, utterance: Utterance) -> AsyncGenerator[bytes, None]:
        """One chunk for each character."""
        if not speakable(utterance.text):
            raise EngineRejected("there is nothing in this text that can be said")
        char_s = self.settings.char_ms / 1000 / utterance.speed
        loop = asyncio.get_running_loop()
        due = loop.time()
        for char in utterance.text:
            due += char_s * self.settings.factor
            await asyncio.sleep(max(0.0, due - loop.time()))
            yield tone(char, utterance.rate, char_s)

    def problem(self) -> str | None:
        """Always fine."""
        return None

    async def close(self) -> None:
        """Nothing to free."""


def tone(char: str, rate: int, seconds: float) -> bytes:
    """The samples of one character."""
    count = round(rate * seconds)
    if not char.isalnum():
        return bytes(2 * count)
    turn = 2 * math.pi * (200 + ord(char) % 600) / rate
    samples = array("h", (round(8000 * math.sin(turn * at)) for at in range(count)))
    if byteorder == "big":
        samples.byteswap()
    return samples.tobytes()
