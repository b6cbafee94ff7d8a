"""The OpenAI-compatible synthesizer against a real server that misbehaves."""

import asyncio
from collections.abc import Callable
from dataclasses import replace

import pytest
from llm_server import Exchange, Script, refusing
from speech_server import FAST, KEY, audio_of, good, hum, serving

from parley_inference.speech import openai
from parley_runtime.errors import EngineError, EngineRejected

pytestmark = pytest.mark.unit


@pytest.fixture(autouse=True)
def _no_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openai, "BACKOFF_S", 0.001)


async def test_what_the_server_is_asked() -> None:
    async with serving(good) as (server, engine):
        assert await audio_of(engine, "hi", voice="nova", speed=1.5) == hum("hi")
    (asked,) = server.asked
    assert asked.path == "/v1/audio/speech"
    assert asked.headers["authorization"] == f"Bearer {KEY}"
    expected = {"model": "tts-1", "input": "hi", "voice": "nova", "response_format": "pcm", "speed": 1.5}
    assert asked.body == expected | {"stream_format": "audio"}


async def _cut(exchange: Exchange) -> None:
    await exchange.send("HTTP/1.1 200 X\r\ncontent-type: audio/pcm\r\ncontent-length: 100000\r\n\r\n")
    await exchange.send(hum("half"))


async def _silent(exchange: Exchange) -> None:
    await exchange.head(200, {"content-type": "audio/pcm"})
    await exchange.hang_up_seen()


async def _mute(exchange: Exchange) -> None:
    await exchange.hang_up_seen()


async def _json(exchange: Exchange) -> None:
    await exchange.head(200, {"content-type": "application/json"})
    await exchange.send('{"error": "this is no audio"}')


async def _empty(exchange: Exchange) -> None:
    await exchange.head(200, {"content-type": "audio/pcm"})


async def _hang_up(exchange: Exchange) -> None:
    """Nothing at all."""


BROKEN: dict[str, Script] = {
    "cut off": _cut,
    "silence": _silent,
    "no answer": _mute,
    "text": _json,
    "empty": _empty,
    "hang up": _hang_up,
    "500": refusing(500),
    "429": refusing(429, headers={"retry-after": "0"}),
}


@pytest.mark.parametrize("name", BROKEN)
async def test_what_a_bad_server_does_is_an_error_that_may_pass(name: str) -> None:
    fast = replace(FAST, first_byte_s=0.2, chunk_s=0.2)
    async with serving(BROKEN[name], good, settings=fast) as (_, engine):
        with pytest.raises(EngineError) as raised:
            await audio_of(engine)
        assert KEY not in str(raised.value)
        assert "hello" not in str(raised.value)
        assert await audio_of(engine) == hum("hello there")


@pytest.mark.parametrize("status", [400, 401, 403, 404, 413])
async def test_what_it_refuses_is_not_tried_again(status: int) -> None:
    async with serving(refusing(status), good, settings=replace(FAST, retries=3)) as (server, engine):
        with pytest.raises(EngineRejected, match=str(status)):
            await audio_of(engine)
        assert len(server.asked) == 1


@pytest.mark.parametrize("status", [400, 404, 422])
async def test_a_voice_that_the_server_does_not_have_counts_as_none(status: int) -> None:
    """Clients of OpenAI name its voices, whatever speaks; a server is asked once for one that it does not have."""
    async with serving(refusing(status), good, good, good) as (server, engine):
        assert await audio_of(engine, "one", voice="cedar") == hum("one")
        assert await audio_of(engine, "two", voice="cedar") == hum("two")
        assert await audio_of(engine, "three", voice="nova") == hum("three")
        assert [each.body["voice"] for each in server.asked] == ["cedar", "alloy", "alloy", "nova"]


async def test_what_is_refused_in_any_voice_is_not_the_voices_fault() -> None:
    async with serving(refusing(400), refusing(400), good) as (server, engine):
        with pytest.raises(EngineRejected, match="400"):
            await audio_of(engine, "one", voice="cedar")
        assert await audio_of(engine, "two", voice="cedar") == hum("two")
        assert [each.body["voice"] for each in server.asked] == ["cedar", "alloy", "cedar"]


async def test_it_is_tried_again_while_nothing_was_heard() -> None:
    async with serving(refusing(503), _hang_up, good, settings=replace(FAST, retries=2)) as (server, engine):
        assert await audio_of(engine) == hum("hello there")
        assert len(server.asked) == 3


async def test_it_is_not_tried_again_in_mid_sentence() -> None:
    async with serving(_cut, good, settings=replace(FAST, retries=2)) as (server, engine):
        with pytest.raises(EngineError, match="cut a sentence off"):
            await audio_of(engine)
        assert len(server.asked) == 1


async def test_the_breaker_fails_at_once_and_closes_again(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    async with serving(refusing(503), refusing(503), good, settings=replace(FAST, breaker=2)) as (server, engine):
        monkeypatch.setattr(engine._breaker, "wait_s", _by(clock, engine._breaker.wait_s))
        monkeypatch.setattr(engine._breaker, "failed", lambda now, wish=0.0: failed(clock[0], wish))
        failed = type(engine._breaker).failed.__get__(engine._breaker)
        for _ in range(2):
            with pytest.raises(EngineError):
                await audio_of(engine)
        assert "failed 2 times in a row" in str(engine.problem())
        with pytest.raises(EngineError, match="left alone"):
            await audio_of(engine)
        assert len(server.asked) == 2
        clock[0] = 60.0
        assert await audio_of(engine) == hum("hello there")
        assert engine.problem() is None


def _by(clock: list[float], wait_s: Callable[[float], float]) -> Callable[[float], float]:
    return lambda _: wait_s(clock[0])


async def test_leaving_early_hangs_up() -> None:
    gone = asyncio.Event()

    async def endless(exchange: Exchange) -> None:
        await good(exchange)
        gone.set()

    async with serving(endless) as (_, engine):
        chunks = engine.speak(openai.Utterance(text="endless"))
        await anext(chunks)
        await chunks.aclose()
        async with asyncio.timeout(30):
            await gone.wait()
