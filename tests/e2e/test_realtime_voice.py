"""A spoken question to a spoken answer by the official ``openai`` client, with a real recogniser and real voices.

How well the small default recogniser hears is not judged here: what it has heard is what is asked.
"""

import asyncio
import base64
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from pathlib import Path

import pytest
from openai import AsyncOpenAI

from parley_inference.speech.espeak import EspeakSettings, EspeakSynthesizer
from parley_inference.speech.synthesizer import Utterance
from parley_testkit.stack import Stack

from .harness import parley, stored

pytestmark = pytest.mark.e2e

RATE = 24_000
PIECE = 2 * RATE // 10
SILENCE = bytes(2 * RATE)
"""A second of it."""


@pytest.fixture
async def client(make_stack: Callable[..., Stack], sample: Path) -> AsyncIterator[AsyncOpenAI]:
    stack = make_stack("voice", roles={"rag": 1, "inference": 1, "asr": 1, "gateway": 1}, PARLEY_ENGINE="extractive")
    done = parley(stack.url, "ingest", str(sample), "--kb", "default")
    assert done.returncode == 0, done.stderr
    async with AsyncOpenAI(base_url=stack.url + "/v1", api_key="none") as made:
        made.stack = stack  # type: ignore[attr-defined]
        yield made


async def spoken(text: str) -> bytes:
    """The text, said by a voice."""
    engine = EspeakSynthesizer(EspeakSettings())
    try:
        async with aclosing(engine.speak(Utterance(text=text, rate=RATE, speed=0.8))) as parts:
            return b"".join([part async for part in parts])
    finally:
        await engine.close()


async def test_a_spoken_question_gets_a_spoken_answer(client: AsyncOpenAI) -> None:
    question = SILENCE + await spoken("When does the heating start?") + SILENCE
    heard, said, pcm = "", "", b""
    async with client.realtime.connect(model="gpt-realtime") as connection, asyncio.timeout(60):
        await connection.session.update(
            session={"type": "realtime", "audio": {"input": {"transcription": {"model": "whisper-1"}}}}
        )
        for at in range(0, len(question), PIECE):
            await connection.input_audio_buffer.append(audio=base64.b64encode(question[at : at + PIECE]).decode())
        async for event in connection:
            assert event.type != "error", event
            match event.type:
                case "conversation.item.input_audio_transcription.completed":
                    heard = event.transcript
                case "response.output_audio_transcript.delta":
                    said += event.delta
                case "response.output_audio.delta":
                    pcm += base64.b64decode(event.delta)
                case "response.done":
                    break
    assert heard
    assert event.response.status == "completed"
    assert event.response.output[0].content[0].transcript == said
    assert len(pcm) > 2 * RATE
    assert len(set(pcm)) > 100
    (row,) = stored(client.stack, heard, by="question")  # type: ignore[attr-defined]
    assert row["text"] == said
