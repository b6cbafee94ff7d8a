"""Every engine passes the same suite."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass

import conformance
import llm_server
import pytest

from parley_inference.engine import Generator, Request
from parley_inference.engines import openai
from parley_inference.engines.dify import DifyGenerator, DifySettings
from parley_inference.engines.extractive import ExtractiveGenerator, ExtractiveSettings
from parley_inference.engines.openai import OpenAISettings
from parley_inference.engines.scripted import ScriptedGenerator, ScriptedSettings
from parley_inference.registry import ENGINES
from parley_protocol.events import Source
from parley_protocol.work import ChatMessage, Sampling
from parley_testkit.dify import KEY, DifyServer, words

pytestmark = pytest.mark.unit

COUNT = 12
ENDLESS = 100_000


@dataclass(frozen=True)
class Case:
    """An open engine; ``ask(k)`` is the k-th question with its answer; ``endless`` takes minutes to answer."""

    engine: Generator
    ask: Callable[[int], tuple[Request, str]]
    endless: Request


def _request(text: str, sources: tuple[Source, ...] = (), sampling: Sampling | None = None) -> Request:
    messages = (ChatMessage("user", text),)
    return Request(messages=messages, question=text, sources=sources, sampling=sampling or Sampling(), user="u")


@asynccontextmanager
async def _scripted() -> AsyncIterator[Case]:
    def ask(which: int) -> tuple[Request, str]:
        count = 5 + which % 7
        return _request("?", sampling=Sampling(max_tokens=count)), " ".join(f"t{k}" for k in range(1, count + 1))

    engine = ScriptedGenerator(ScriptedSettings(tokens=ENDLESS, interval_ms=1.0))
    yield Case(engine, ask, _request("?"))
    await engine.close()


@asynccontextmanager
async def _extractive() -> AsyncIterator[Case]:
    def source(text: str) -> tuple[Source, ...]:
        return (Source("1", "a.md", "Things", 1.0, text, 0, len(text)),)

    def ask(which: int) -> tuple[Request, str]:
        said = f"The colour of ship number {which} is painted anew every {which + 2} years by its own crew."
        passage = f"# Ships\n\nNothing else is known here.\n\n{said}\n"
        return _request(f"What is the colour of ship number {which}?", source(passage)), f"{said} [1]"

    engine = ExtractiveGenerator(ExtractiveSettings(pace_ms=20.0))
    # One unit of 2,000 words: at this pace it takes 40 s.
    words = " ".join(f"whale{k}" for k in range(2000))
    yield Case(engine, ask, _request("Where is the whale7?", source(words)))
    await engine.close()


def _answer(question: str) -> list[str]:
    return [f"{word} " for word in f"You asked {question} and that is {COUNT} words long".split()]


async def _echo(exchange: llm_server.Exchange) -> None:
    """Answers with the question's words; "endless" never ends; goes on from an assistant's words."""
    messages = exchange.body["messages"]
    await exchange.head()
    if messages[0]["content"] == "endless":
        for k in range(ENDLESS):
            await exchange.delta(f"t{k} ")
            if k:
                await exchange.hang_up_seen()
                return
    done = messages[1]["content"] if exchange.body.get("continue_final_message") else ""
    rest = "".join(_answer(messages[0]["content"]))[len(done) :]
    for start in range(0, len(rest), 5):
        await exchange.delta(rest[start : start + 5])
    await exchange.finish()


@asynccontextmanager
async def _openai_case(continues: bool) -> AsyncIterator[Case]:
    async with llm_server.LlmServer(_echo) as server:
        engine = await openai.connect(OpenAISettings(base_url=server.url, continues=continues))
        yield Case(engine, lambda k: (_request(f"q{k}"), "".join(_answer(f"q{k}"))), _request("endless"))
        await engine.close()


@asynccontextmanager
async def _dify() -> AsyncIterator[Case]:
    async with DifyServer() as server:
        engine = DifyGenerator(DifySettings(api_key=KEY, base_url=server.url))
        yield Case(engine, lambda k: (_request(f"q{k}"), "".join(words(f"q{k}", 0))), _request("endless"))
        await engine.close()


CASES: dict[str, Callable[[], AbstractAsyncContextManager[Case]]] = {
    "scripted": _scripted,
    "extractive": _extractive,
    "dify": _dify,
    "openai": lambda: _openai_case(continues=False),
    "openai-continuing": lambda: _openai_case(continues=True),
}


@pytest.fixture(params=CASES)
async def case(request: pytest.FixtureRequest) -> AsyncIterator[Case]:
    async with CASES[request.param]() as opened:
        yield opened


def test_no_registered_engine_is_left_out() -> None:
    assert {name.split("-")[0] for name in CASES} == set(ENGINES)


async def test_pieces_add_up(case: Case) -> None:
    await conformance.pieces_add_up(case.engine, *case.ask(3))


async def test_cancel_is_prompt(case: Case) -> None:
    await conformance.cancel_is_prompt(case.engine, case.endless, *case.ask(1))


async def test_closing_is_prompt(case: Case) -> None:
    await conformance.closing_is_prompt(case.engine, case.endless)


async def test_requests_are_isolated(case: Case) -> None:
    await conformance.requests_are_isolated(case.engine, case.ask)


async def test_cancelling_some_leaves_the_others(case: Case) -> None:
    await conformance.cancelling_some_leaves_the_others(case.engine, case.ask)


async def test_deadline_is_kept(case: Case) -> None:
    await conformance.deadline_is_kept(case.engine, case.endless)


async def test_no_time_left(case: Case) -> None:
    await conformance.no_time_left(case.engine, case.endless)


async def test_what_it_claims(case: Case) -> None:
    request, expected = case.ask(2)
    if case.engine.deterministic:
        await conformance.repeats_itself(case.engine, request)
    if case.engine.continues:
        await conformance.continues_a_prefix(case.engine, request, expected)
    else:
        assert await conformance.whole(case.engine, request, prefix=expected[:4]) == expected


async def test_fit_and_named(case: Case) -> None:
    assert case.engine.problem() is None
    assert case.engine.name in ENGINES
    assert case.engine.model


async def test_close_is_idempotent(case: Case) -> None:
    await case.engine.close()
    await case.engine.close()
