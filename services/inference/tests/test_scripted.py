"""The scripted engine: the same tokens at the same pace."""

import asyncio
from contextlib import aclosing

import pytest

from parley_inference.engine import Request, stream
from parley_inference.engines.scripted import Script, ScriptedGenerator, ScriptedSettings
from parley_protocol.events import Ending, ToolCall, Usage
from parley_protocol.work import ChatMessage, Sampling, Tool
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
    assert [Script(3, 0.0, "a.").token(k) for k in (1, 2, 3)] == ["a.t1 ", "a.t2 ", "a.t3"]
    sentences = ScriptedGenerator(ScriptedSettings(tokens=4, sentence=2))
    assert (await _run(sentences))[0] == "t1 t2. t3 t4."


async def test_a_client_s_bound_cuts_the_script() -> None:
    request = Request(messages=(), question="", sampling=Sampling(max_tokens=2))
    assert await _run(ScriptedGenerator(ScriptedSettings(tokens=9)), request) == ("t1 t2", Usage(0, 2))


@pytest.mark.virtual_time
async def test_the_pace_is_kept_by_the_clock() -> None:
    begun = asyncio.get_running_loop().time()
    await _run(ScriptedGenerator(ScriptedSettings(tokens=10, interval_ms=20)))
    assert asyncio.get_running_loop().time() - begun == pytest.approx(0.2)


@pytest.mark.virtual_time
async def test_what_a_former_run_said_comes_without_waits() -> None:
    engine = ScriptedGenerator(ScriptedSettings(tokens=4, interval_ms=200))
    begun = asyncio.get_running_loop().time()
    assert (await _run(engine, prefix="t1 t2 t3 "))[0] == "t1 t2 t3 t4"
    assert asyncio.get_running_loop().time() - begun == pytest.approx(0.2)


async def test_it_fails_where_told_at_every_attempt() -> None:
    engine = ScriptedGenerator(ScriptedSettings(tokens=5, fail_at=3))
    for _ in range(2):
        got = []
        with pytest.raises(EngineError, match="token 3"):
            async with aclosing(stream(engine, ASK)) as pieces:
                async for piece in pieces:
                    got.append(piece.text)
        assert got == ["t1 ", "t2 "]


def _ask(question: str) -> Request:
    return Request(messages=(), question=question)


async def test_a_question_can_name_its_tokens() -> None:
    engine = ScriptedGenerator(ScriptedSettings(tokens=3))
    for _ in range(2):
        assert await _run(engine, _ask("tag=blue-7 why?")) == ("blue-7.t1 blue-7.t2 blue-7.t3", Usage(0, 3))


async def test_salted_runs_never_agree() -> None:
    engine = ScriptedGenerator(ScriptedSettings(tokens=2))
    answers = [(await _run(engine, _ask("salt tag=blue")))[0] for _ in range(2)]
    marks = []
    for answer in answers:
        first, second = (token.split(".") for token in answer.split(" "))
        assert (first[0], second[0], first[2], second[2]) == ("blue", "blue", "t1", "t2")
        assert first[1] == second[1]
        assert len(first[1]) == 6
        marks.append(first[1])
    assert marks[0] != marks[1]


@pytest.mark.virtual_time
async def test_a_question_sets_length_and_pace() -> None:
    engine = ScriptedGenerator(ScriptedSettings(tokens=9, interval_ms=1000))
    begun = asyncio.get_running_loop().time()
    assert (await _run(engine, _ask("please tokens=4 every=50")))[0] == "t1 t2 t3 t4"
    assert asyncio.get_running_loop().time() - begun == pytest.approx(0.2)


async def test_a_client_s_bound_cuts_a_directive_too() -> None:
    request = Request(messages=(), question="tokens=9 tag=a", sampling=Sampling(max_tokens=2))
    assert (await _run(ScriptedGenerator(ScriptedSettings()), request))[0] == "a.t1 a.t2"


@pytest.mark.parametrize("question", ["why salt?", "salt", "tokens=many", "untokens=3", "tag= x", "every=-1"])
async def test_what_is_no_directive_changes_nothing(question: str) -> None:
    assert (await _run(ScriptedGenerator(ScriptedSettings(tokens=2)), _ask(question)))[0] == "t1 t2"


TOOLS = (Tool("look_up"), Tool("hang_up"))


async def _ending(question: str, messages: tuple[ChatMessage, ...] = (), **sampling: object) -> Ending | None:
    request = Request(messages=messages, question=question, sampling=Sampling(**sampling))  # type: ignore[arg-type]
    async with aclosing(stream(ScriptedGenerator(ScriptedSettings(tokens=3)), request)) as pieces:
        return [piece.ending async for piece in pieces][-1]


@pytest.mark.parametrize(
    ("question", "choice", "called"),
    [
        ("call=look_up", "", ToolCall("call_look_up", "look_up", "{}")),
        ('call=look_up args={"city":"巴黎"}', "required", ToolCall("call_look_up", "look_up", '{"city":"巴黎"}')),
        ("anything", "=hang_up", ToolCall("call_hang_up", "hang_up", "{}")),
        ("call=look_up", "none", None),
        ("call=nothing", "", None),
        ("anything", "", None),
    ],
)
async def test_a_question_can_have_a_function_called(question: str, choice: str, called: ToolCall | None) -> None:
    found = await _ending(question, tools=TOOLS, tool_choice=choice)
    assert found == (Ending(calls=(called,)) if called else None)


async def test_what_came_of_a_call_is_said() -> None:
    messages = (ChatMessage("user", "call=look_up"), ChatMessage("tool", "21 degrees", (), "call_look_up"))
    request = Request(messages=messages, question="call=look_up", sampling=Sampling(tools=TOOLS))
    assert (await _run(ScriptedGenerator(ScriptedSettings(tokens=2)), request))[0] == "21 degrees t1 t2"


async def test_a_cut_is_said() -> None:
    assert await _ending("", max_tokens=2) == Ending("length")
    assert await _ending("", max_tokens=3) is None
