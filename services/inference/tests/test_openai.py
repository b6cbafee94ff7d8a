"""The OpenAI-compatible engine against a real HTTP server that misbehaves."""

import asyncio
import json
import time
from contextlib import aclosing
from dataclasses import replace

import pytest
from llm_server import (
    FAST,
    KEY,
    QUESTION,
    Exchange,
    event,
    good,
    pieces_of,
    refusing,
    saying,
    serving,
    text_of,
)

from parley_inference.engine import Piece, stream
from parley_inference.engines.openai import connect
from parley_protocol.events import Ending, ToolCall, Usage
from parley_protocol.work import ChatMessage, Sampling, Tool
from parley_runtime.errors import EngineError, EngineRejected
from parley_testkit.timing import least

pytestmark = [pytest.mark.unit, pytest.mark.usefixtures("no_waits", "no_key_in_logs")]


async def test_a_whole_answer() -> None:
    async with serving(good) as (server, engine):
        pieces = await pieces_of(engine)
    assert [piece.text for piece in pieces] == ["Hel", "lo ", "there", ""]
    assert pieces[-1].usage == Usage(7, 3)
    (asked,) = server.asked
    assert asked.path == "/v1/chat/completions"
    assert asked.headers["authorization"] == f"Bearer {KEY}"
    assert asked.body == {
        "model": "tiny",
        "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "hello?"}],
        "stream": True,
        "stream_options": {"include_usage": True},
    }


async def test_sampling_is_passed_on() -> None:
    sampling = Sampling(model="small", max_tokens=5, temperature=0.0, top_p=0.5, seed=7, stop=("\n",))
    async with serving(good) as (server, engine):
        await text_of(engine, replace(QUESTION, sampling=sampling))
        await text_of(engine, replace(QUESTION, sampling=Sampling(model="parley")))
    assert {name: server.asked[0].body[name] for name in ("model", "max_tokens", "temperature", "top_p", "seed")} == {
        "model": "small",
        "max_tokens": 5,
        "temperature": 0.0,
        "top_p": 0.5,
        "seed": 7,
    }
    assert server.asked[0].body["stop"] == ["\n"]
    # A model that the server does not list is a name of ours.
    assert server.asked[1].body["model"] == "tiny"


WEATHER = Tool("weather", "Tells the weather.", {"type": "object", "properties": {"city": {"type": "string"}}})
CALLING = replace(
    QUESTION,
    messages=(
        ChatMessage("user", "hello?"),
        ChatMessage("assistant", "", (ToolCall("c1", "weather", '{"city":"Oslo"}'),)),
        ChatMessage("tool", "cold", (), "c1"),
    ),
    sampling=Sampling(tools=(WEATHER,), tool_choice="=weather"),
)


def called(*parts: dict[str, object], reason: str = "tool_calls") -> list[str]:
    chunks = [event({"choices": [{"index": 0, "delta": {"tool_calls": [part]}}]}) for part in parts]
    return [*chunks, event({"choices": [{"index": 0, "delta": {}, "finish_reason": reason}]}), "data: [DONE]\n\n"]


async def test_functions_are_offered_and_what_came_of_them_is_told() -> None:
    async with serving(good) as (server, engine):
        await text_of(engine, CALLING)
        await text_of(engine, replace(QUESTION, sampling=Sampling(tools=(Tool("bare"),))))
        await text_of(engine)
    first, second, third = (exchange.body for exchange in server.asked)
    assert first["tools"] == [
        {
            "type": "function",
            "function": {
                "name": "weather",
                "description": "Tells the weather.",
                "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
            },
        }
    ]
    assert first["tool_choice"] == {"type": "function", "function": {"name": "weather"}}
    assert first["messages"][1:] == [
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [
                {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Oslo"}'}}
            ],
        },
        {"role": "tool", "content": "cold", "tool_call_id": "c1"},
    ]
    assert second["tools"] == [{"type": "function", "function": {"name": "bare"}}]
    assert "tool_choice" not in second
    assert not {"tools", "tool_choice"} & set(third)


async def test_calls_come_in_parts() -> None:
    parts = called(
        {"index": 0, "id": "a", "function": {"name": "weather", "arguments": ""}},
        {"index": 0, "function": {"arguments": '{"city":'}},
        {"index": 1, "id": "b", "function": {"name": "clock"}},
        {"index": 0, "function": {"arguments": '"Oslo"}'}},
    )
    async with serving(saying(*parts)) as (_, engine):
        pieces = await pieces_of(engine, CALLING)
    calls = (ToolCall("a", "weather", '{"city":"Oslo"}'), ToolCall("b", "clock", "{}"))
    assert pieces == [Piece("", ending=Ending("", calls))]


async def test_calls_of_a_server_that_does_not_stream() -> None:
    calls = [{"id": each, "type": "function", "function": {"name": each, "arguments": "{}"}} for each in ("a", "b")]
    body = {"choices": [{"index": 0, "message": {"content": None, "tool_calls": calls}, "finish_reason": "tool_calls"}]}
    script = saying(json.dumps(body), headers={"content-type": "application/json"})
    async with serving(script) as (_, engine):
        pieces = await pieces_of(engine, CALLING)
    assert pieces == [Piece("", ending=Ending("", (ToolCall("a", "a", "{}"), ToolCall("b", "b", "{}"))))]


async def test_calls_that_are_cut_off_are_a_failure() -> None:
    async with serving(saying(called({"index": 0, "id": "a", "function": {"name": "weather"}})[0])) as (_, engine):
        with pytest.raises(EngineError, match="cut the answer off"):
            await pieces_of(engine, CALLING)


async def test_calls_are_bounded() -> None:
    parts = called(*({"index": at, "id": str(at), "function": {"name": "f"}} for at in range(65)))
    async with serving(saying(*parts)) as (_, engine):
        with pytest.raises(EngineError, match="far more"):
            await pieces_of(engine, CALLING)


@pytest.mark.parametrize(("reason", "finish"), [("length", "length"), ("content_filter", "filter")])
async def test_why_an_answer_was_cut_is_told(reason: str, finish: str) -> None:
    parts = [event({"choices": [{"index": 0, "delta": {"content": "x"}}]}), *called(reason=reason)]
    async with serving(saying(*parts)) as (_, engine):
        assert (await pieces_of(engine))[-1] == Piece("", ending=Ending(finish))


async def test_no_key_no_header() -> None:
    async with serving(good, settings=replace(FAST, api_key="")) as (server, engine):
        await text_of(engine)
    assert "authorization" not in server.asked[0].headers


async def test_a_connection_is_used_again() -> None:
    peers = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peers.append(writer.get_extra_info("peername"))
        data = event({"choices": [{"delta": {"content": "x"}, "finish_reason": "stop"}]}) + "data: [DONE]\n\n"
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
                length = int(head.partition("content-length:")[2].split("\r\n")[0] or 0)
                await reader.readexactly(length)
                body = '{"data":[{"id":"m"}]}' if head.startswith("get") else data
                kind = "application/json" if head.startswith("get") else "text/event-stream"
                writer.write(
                    f"HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ntransfer-encoding: chunked\r\n\r\n"
                    f"{len(body):x}\r\n{body}\r\n0\r\n\r\n".encode()
                )
        except asyncio.IncompleteReadError:
            writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    engine = await connect(replace(FAST, base_url=f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"))
    assert [await text_of(engine) for _ in range(3)] == ["x", "x", "x"]
    await engine.close()
    server.close()
    await server.wait_closed()
    assert len(peers) == 1


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (400, "refuses the request"),
        (401, "PARLEY_OPENAI_API_KEY"),
        (403, "PARLEY_OPENAI_API_KEY"),
        (404, "PARLEY_OPENAI_MODEL"),
        (405, "PARLEY_OPENAI_BASE_URL"),
        (413, "too large"),
        (301, "PARLEY_OPENAI_BASE_URL"),
        (204, "PARLEY_OPENAI_BASE_URL"),
    ],
)
async def test_a_refusal_is_not_repeated_and_names_the_setting(status: int, said: str) -> None:
    async with serving(refusing(status), good, settings=replace(FAST, retries=5)) as (server, engine):
        with pytest.raises(EngineRejected, match=said) as caught:
            await text_of(engine)
        assert len(server.asked) == 1
    assert KEY not in str(caught.value)
    assert not caught.value.retryable


async def test_a_server_s_words_are_not_passed_on() -> None:
    error = {"message": "you said: my diary", "type": "invalid_request_error", "code": "bad_thing"}
    async with serving(refusing(400, error)) as (_, engine):
        with pytest.raises(EngineRejected) as caught:
            await text_of(engine)
    assert "(bad_thing)" in str(caught.value)
    assert "diary" not in str(caught.value)


async def test_a_prompt_too_long_is_said() -> None:
    error = {"message": "This model's maximum context length is 4096 tokens", "code": 400}
    async with serving(refusing(400, error)) as (_, engine):
        with pytest.raises(EngineRejected, match="longer than the model's context"):
            await text_of(engine)


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
async def test_a_passing_failure_is_tried_again_before_the_first_token(status: int) -> None:
    scripts = (refusing(status), refusing(status), good)
    async with serving(*scripts, settings=replace(FAST, retries=2)) as (server, engine):
        assert await text_of(engine) == "Hello there"
        assert len(server.asked) == 3


async def test_attempts_are_bounded() -> None:
    async with serving(refusing(500), settings=replace(FAST, retries=2)) as (server, engine):
        with pytest.raises(EngineError, match="HTTP 500"):
            await text_of(engine)
        assert len(server.asked) == 3


async def test_a_wish_to_wait_is_kept() -> None:
    scripts = (refusing(429, headers={"retry-after": "1"}), good)
    async with serving(*scripts, settings=replace(FAST, retries=1)) as (server, engine):
        begun = time.perf_counter()
        assert await text_of(engine) == "Hello there"
        assert time.perf_counter() - begun >= 1.0
        assert len(server.asked) == 2


async def test_a_long_wish_is_left_to_the_retry_ladder() -> None:
    async with serving(refusing(429, headers={"retry-after": "120"}), settings=replace(FAST, retries=5)) as (
        server,
        engine,
    ):
        with pytest.raises(EngineError) as caught:
            await text_of(engine)
        assert len(server.asked) == 1
    assert caught.value.retry_after_s == 120.0
    assert caught.value.retryable


async def test_a_cut_stream_is_a_failure_and_not_tried_again_here() -> None:
    async def cut(exchange: Exchange) -> None:
        await exchange.head()
        await exchange.delta("Hel")

    got = []
    async with serving(cut, good, settings=replace(FAST, retries=5)) as (server, engine):
        with pytest.raises(EngineError, match="cut the answer off"):
            async with aclosing(stream(engine, QUESTION)) as pieces:
                async for piece in pieces:
                    got.append(piece.text)
        assert len(server.asked) == 1
    assert got == ["Hel"]


async def test_a_stream_cut_before_any_text_is_tried_again() -> None:
    async def cut(exchange: Exchange) -> None:
        await exchange.head()
        await exchange.send(event({"choices": [{"delta": {"role": "assistant", "content": ""}}]}))

    async with serving(cut, good, settings=replace(FAST, retries=1)) as (_, engine):
        assert await text_of(engine) == "Hello there"


async def test_a_reset_connection_is_a_failure() -> None:
    async def reset(exchange: Exchange) -> None:
        await exchange.head(200, {"transfer-encoding": "chunked"})
        data = event({"choices": [{"delta": {"content": "Hel"}}]})
        await exchange.send(f"{len(data):x}\r\n{data}\r\n")
        exchange.writer.transport.abort()

    async with serving(reset) as (_, engine):
        with pytest.raises(EngineError, match="cut the answer off"):
            await text_of(engine)


async def test_an_end_after_the_finish_reason_is_an_end() -> None:
    script = saying(event({"choices": [{"delta": {"content": "Hi"}, "finish_reason": "stop"}]}))
    async with serving(script) as (_, engine):
        pieces = await pieces_of(engine)
    assert [piece.text for piece in pieces] == ["Hi"]
    assert pieces[-1].usage is None


@pytest.mark.parametrize(
    "garbage",
    [
        "data: <html>oops</html>\n\n",
        "data: {\n\n",
        "data: [1,2]\n\n",
        'data: {"choices": 7}\n\n',
        'data: {"error": {"message": "CUDA out of memory"}}\n\n',
        'data: {"object": "error", "message": "gone"}\n\n',
        "data: " + "[" * 100_000 + "\n\n",
        "data: " + "x" * 2_000_000,
        b"\xff\xfe\x00\x01\n\n",
        "",
        "<html><body>502</body></html>",
    ],
)
async def test_garbage_is_a_failure(garbage: str | bytes) -> None:
    async with serving(saying(garbage)) as (_, engine):
        with pytest.raises(EngineError):
            await text_of(engine)


async def test_a_model_that_says_nothing_has_failed() -> None:
    script = saying(event({"choices": [{"delta": {}, "finish_reason": "length"}]}), "data: [DONE]\n\n")
    async with serving(script) as (_, engine):
        with pytest.raises(EngineError, match=r"no text.*length"):
            await text_of(engine)


async def test_odd_but_lawful_streams() -> None:
    chunk = json.dumps({"choices": [{"index": 0, "delta": {"content": "你好\u2028 \u0085x"}}]}, ensure_ascii=False)
    raw = (
        "\ufeff: a comment\r\n\r\nevent: message\r\nid: 7\r\nretry: 10\r\n"
        f"data: {chunk[:10]}\r\ndata: {chunk[10:]}\r\n\r\n"
        ":\n\n"
        'data:{"choices":[{"index":0,"delta":{"content":" there","reasoning_content":"hm"}}],"usage":null}\r\r'
        'data: {"choices":[{"index":1,"delta":{"content":"another choice"}}]}\n\n'
        'data: {"choices":[{"index":0,"delta":{"content":null},"finish_reason":"stop"}]}\n\n'
        "data: [DONE]\n\n"
    ).encode()
    by_bytes: list[str | bytes] = [raw[i : i + 1] for i in range(len(raw))]
    for script in (saying(raw), saying(*by_bytes)):
        async with serving(script) as (_, engine):
            assert await text_of(engine) == "你好\u2028 \u0085x there"


async def test_a_server_that_does_not_stream() -> None:
    body = {
        "choices": [{"message": {"content": "All at once"}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 4},
    }
    async with serving(saying(json.dumps(body), headers={"content-type": "application/json; charset=utf-8"})) as (
        _,
        engine,
    ):
        assert await pieces_of(engine) == [Piece("All at once"), Piece("", Usage(4, 0))]


async def test_a_server_that_lacks_usage_options() -> None:
    async def picky(exchange: Exchange) -> None:
        if "stream_options" in exchange.body:
            await exchange.refuse(400, {"message": "Unrecognized request argument: stream_options"})
        else:
            await good(exchange)

    async with serving(picky, settings=replace(FAST, retries=1)) as (server, engine):
        assert await text_of(engine) == "Hello there"
        assert await text_of(engine) == "Hello there"
        assert ["stream_options" in asked.body for asked in server.asked] == [True, False, False]


async def _hangs(exchange: Exchange) -> None:
    await exchange.hang_up_seen()


async def test_a_slow_first_byte_is_bounded() -> None:
    async with serving(_hangs, settings=replace(FAST, first_byte_s=0.1)) as (_, engine):
        with pytest.raises(EngineError, match="PARLEY_OPENAI_FIRST_BYTE_S"):
            await text_of(engine)


async def test_a_slow_first_byte_after_the_head_is_bounded() -> None:
    async def slow(exchange: Exchange) -> None:
        await exchange.head()
        await exchange.hang_up_seen()

    async with serving(slow, settings=replace(FAST, first_byte_s=0.1)) as (_, engine):
        with pytest.raises(EngineError, match="PARLEY_OPENAI_FIRST_BYTE_S"):
            await text_of(engine)


async def test_silence_within_an_answer_is_bounded_and_comments_break_it() -> None:
    async def slow(exchange: Exchange) -> None:
        await exchange.head()
        await exchange.delta("Hel")
        for _ in range(3):
            await asyncio.sleep(0.1)
            await exchange.send(": still there\n\n")
        await exchange.hang_up_seen()

    begun = time.perf_counter()
    async with serving(slow, settings=replace(FAST, chunk_s=0.2)) as (_, engine):
        with pytest.raises(EngineError, match="PARLEY_OPENAI_CHUNK_S"):
            await text_of(engine)
    assert time.perf_counter() - begun > 0.45


@pytest.mark.parametrize("after", ["head", "delta", "nothing"])
async def test_a_cancel_reaches_the_server_at_once(after: str) -> None:
    assert await least(lambda: _hang_up(after), under=0.1) < 0.1


async def _hang_up(after: str) -> float:
    """Seconds from a cancel until the server sees that the connection is closed."""
    asked, gone = asyncio.Event(), asyncio.Event()

    async def patient(exchange: Exchange) -> None:
        if after != "nothing":
            await exchange.head()
        if after == "delta":
            await exchange.delta("Hel")
        asked.set()
        await exchange.hang_up_seen()
        gone.set()

    async with serving(patient) as (_, engine):
        task = asyncio.create_task(text_of(engine))
        await asyncio.wait_for(asked.wait(), 30)
        task.cancel()
        begun = time.perf_counter()
        await asyncio.wait_for(gone.wait(), 30)
        took = time.perf_counter() - begun
        with pytest.raises(asyncio.CancelledError):
            await task
    return took
