"""The life of a turn on real sockets: cancel, return, follow, repeat, refuse, expire."""

import asyncio
import uuid

import pytest

from parley_testkit.stack import Stack, soon

from .harness import WHOLE, stored
from .sockets import Memory, Socket, opened

pytestmark = pytest.mark.e2e


def new() -> str:
    return uuid.uuid4().hex


def busy(stack: Stack) -> int:
    """Seats at work in all inference processes."""
    return sum(service.get("/statusz").json().get("busy", 0) for service in stack.of("inference"))


async def test_cancel_keeps_exactly_the_text_delivered_and_frees_the_seat(scripted: Stack) -> None:
    turn = new()
    async with opened(scripted.url) as socket:
        await socket.start(turn)
        await socket.until_text(turn, 12)
        assert busy(scripted) == 1
        await socket.send(type="turn.cancel", turn=turn)
        done = await socket.until_done(turn)
    assert done["status"] == "cancelled"
    assert 0 < len(done["text"]) < len(WHOLE)
    assert WHOLE.startswith(done["text"])
    (row,) = stored(scripted, turn)
    assert (row["status"], row["text"]) == ("cancelled", done["text"])
    await soon(lambda: busy(scripted) == 0, "seat freed", limit_s=30)


async def test_cancel_of_an_unknown_turn_is_an_error_of_that_turn(scripted: Stack) -> None:
    async with opened(scripted.url) as socket:
        await socket.send(type="turn.cancel", turn="nobody")
        error = await socket.until("error")
    assert (error["code"], error["turn"]) == ("unknown_turn", "nobody")


@pytest.mark.parametrize("second", [0, 1], ids=["same gateway", "another gateway"])
async def test_a_dropped_client_comes_back_to_what_it_missed(scripted: Stack, second: int) -> None:
    memory, turn = Memory(), new()
    gateways = scripted.of("gateway")
    async with opened(gateways[0].url, memory) as socket:
        await socket.start(turn)
        await socket.until_text(turn, 10)
        socket.ws.transport.abort()
    # While nobody listens the answer goes on.
    await asyncio.sleep(0.2)
    async with opened(gateways[second].url, memory, greet=False) as socket:
        welcome = await socket.resume()
        assert (welcome["resumed"], welcome["gap"]) == (True, False)
        done = await socket.until_done(turn)
    assert (done["status"], done["text"]) == ("completed", WHOLE)
    assert memory.turns[turn].restarts == 0
    assert [row["text"] for row in stored(scripted, turn)] == [WHOLE]


async def test_a_client_that_returns_after_the_end_gets_the_rest_and_one_done(scripted: Stack) -> None:
    memory, turn = Memory(), new()
    first, second = scripted.of("gateway")
    async with opened(first.url, memory) as socket:
        await socket.start(turn)
        await socket.until_text(turn, 10)
        socket.ws.transport.abort()
    await soon(lambda: stored(scripted, turn)[0]["status"] == "completed", "stored", limit_s=30)
    async with opened(second.url, memory, greet=False) as socket:
        await socket.resume()
        done = await socket.until_done(turn)
        assert done["text"] == WHOLE
        await socket.send(type="ping")
        assert (await socket.next())["type"] == "pong"


async def test_two_gateways_follow_one_session(scripted: Stack) -> None:
    first, second = scripted.of("gateway")
    turn = new()
    async with opened(first.url) as one:
        await one.start(turn)
        await one.until_text(turn, 6)
        other = Memory(session=one.memory.session)
        async with opened(second.url, other, greet=False) as two:
            await two.hello(session=other.session, pending=[turn])
            done = await asyncio.gather(one.until_done(turn), two.until_done(turn))
    assert [each["text"] for each in done] == [WHOLE, WHOLE]
    assert other.turns[turn].text == WHOLE
    assert len(stored(scripted, turn)) == 1


async def test_the_same_turn_twice_is_one_turn_and_another_text_is_a_conflict(scripted: Stack) -> None:
    turn = new()
    async with opened(scripted.url) as socket:
        await socket.start(turn, "how?")
        await socket.until_text(turn, 3)
        await socket.start(turn, "how?")
        await socket.start(turn, "something else?")
        error = await socket.until("error")
        assert (error["code"], error["turn"], error["retryable"]) == ("conflict", turn, False)
        done = await socket.until_done(turn)
        assert done["text"] == WHOLE
        await socket.send(type="turn.start", turn=turn, text="something else?")
        assert (await socket.until("error"))["code"] == "conflict"
    (row,) = stored(scripted, turn)
    assert (row["question"], row["text"]) == ("how?", WHOLE)


async def test_the_turns_of_a_session_run_one_after_another(scripted: Stack) -> None:
    one, two = new(), new()
    async with opened(scripted.url) as socket:
        await socket.start(one)
        await socket.start(two)
        await socket.until_done(two)
        ends = [frame["turn"] for frame in socket.frames if frame["type"] == "turn.done"]
        first_of_two = next(index for index, frame in enumerate(socket.frames) if frame.get("turn") == two)
        end_of_one = socket.frames.index(socket.seen(one).done or {})
    assert ends == [one, two]
    assert first_of_two > end_of_one


async def test_interrupt_cancels_what_runs(scripted: Stack) -> None:
    one, two = new(), new()
    async with opened(scripted.url) as socket:
        await socket.start(one)
        await socket.until_text(one, 6)
        await socket.start(two, interrupt=True)
        await socket.until_done(two)
        first, second = socket.seen(one).done, socket.seen(two).done
    assert first is not None
    assert second is not None
    assert (first["status"], second["status"]) == ("cancelled", "completed")
    assert second["text"] == WHOLE


async def test_an_unknown_base_is_named_with_those_that_exist(stack: Stack) -> None:
    turn = new()
    async with opened(stack.url) as socket:
        await socket.start(turn, "When does the heating start?", kb="cellar")
        done = await socket.until_done(turn)
    assert done["status"] == "failed"
    assert done["fault"]["code"] == "unknown_kb"
    assert "'cellar'" in done["fault"]["message"]
    assert "handbook" in done["fault"]["message"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        pytest.param("", "empty", id="empty"),
        pytest.param(" \n\t ", "empty", id="blank"),
        pytest.param("x" * 20_000, "16000", id="huge"),
        pytest.param("\ud800", "surrogate", id="surrogate"),
    ],
)
async def test_a_question_that_cannot_be_asked_is_refused_in_words(stack: Stack, text: str, words: str) -> None:
    turn = new()
    async with opened(stack.url) as socket:
        await socket.start(turn, text)
        error = await socket.until("error")
        assert error["code"] in ("invalid", "bad_frame")
        assert words in error["message"] or error["code"] == "bad_frame"
        await _works(socket)
    assert stored(stack, turn) == []


async def test_a_deadline_that_passes_ends_the_turn_as_expired(scripted: Stack) -> None:
    turn = new()
    async with opened(scripted.url) as socket:
        await socket.start(turn, deadline_ms=400)
        done = await socket.until_done(turn)
    assert done["status"] == "expired"
    assert done["fault"]["code"] == "expired"
    assert WHOLE.startswith(done["text"])
    (row,) = stored(scripted, turn)
    assert (row["status"], row["text"]) == ("expired", done["text"])
    await soon(lambda: busy(scripted) == 0, "seat freed", limit_s=30)


async def _works(socket: Socket) -> None:
    turn = new()
    await socket.start(turn, "When does the heating start?", kb="handbook")
    done = await socket.until_done(turn)
    assert done["status"] == "completed"
