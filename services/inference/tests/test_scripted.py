"""The scripted engine: the same tokens at the same pace."""

import time
from contextlib import aclosing

import pytest

from parley_inference.engine import Request, stream
from parley_inference.engines.scripted import ScriptedGenerator, ScriptedSettings, token
from parley_protocol.events import Usage
from parley_protocol.work import ChatMessage, Sampling
from parley_runtime.errors import EngineError

pytestmark = pytest.mark.unit

ASK = Request(messages=(ChatMessage("user", "two words"),), question="two words")


async def _run(engine: ScriptedGenerator, request: Request = ASK, prefix: str = "") -> tuple[str, Usage | None]:
    text, usage = "", None
    async with aclosing(stream(engine, request, prefix=prefix)) as pieces:
        async for piece in pieces:
            text += piece.text
            usage = piece.usage or usage
    return text, usage


async def test_tokens_can_be_told_apart() -> None:
    assert await _run(ScriptedGenerator(ScriptedSettings(tokens=3))) == ("t1 t2 t3", Usage(2, 3))
    assert [token(k, 3) for k in (1, 2, 3)] == ["t1 ", "t2 ", "t3"]


async def test_a_client_s_bound_cuts_the_script() -> None:
    request = Request(messages=(), question="", sampling=Sampling(max_tokens=2))
    assert await _run(ScriptedGenerator(ScriptedSettings(tokens=9)), request) == ("t1 t2", Usage(0, 2))


async def test_the_pace_is_kept_by_the_clock() -> None:
    begun = time.perf_counter()
    await _run(ScriptedGenerator(ScriptedSettings(tokens=10, interval_ms=20)))
    assert 0.19 < time.perf_counter() - begun < 1.0


async def test_what_a_former_run_said_comes_without_waits() -> None:
    engine = ScriptedGenerator(ScriptedSettings(tokens=4, interval_ms=200))
    begun = time.perf_counter()
    assert (await _run(engine, prefix="t1 t2 t3 "))[0] == "t1 t2 t3 t4"
    assert 0.19 < time.perf_counter() - begun < 0.5


async def test_it_fails_where_told_at_every_attempt() -> None:
    engine = ScriptedGenerator(ScriptedSettings(tokens=5, fail_at=3))
    for _ in range(2):
        got = []
        with pytest.raises(EngineError, match="token 3"):
            async with aclosing(stream(engine, ASK)) as pieces:
                async for piece in pieces:
                    got.append(piece.text)
        assert got == ["t1 ", "t2 "]
