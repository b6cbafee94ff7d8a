"""The Dify engine against a server that speaks Dify's contract, faults included."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace

import pytest
import structlog

from parley_inference.engine import Piece, Request, stream
from parley_inference.engines import dify
from parley_inference.engines.dify import DifyGenerator, DifySettings, Mode
from parley_protocol.events import Usage
from parley_protocol.work import ChatMessage
from parley_runtime.errors import EngineError, EngineRejected, EngineTimeout, Expired, ParleyError
from parley_runtime.telemetry import metrics, names
from parley_testkit import dify as server_kit
from parley_testkit.dify import KEY, Ask, Behaviour, DifyServer, cut, error_event, raw, refuse, silent, words
from parley_testkit.timing import least

pytestmark = pytest.mark.unit

LIMIT_S = 30.0
FAILED = "调用 RAG 服务失败：请求错误"


def question(text: str = "hello", **changes: object) -> Request:
    return replace(
        Request(messages=(ChatMessage("user", text),), question=text, user="user_001", deadline_s=20.0), **changes
    )


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dify, "BACKOFF_S", 0.001)


@asynccontextmanager
async def serving(*behaviours: Behaviour, **settings: object) -> AsyncIterator[tuple[DifyServer, DifyGenerator]]:
    async with DifyServer(*behaviours) as server:
        wanted = {"api_key": KEY, "base_url": server.url, "timeout_s": 5.0, **settings}
        engine = DifyGenerator(DifySettings(**wanted))
        try:
            yield server, engine
        finally:
            await engine.close()


async def pieces_of(engine: DifyGenerator, request: Request | None = None) -> list[Piece]:
    async with asyncio.timeout(LIMIT_S), aclosing(stream(engine, request or question())) as pieces:
        return [piece async for piece in pieces]


async def text_of(engine: DifyGenerator, request: Request | None = None) -> str:
    return "".join(piece.text for piece in await pieces_of(engine, request))


def logged(events: list[structlog.typing.EventDict], start: str) -> list[str]:
    return [event["event"] for event in events if event["event"].startswith(start)]


@pytest.mark.parametrize("mode", Mode)
async def test_an_answer_with_its_figures_passages_and_conversation(mode: Mode) -> None:
    price = metrics.value(names.ENGINE_PRICE, "dify", "USD")
    with structlog.testing.capture_logs() as events:
        async with serving(mode=mode) as (server, engine):
            pieces = await pieces_of(engine)
    assert "".join(piece.text for piece in pieces) == "".join(words("hello", 0))
    assert pieces[-1].usage == Usage(11, 7)
    (source,) = pieces[-1].sources
    assert (source.document, source.text, source.score) == ("pond.md", "The pond is kept at 22 degrees.", 0.87)
    (ask,) = server.asked
    assert ask.body == {
        "inputs": {},
        "query": "hello",
        "response_mode": mode.value,
        "user": "ws-user-user_001",
        "files": [],
    }
    assert [piece.thread for piece in pieces if piece.thread] == [ask.conversation]
    assert logged(events, "[Dify") == ["[Dify RAG] Tokens: 18, Price: 0.0012300 USD"]
    assert metrics.value(names.ENGINE_PRICE, "dify", "USD") == pytest.approx(price + 0.00123)
    assert server.stops == []
    assert KEY not in str(events)
    assert "hello" not in str(events)


async def test_a_conversation_goes_on_and_connections_are_used_again() -> None:
    async with serving() as (server, engine):
        thread = next(piece.thread for piece in await pieces_of(engine) if piece.thread)
        await server.until(lambda: not server.running)
        assert await text_of(engine, question("again", thread=thread)) == "".join(words("again", 1))
        assert server.connections == 1


async def test_without_conversations_none_is_named() -> None:
    async with serving(conversation=False) as (server, engine):
        assert not engine.threads
        await text_of(engine, question(thread="known"))
        assert "conversation_id" not in server.asked[0].body


@pytest.mark.parametrize(
    "behaviour", [None, refuse(400, "conversation_completed"), error_event(400, "conversation_completed")]
)
async def test_a_conversation_that_dify_has_forgotten_begins_anew(behaviour: Behaviour | None) -> None:
    async with serving(*([behaviour] if behaviour else [])) as (server, engine):
        pieces = await pieces_of(engine, question(thread="11111111-0000-0000-0000-000000000000"))
        assert "".join(piece.text for piece in pieces) == "".join(words("hello", 0))
        assert [("conversation_id" in ask.body) for ask in server.asked] == [True, False]
        assert [piece.thread for piece in pieces if piece.thread][-1] == server.asked[1].conversation


async def test_without_a_key_it_says_so() -> None:
    with structlog.testing.capture_logs() as events:
        async with serving(api_key="") as (server, engine):
            with pytest.raises(EngineRejected, match=r"^错误：未配置 DIFY_API_KEY 环境变量"):
                await text_of(engine)
            assert server.asked == []
    assert len(logged(events, "[Dify RAG Error] 错误：未配置")) == 1


REFUSALS = [
    (400, "invalid_param", "DIFY_MODE"),
    (400, "app_unavailable", "发布"),
    (400, "provider_not_initialize", "凭据"),
    (400, "provider_quota_exceeded", "额度"),
    (400, "model_currently_not_support", "更换模型"),
    (400, "completion_request_error", "检查模型"),
    (400, "conversation_completed", "新的会话"),
    (400, "", "配置"),
    (401, "unauthorized", "DIFY_API_KEY"),
    (403, "forbidden", "DIFY_API_KEY"),
    (404, "not_found", "DIFY_BASE_URL"),
    (404, "", "DIFY_BASE_URL"),
    (413, "file_too_large", "缩短"),
    (415, "unsupported_file_type", "DIFY_BASE_URL"),
    (429, "rate_limit_error", "限额"),
    (302, "", "DIFY_BASE_URL"),
    (418, "", "DIFY_BASE_URL"),
]


@pytest.mark.parametrize("within", [False, True], ids=["http", "event"])
@pytest.mark.parametrize(("status", "code", "hint"), REFUSALS)
async def test_a_refusal_is_told_in_the_known_words_and_not_tried_again(
    status: int, code: str, hint: str, within: bool
) -> None:
    behaviour = error_event(status, code) if within else refuse(status, code)
    with structlog.testing.capture_logs() as events:
        async with serving(behaviour) as (server, engine):
            with pytest.raises(EngineRejected) as refused:
                await text_of(engine, question("a secret question"))
            assert len(server.asked) == 1
            assert server.stops == []
    message = str(refused.value)
    assert message.startswith(f"Dify API HTTP 错误 {status}")
    assert hint in message
    assert f"（{code}）" in message or not code
    assert logged(events, "[Dify RAG Error]") == [f"[Dify RAG Error] {message}"]
    assert "secret question" not in str(events) + message
    assert KEY not in str(events) + message


TRANSIENT: list[tuple[Behaviour, str]] = [
    (refuse(500, "internal_server_error"), "Dify API HTTP 错误 500"),
    (refuse(502), "Dify API HTTP 错误 502"),
    (refuse(429, "too_many_requests"), "Dify API HTTP 错误 429"),
    (refuse(429), "Dify API HTTP 错误 429"),
    (refuse(503, **{"retry-after": "0"}), "Dify API HTTP 错误 503"),
    (error_event(500, "internal_server_error"), "Dify API HTTP 错误 500"),
    (error_event(429, "too_many_requests"), "Dify API HTTP 错误 429"),
    (cut(), FAILED),
    (cut(""), FAILED),
]


@pytest.mark.parametrize(("behaviour", "message"), TRANSIENT)
async def test_what_may_pass_is_tried_again_and_then_told(behaviour: Behaviour, message: str) -> None:
    async with serving(behaviour, behaviour, retries=2) as (server, engine):
        assert await text_of(engine) == "".join(words("hello", 0))
        assert len(server.asked) == 3
    async with serving(behaviour, behaviour, behaviour, retries=2) as (server, engine):
        with pytest.raises(EngineRejected) as failed:
            await text_of(engine)
        assert str(failed.value).startswith(message)
        assert len(server.asked) == 3


async def test_a_server_that_asks_for_a_long_wait_is_not_asked_again() -> None:
    async with serving(refuse(429, "too_many_requests", **{"retry-after": "60"})) as (server, engine):
        with pytest.raises(EngineRejected, match="429"):
            await text_of(engine)
        assert len(server.asked) == 1


async def test_a_server_that_is_not_there() -> None:
    engine = DifyGenerator(DifySettings(api_key=KEY, base_url="http://127.0.0.1:9/v1", retries=1))
    with pytest.raises(EngineRejected, match=f"^{FAILED}"):
        await text_of(engine)
    await engine.close()


HEADLESS = silent(headers=False)


@pytest.mark.parametrize("behaviour", [silent("one "), silent(), HEADLESS], ids=["words", "head", "none"])
async def test_silence_is_a_timeout_told_once_and_stopped(behaviour: Behaviour) -> None:
    """Pings keep the connection, and are no progress."""
    async with serving(behaviour, timeout_s=0.3) as (server, engine):
        with pytest.raises(EngineTimeout) as slow:
            await text_of(engine)
        assert str(slow.value).startswith(FAILED)
        assert "DIFY_TIMEOUT" in str(slow.value)
        assert (slow.value.code.value, slow.value.retryable) == ("engine_timeout", False)
        assert len(server.asked) == 1
        if behaviour is not HEADLESS:
            await server.until(lambda: bool(server.stops))


async def test_an_answer_cut_off_in_the_middle_is_for_the_retry_ladder() -> None:
    async with serving(cut("one ", "two ")) as (server, engine):
        got: list[str] = []
        with pytest.raises(EngineError) as failed:
            async with aclosing(stream(engine, question())) as pieces:
                async for piece in pieces:
                    got.append(piece.text)
        assert "".join(got) == "one two "
        assert str(failed.value).startswith(FAILED)
        assert len(server.asked) == 1


@pytest.mark.parametrize("end", [b"", b'data: {"event": "message"', b'data: {"event": "message", "answer": "b"}\n\n'])
async def test_an_answer_without_its_end_is_not_whole(end: bytes) -> None:
    async with serving(raw(b'data: {"event": "message", "answer": "a"}\n\n' + end)) as (_, engine):
        with pytest.raises(ParleyError, match=f"^{FAILED}"):
            await text_of(engine)


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"<html>hello</html>", "text/html"),
        (b"data: garbage\n\n", "text/event-stream"),
        (b"data: [1]\n\n", "text/event-stream"),
        (b'data: {"event": "message", "answer": 7}\n\n', "text/event-stream"),
        (b"data: " + b"[" * 5000 + b"\n\n", "text/event-stream"),
        (b"data: " + b"x" * 1_100_000 + b"\n\n", "text/event-stream"),
        (b"\xff\xfe\x00", "text/event-stream"),
        (b"{}", "application/json"),
        (b"nonsense", "application/json"),
        (b'{"event": "message_end"}', "application/json"),
        (b"", "application/json"),
    ],
)
async def test_garbage_is_told_as_what_it_is(data: bytes, kind: str) -> None:
    async with serving(raw(data, kind), raw(data, kind), raw(data, kind)) as (_, engine):
        with pytest.raises(EngineRejected, match=f"^{FAILED}"):
            await text_of(engine)


async def test_what_a_newer_dify_says_is_skipped() -> None:
    async def chatty(ask: Ask) -> None:
        await ask.open()
        await ask.chunk(": a comment\nid: 7\nretry: 5\n\n")
        await ask.chunk("event: ping\r\n\r\n")
        await ask.event("agent_thought", thought="hm", answer={"not": "text"})
        await ask.event("message_file", url="x", status="fine")
        await ask.event("agent_message", answer="one ")
        await ask.event("reasoning_chunk", reasoning="hm")
        await ask.event("tts_message", audio="qqqq")
        await ask.event("entirely_new", code=["x"], status=[], answer="no")
        await ask.event("message", answer="")
        await ask.event("agent_message", answer="two")
        await ask.event("message_end", metadata={"usage": {"total_tokens": "many"}, "retriever_resources": 7})
        await ask.event("message", answer="after the end")
        await ask.chunk("")

    with structlog.testing.capture_logs() as events:
        async with serving(chatty) as (_, engine):
            assert await text_of(engine) == "one two"
    assert logged(events, "[Dify") == ["[Dify RAG] Tokens: 0, Price: 0 USD"]


@pytest.mark.parametrize(("said", "becomes"), [("one two three", "one two three"), ("no.", "one two\n\nno.")])
async def test_a_text_that_dify_replaces(said: str, becomes: str) -> None:
    async def moderated(ask: Ask) -> None:
        await ask.open()
        await ask.event("message", answer="one ")
        await ask.event("message", answer="two")
        await ask.event("message_replace", answer=said)
        await ask.end()

    async with serving(moderated) as (_, engine):
        assert await text_of(engine) == becomes


async def test_an_answer_without_text_is_one() -> None:
    async def speechless(ask: Ask) -> None:
        await ask.open()
        await ask.end()

    async with serving(speechless) as (_, engine):
        assert await text_of(engine) == ""


async def _begun(engine: DifyGenerator, request: Request) -> "asyncio.Task[str]":
    """A run of which some text has come."""
    speaking = asyncio.Event()

    async def read() -> str:
        async with aclosing(stream(engine, request)) as pieces:
            async for piece in pieces:
                if piece.text:
                    speaking.set()
        return ""

    task = asyncio.create_task(read())
    await asyncio.wait_for(speaking.wait(), LIMIT_S)
    return task


async def test_a_stop_in_mid_answer_stops_dify_as_the_same_user() -> None:
    stopped = metrics.value(names.ENGINE_STOPS, "dify", "stopped")
    async with serving() as (server, engine):
        task = await _begun(engine, question("endless"))
        (ask,) = server.asked
        task.cancel()
        await asyncio.wait({task}, timeout=LIMIT_S)
        await server.until(lambda: not server.running)
        assert server.stops == [(ask.task, "ws-user-user_001")]
        assert ask.stopped.is_set()
    assert metrics.value(names.ENGINE_STOPS, "dify", "stopped") == stopped + 1


async def test_a_stop_before_the_first_word_stops_dify_too() -> None:
    """The task's name is not known by then: it is waited for in the background."""
    assert await least(_stop_before_the_first_word, under=0.1) < 0.1


async def _stop_before_the_first_word() -> float:
    """Seconds until the stopped run has ended."""
    gate = asyncio.Event()

    async def late(ask: Ask) -> None:
        await gate.wait()
        await server_kit.converse(ask)

    async with serving(late) as (server, engine):
        task = asyncio.create_task(text_of(engine, question("endless")))
        await server.until(lambda: bool(server.running))
        begun = asyncio.get_running_loop().time()
        task.cancel()
        await asyncio.wait({task}, timeout=LIMIT_S)
        took = asyncio.get_running_loop().time() - begun
        gate.set()
        await server.until(lambda: not server.running)
        assert server.stops == [(server.asked[0].task, "ws-user-user_001")]
    return took


async def test_a_deadline_stops_dify() -> None:
    async with serving() as (server, engine):
        with pytest.raises(Expired):
            await text_of(engine, question("endless", deadline_s=0.3))
        await server.until(lambda: not server.running)
        assert len(server.stops) == 1


async def test_a_stop_under_way_survives_the_closing_of_the_engine() -> None:
    async with serving() as (server, engine):
        task = await _begun(engine, question("endless"))
        task.cancel()
        await asyncio.wait({task}, timeout=LIMIT_S)
        await engine.close()
        assert len(server.stops) == 1


async def test_a_stop_in_blocking_mode_hangs_up() -> None:
    """Dify names the task with the whole answer only."""
    hung_up = metrics.value(names.ENGINE_STOPS, "dify", "disconnected")
    async with serving(mode=Mode.BLOCKING) as (server, engine):
        task = asyncio.create_task(text_of(engine, question("endless")))
        await server.until(lambda: bool(server.running))
        task.cancel()
        await asyncio.wait({task}, timeout=LIMIT_S)
        await engine.close()
        assert server.stops == []
    assert metrics.value(names.ENGINE_STOPS, "dify", "disconnected") == hung_up + 1


@pytest.mark.parametrize(
    "settings", [{"base_url": "ftp://x"}, {"base_url": "api.dify.ai/v1"}, {"api_key": "clé"}, {"api_key": "a\nb"}]
)
def test_settings_that_cannot_work(settings: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="DIFY_"):
        DifySettings(**settings)
