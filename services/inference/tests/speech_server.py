"""Answers of a local server of speech, good and bad, for :class:`llm_server.LlmServer`."""

import math
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

from llm_server import Exchange, LlmServer, Script

from parley_inference.speech.openai import OpenAISpeechSettings, OpenAISynthesizer, connect
from parley_inference.speech.synthesizer import Synthesizer, Utterance

KEY = "sk-very-secret"
FAST = OpenAISpeechSettings(api_key=KEY, first_byte_s=5.0, chunk_s=5.0, retries=0, breaker=0)
CHAR_MS = 50


def hum(text: str, rate: int = 24_000) -> bytes:
    """What the server makes of a text: a hum as long as it."""
    count = len(text) * CHAR_MS * rate // 1000
    return b"".join(struct.pack("<h", round(6000 * math.sin(at * 0.05))) for at in range(count))


async def good(exchange: Exchange) -> None:
    """Raw PCM in chunks of an odd size; "endless" never ends."""
    await exchange.head(200, {"content-type": "audio/pcm"})
    text = exchange.body["input"]
    pcm = hum(text)
    for start in range(0, len(pcm), 3001):
        await exchange.send(pcm[start : start + 3001])
    if text.startswith("endless"):
        await exchange.hang_up_seen()


@asynccontextmanager
async def serving(
    *scripts: Script, settings: OpenAISpeechSettings = FAST
) -> AsyncIterator[tuple[LlmServer, OpenAISynthesizer]]:
    async with LlmServer(*scripts) as server:
        engine = await connect(replace(settings, base_url=server.url))
        try:
            yield server, engine
        finally:
            await engine.close()


async def audio_of(engine: Synthesizer, text: str = "hello there", **options: object) -> bytes:
    return b"".join([chunk async for chunk in engine.speak(Utterance(text=text, **options))])  # type: ignore[arg-type]
