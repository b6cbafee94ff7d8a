"""Hands free over real sockets: a scripted recogniser, a worker that says a tone, answers as the test writes them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from parley_gateway.voice.config import EarSettings, FloorSettings
from parley_gateway.voice.mouth_settings import MouthSettings
from parley_protocol.audio import Failed
from parley_protocol.events import Delta, Fault
from parley_testkit.hearing import silence, speech
from parley_testkit.listener import ScriptedListener
from parley_testkit.speaker import Speaker

pytestmark = pytest.mark.unit
FAST = EarSettings(flush_s=0.005, progress_s=0.3, lease_s=0.3, silence_ms=600)
AT_ONCE = MouthSettings(lead_s=60.0)
END = silence(700)
LONG = "This answer goes on for as long as anybody listens to it, and then for a while. "


@asynccontextmanager
async def talking(
    house: Any, *, speak: bool = True, floor: FloorSettings | None = None
) -> AsyncIterator[tuple[Any, Any, ScriptedListener]]:
    """A client whose stream is open, its gateway and the recogniser."""
    gateway = await house.gateway(ears=FAST, mouths=AT_ONCE, floor=floor)
    listener = await ScriptedListener.open(house.broker.process("asr-1"), "asr-1")
    house.stack.push_async_callback(listener.close)
    voice = await Speaker.open(house.broker)
    house.stack.push_async_callback(voice.control.aclose)
    # Audio that nobody reads stands before the end of the handshake.
    async with house.client(gateway, close_timeout=0.1) as client:
        fields = {"speak": {"rate": 8000}} if speak else {}
        await client.send(type="audio.start", turn="t", hands_free=True, **fields)
        yield client, gateway, listener


async def answering(house: Any, client: Any, question: str = "what is a turn") -> Any:
    """A question, and an answer that is being given."""
    await client.socket.send(speech(question) + END)
    job = await house.worker.jobs.get()
    await house.worker.emit(job, Delta(1, 0, LONG))
    await client.until("answer.delta", job.key.turn)
    return job


def kinds(client: Any, *wanted: str) -> list[tuple[str, str]]:
    return [(frame["type"], frame["turn"]) for frame in client.frames if frame["type"] in wanted]


async def test_who_begins_with_an_interruption_ends_what_is_being_answered(house: Any) -> None:
    gateway = await house.gateway(ears=FAST)
    listener = await ScriptedListener.open(house.broker.process("asr-1"), "asr-1")
    house.stack.push_async_callback(listener.close)
    async with house.client(gateway) as client:
        await client.start("typed")
        await house.worker.emit(await house.worker.jobs.get(), Delta(0, 0, LONG))
        await client.until("answer.delta", "typed")
        await client.send(type="audio.start", turn="t", hands_free=True, interrupt=True)
        done = await client.until("turn.done", "typed")
        assert (done["status"], done["text"]) == ("cancelled", LONG)
        await client.socket.send(speech("what is a turn") + END)
        assert (await house.worker.jobs.get()).question == "what is a turn"


async def test_each_utterance_is_a_turn(house: Any) -> None:
    async with talking(house) as (client, _, _):
        for number, text in enumerate(("what is a turn", "谁 保存")):
            await client.socket.send(speech(text) + END)
            job = await house.worker.jobs.get()
            assert (job.key.turn, job.marks.transcript) == (f"t.{number}", text)
            await house.worker.answer(job, "So.")
            await client.until("turn.done", f"t.{number}")
            await client.until("answer.spoken", f"t.{number}")
        await client.send(type="audio.stop")
    assert kinds(client, "speech.started", "speech.stopped", "transcript.final") == [
        ("speech.started", "t.0"),
        ("speech.stopped", "t.0"),
        ("transcript.final", "t.0"),
        ("speech.started", "t.1"),
        ("speech.stopped", "t.1"),
        ("transcript.final", "t.1"),
    ]


async def test_who_speaks_over_an_answer_silences_it_at_once(house: Any) -> None:
    async with talking(house) as (client, _, listener):
        job = await answering(house, client)
        await client.until("answer.audio", "t.0")
        await client.socket.send(speech("wait"))
        await client.until("speech.started", "t.1")
        flush = await client.until("answer.flush")
        assert (flush["turn"], flush.get("ended", False)) == ("t.0", False)
        await client.socket.send(speech("no stop") + END)
        assert (await client.until("answer.flush"))["ended"]
        done = await client.until("turn.done", "t.0")
        assert (done["status"], done["text"]) == ("cancelled", LONG)
        second = await house.worker.jobs.get()
        assert (second.key.turn, second.question) == ("t.1", "wait no stop")
        await house.worker.emit(job, Delta(2, len(LONG), "More."))  # too late
        await house.worker.answer(second, "Yes.")
        assert (await client.until("turn.done", "t.1"))["status"] == "completed"
        assert listener.held


async def test_the_pause_comes_within_the_tick_of_the_news(house: Any) -> None:
    async with talking(house) as (client, gateway, listener):
        await answering(house, client)
        await client.until("answer.audio", "t.0")
        (connection,) = gateway.hub.connections.values()
        assert connection.speech.mouth is not None
        hearings: list[bool] = []
        take = gateway.hub.ears.on_hearings

        def taken(message: Any) -> None:
            take(message)
            hearings.append(connection.speech.mouth.paused)

        gateway.hub.ears.on_hearings = taken  # what the event queue brings, and nothing in between
        await client.socket.send(speech("uh"))
        await client.until("answer.flush")
        assert True in hearings
        assert listener.held


@pytest.mark.parametrize("text", ["uh-huh", "嗯"])
async def test_a_backchannel_lets_the_answer_go_on(house: Any, text: str) -> None:
    async with talking(house) as (client, _, _):
        job = await answering(house, client)
        await client.until("answer.audio", "t.0")
        await client.socket.send(speech(text))
        flush = await client.until("answer.flush")
        before = len(client.audio)
        await client.socket.send(END)
        await client.until("answer.audio", "t.0")
        assert client.audio[before][0].at * 1000 // 8000 == pytest.approx(flush["ms"], abs=150)
        await house.worker.finish(job, LONG, 2)
        assert (await client.until("turn.done", "t.0"))["status"] == "completed"
        await client.socket.send(speech("and now a question") + END)
        assert (await house.worker.jobs.get()).question == "and now a question"
        assert ("transcript.partial", "t.1") not in kinds(client, "transcript.partial")
        assert kinds(client, "error") == []


async def test_a_backchannel_that_nobody_hears_to_its_end_is_none_the_longer(house: Any) -> None:
    """Its recogniser falls silent, and the next one hears it when speech for so long would have interrupted."""
    async with talking(house, floor=FloorSettings(enough_s=0.1)) as (client, _, listener):
        job = await answering(house, client)
        await client.until("answer.audio", "t.0")
        await client.socket.send(speech("uh-huh"))
        await client.until("answer.flush")
        listener.silent = True
        await client.socket.send(END)
        await listener.until(lambda: len(listener.listens) > 1)  # given up after longer than that
        listener.silent = False
        await client.until("answer.audio", "t.0")
        await house.worker.finish(job, LONG, 2)
        assert (await client.until("turn.done", "t.0"))["status"] == "completed"
        assert [frame["ended"] for frame in client.frames if frame["type"] == "answer.flush" and "ended" in frame] == []


async def test_a_yes_to_nobody_is_a_turn(house: Any) -> None:
    async with talking(house) as (client, _, _):
        await client.socket.send(speech("yes") + END)
        assert (await house.worker.jobs.get()).question == "yes"


async def test_captions_flow_while_nobody_answers(house: Any) -> None:
    async with talking(house) as (client, _, _):
        await client.socket.send(speech("who"))
        assert (await client.until("transcript.partial", "t.0"))["text"] == "who"
        await client.socket.send(speech("keeps it") + END)
        assert (await client.until("transcript.final", "t.0"))["text"] == "who keeps it"


async def test_text_answers_are_interrupted_too(house: Any) -> None:
    async with talking(house, speak=False) as (client, _, _):
        await answering(house, client)
        await client.socket.send(speech("no the other one") + END)
        assert (await client.until("turn.done", "t.0"))["status"] == "cancelled"
        assert (await house.worker.jobs.get()).question == "no the other one"
        assert kinds(client, "answer.flush") == []


async def test_a_cancelled_utterance_is_not_asked(house: Any) -> None:
    async with talking(house) as (client, _, listener):
        await client.socket.send(speech("never"))
        await client.until("transcript.partial", "t.0")
        await client.send(type="turn.cancel", turn="t.0")
        assert (await client.until("error"))["code"] == "cancelled"
        await client.socket.send(speech("mind") + END + speech("this one") + END)
        assert (await house.worker.jobs.get()).question == "this one"
        assert listener.held


async def test_a_stream_that_cannot_go_on_lets_the_answer_go_on(house: Any) -> None:
    async with talking(house) as (client, _, listener):
        job = await answering(house, client)
        await client.until("answer.audio", "t.0")
        await client.socket.send(speech("what"))
        await client.until("answer.flush")
        (stream,) = listener.held
        listener.tell(stream, Failed(Fault("unsupported", "this engine is out of order")))
        error = await client.until("error")
        assert (error["code"], error["turn"]) == ("unsupported", "t")
        await client.until("answer.audio", "t.0")
        await house.worker.finish(job, LONG, 2)
        assert (await client.until("turn.done", "t.0"))["status"] == "completed"
        await client.socket.send(speech("more"))  # dropped without a word
        await client.send(type="audio.start", turn="u", hands_free=True)
        await client.socket.send(speech("again") + END)
        assert (await house.worker.jobs.get()).key.turn == "u.0"


async def test_what_was_said_before_the_stop_is_asked(house: Any) -> None:
    async with talking(house) as (client, gateway, listener):
        await client.socket.send(speech("one last thing"))
        await client.send(type="audio.stop")
        assert (await house.worker.jobs.get()).question == "one last thing"
        await listener.until(lambda: not listener.held)
        assert gateway.hub.ears.streams == 0


async def test_a_socket_that_goes_frees_the_seat(house: Any) -> None:
    async with talking(house) as (client, gateway, listener):
        await client.socket.send(speech("hello"))
        await client.until("transcript.partial", "t.0")
    await listener.until(lambda: not listener.held)
    assert gateway.hub.ears.streams == 0
    assert [session.open for session in gateway.hub.registry.sessions.values()] in ([], [[]])
