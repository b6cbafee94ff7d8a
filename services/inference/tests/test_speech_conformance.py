"""Every synthesizer passes the same suite."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from dataclasses import dataclass

import numpy as np
import pytest
import speech_server

from parley_inference.speech.espeak import EspeakSettings, EspeakSynthesizer
from parley_inference.speech.registry import SYNTHESIZERS
from parley_inference.speech.synthesizer import Synthesizer, Utterance
from parley_inference.speech.tone import ToneSettings, ToneSynthesizer
from parley_runtime.errors import EngineRejected
from parley_testkit.timing import least

pytestmark = pytest.mark.unit

STOP_S = 0.1
"""Bound of the cancel promise."""
LONG = "This sentence goes on and on, because somebody has to stop it before its end. " * 12
TEXTS = ("Hello.", "How are you this morning?", "你好，今天天气很好。", "Parley 支持语音。", "It costs 3.50 dollars.")


@dataclass(frozen=True)
class Case:
    """An open synthesizer; ``endless`` is a text that takes it long."""

    engine: Synthesizer
    endless: str = LONG


@asynccontextmanager
async def _espeak() -> AsyncIterator[Case]:
    engine = EspeakSynthesizer(EspeakSettings())
    yield Case(engine)
    await engine.close()


@asynccontextmanager
async def _tone() -> AsyncIterator[Case]:
    yield Case(ToneSynthesizer(ToneSettings(factor=0.01)), "endless " * 2000)


@asynccontextmanager
async def _openai() -> AsyncIterator[Case]:
    async with speech_server.serving(speech_server.good) as (_, engine):
        yield Case(engine, "endless")


CASES: dict[str, Callable[[], AbstractAsyncContextManager[Case]]] = {
    "espeak": _espeak,
    "tone": _tone,
    "openai": _openai,
}


@pytest.fixture(params=CASES)
async def case(request: pytest.FixtureRequest) -> AsyncIterator[Case]:
    async with CASES[request.param]() as opened:
        yield opened


def _samples(pcm: bytes) -> np.ndarray:
    return np.frombuffer(pcm, dtype="<i2").astype(np.float64)


async def _say(engine: Synthesizer, text: str, **options: object) -> np.ndarray:
    async with asyncio.timeout(20):
        return _samples(await speech_server.audio_of(engine, text, **options))


def test_no_registered_synthesizer_is_left_out() -> None:
    assert set(CASES) == set(SYNTHESIZERS)


@pytest.mark.parametrize("text", TEXTS)
async def test_words_sound(case: Case, text: str) -> None:
    sound = await _say(case.engine, text)
    assert 0.1 < len(sound) / 24_000 < 8
    assert np.sqrt(np.mean(sound**2)) > 300
    assert np.abs(sound).max() <= 32_767


@pytest.mark.parametrize("rate", [8_000, 16_000, 22_050, 24_000, 44_100, 48_000])
async def test_the_rate_changes_no_length(case: Case, rate: int) -> None:
    text = "How are you this morning?"
    expected = len(await _say(case.engine, text)) / 24_000
    assert len(await _say(case.engine, text, rate=rate)) / rate == pytest.approx(expected, rel=0.01)


async def test_whole_samples_come_in_pieces(case: Case) -> None:
    chunks = [chunk async for chunk in case.engine.speak(Utterance(text=TEXTS[1]))]
    assert chunks
    assert all(len(chunk) % 2 == 0 and chunk for chunk in chunks)


async def test_a_longer_text_takes_longer(case: Case) -> None:
    one = len(await _say(case.engine, "A short sentence."))
    assert len(await _say(case.engine, "A short sentence. And another one behind it.")) > 1.5 * one


async def test_many_at_a_time_are_isolated(case: Case) -> None:
    alone = [len(await _say(case.engine, text)) for text in TEXTS]
    together = await asyncio.gather(*(_say(case.engine, text) for text in TEXTS * 4))
    # What comes from a state that outlives a text, as espeak-ng's does, is a few hundredths.
    assert [len(sound) for sound in together] == pytest.approx(alone * 4, rel=0.05)


async def test_closing_is_prompt_and_leaves_the_others(case: Case) -> None:
    expected = len(await _say(case.engine, TEXTS[0]))

    async def close() -> float:
        async with asyncio.timeout(60), aclosing(case.engine.speak(Utterance(text=case.endless))) as chunks:
            assert await anext(chunks)
            other = asyncio.create_task(_say(case.engine, TEXTS[0]))
            begun = time.perf_counter()
            await chunks.aclose()
            took = time.perf_counter() - begun
        assert len(await other) == pytest.approx(expected, rel=0.05)
        return took

    assert await least(close, under=STOP_S) < STOP_S


async def test_cancelling_is_prompt(case: Case) -> None:
    """The thread or server behind it is free as well: the next text is said at once."""
    assert await least(lambda: _cancelled(case), under=2 * STOP_S) < 2 * STOP_S


async def _cancelled(case: Case) -> float:
    """Seconds from a cancel until the next text has been said."""

    async def read() -> None:
        async with aclosing(case.engine.speak(Utterance(text=case.endless))) as chunks:
            async for _ in chunks:
                begun.set()
            await asyncio.Event().wait()

    begun = asyncio.Event()
    task = asyncio.create_task(read())
    async with asyncio.timeout(60):
        await begun.wait()
    at = time.perf_counter()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await _say(case.engine, "Hi.")
    return time.perf_counter() - at


@pytest.mark.parametrize("text", ["", "...", "--- !? ***", "\u200b\u3000"])
async def test_what_has_no_sound_is_refused(case: Case, text: str) -> None:
    with pytest.raises(EngineRejected):
        await _say(case.engine, text)


@pytest.mark.parametrize(
    "text", ["a\x00b", "<speak>tag</speak> [[h@l'oU]]", "x" * 300, "\ud7ff\ue000 e\u0301 👍 ok", "1"]
)
async def test_odd_texts_are_said_too(case: Case, text: str) -> None:
    assert len(await _say(case.engine, text)) > 1000


async def test_a_voice_that_it_does_not_have_is_no_failure(case: Case) -> None:
    assert len(await _say(case.engine, "Hello.", voice="nobody+\x01", language="qq-XX")) > 1000


async def test_what_it_claims(case: Case) -> None:
    if case.engine.deterministic:
        assert np.array_equal(await _say(case.engine, TEXTS[1]), await _say(case.engine, TEXTS[1]))
    assert case.engine.problem() is None
    assert case.engine.name in SYNTHESIZERS
    assert case.engine.model


async def test_close_is_idempotent(case: Case) -> None:
    await case.engine.close()
    await case.engine.close()
