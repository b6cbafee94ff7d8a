"""Spoken answers over a real socket of a whole gateway, with a worker that says a tone."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, contextmanager

import msgspec
import pytest
from websockets.asyncio.client import connect

from parley_gateway.voice.heard import HeardDesk
from parley_gateway.voice.mouth_settings import MouthSettings
from parley_protocol import codec
from parley_protocol.client import AnswerSpoken, Hello, TurnStart, Voice
from parley_protocol.events import Delta, Snapshot
from parley_protocol.events import Marks as M
from parley_protocol.ids import TurnKey
from parley_protocol.speech import decode_audio
from parley_runtime.errors import StoreAway
from parley_runtime.settings import CommonSettings
from parley_runtime.telemetry import tracing
from parley_testkit.speaker import CHAR_MS, Speaker, sound

pytestmark = pytest.mark.unit

RATE = 8000
SPEAK = {"rate": RATE}
AT_ONCE = MouthSettings(lead_s=5.0)
"""All that these tests hear is sent at once, so that they wait for nothing."""


@pytest.fixture
async def voice(house) -> AsyncIterator[Speaker]:
    worker = await Speaker.open(house.broker)
    yield worker
    await worker.control.aclose()


def pcm_of(client) -> bytes:
    return b"".join(pcm for _, pcm in client.audio)


async def heard(client, samples: int) -> None:
    """Until so much audio has come."""
    while len(pcm_of(client)) < 2 * samples:
        await client.next()


@contextmanager
def stopped(gateway):
    """The mouths' clock stands still: a listener plays nothing that it does not say."""
    now = gateway.hub.mouths.saying.now()
    gateway.hub.mouths.saying.now = lambda: now
    yield
    del gateway.hub.mouths.saying.now


async def played(client, gateway, turn: str, ms: int) -> None:
    """The client says so, and the gateway has read it."""
    await client.send(type="audio.played", turn=turn, ms=ms)
    await client.send(type="ping")
    await client.until("pong")


@asynccontextmanager
async def speaking(house, text: str, *, turn: str = "one", mouths: MouthSettings = AT_ONCE):
    """A gateway, a client and a turn whose answer so far is ``text``."""
    gateway = await house.gateway(mouths=mouths)
    async with house.client(gateway) as client:
        await client.start(turn, speak=SPEAK)
        job = await house.worker.jobs.get()
        await house.worker.emit(job, Delta(0, 0, text))
        yield gateway, client, job


async def test_an_answer_is_spoken_while_it_is_written(house, voice):
    async with speaking(house, "One here. Tw") as (_, client, job):
        await heard(client, 9 * RATE * CHAR_MS // 1000)
        assert pcm_of(client) == sound("One here.", RATE)
        assert "turn.done" not in {frame["type"] for frame in client.frames}
        await house.worker.emit(job, Delta(1, 12, "o there [1]."))
        await house.worker.finish(job, "One here. Two there [1].", 2)
        spoken = await client.until("answer.spoken")
        assert [header.sentence for header, _ in client.audio][-1] == 1
    assert pcm_of(client) == sound("One here.", RATE) + sound("Two there .", RATE)
    assert spoken == {"type": "answer.spoken", "turn": "one", "ms": 20 * CHAR_MS}
    assert client.seen["one"].text == "One here. Two there [1]."
    assert [job.text for job in voice.jobs] == ["One here.", "Two there ."]
    assert {(job.rate, job.attempt, job.key.turn) for job in voice.jobs} == {(RATE, 0, "one")}


async def test_nothing_is_spoken_unless_it_is_wanted(house, voice):
    gateway = await house.gateway(mouths=AT_ONCE)
    async with house.client(gateway) as client:
        await client.start("one")
        await house.worker.answer(await house.worker.jobs.get(), "One here. Two.")
        await client.until("turn.done")
    assert voice.jobs == []


async def test_audio_is_sent_as_fast_as_it_is_played(house, voice):
    loop = asyncio.get_running_loop()
    text = "This is said. "
    async with speaking(house, text, mouths=MouthSettings(lead_s=0.2, frame_ms=50)) as (_, client, job):
        begun = loop.time()
        await house.worker.finish(job, text, 1)
        await client.until("answer.spoken")
        took = loop.time() - begun
    assert pcm_of(client) == sound("This is said.", RATE)
    assert took > 0.6
    assert max(len(pcm) for _, pcm in client.audio) == 2 * RATE * 50 // 1000


async def test_msgpack_sockets_get_audio_as_bin(house, voice):
    gateway = await house.gateway(mouths=AT_ONCE)
    url = f"ws://127.0.0.1:{gateway.port}/v1/connect"
    async with connect(url, subprotocols=["parley.v1.msgpack"]) as socket:
        await socket.send(codec.pack(Hello()))
        await socket.send(codec.pack(TurnStart(turn="one", text="why?", speak=Voice(rate=RATE))))
        job = await house.worker.jobs.get()
        await house.worker.answer(job, "One here.")
        pcm = b""
        async with asyncio.timeout(30):
            while True:
                data = await socket.recv()
                frame = msgspec.msgpack.decode(data)
                if isinstance(frame, bytes):
                    pcm += decode_audio(frame)[1]
                elif isinstance(codec.decode_server(data), AnswerSpoken):
                    break
    assert pcm == sound("One here.", RATE)


@pytest.mark.parametrize("speak", [{"rate": 1}, {"rate": 96_000}, {"speed": 9.0}, {"voice": "v" * 65}])
async def test_a_voice_that_nobody_has_is_refused_and_the_turn_with_it(house, voice, speak):
    gateway = await house.gateway()
    async with house.client(gateway) as client:
        await client.start("one", speak=speak)
        error = await client.until("error")
        assert (error["code"], error["turn"]) == ("invalid", "one")
        assert "speak." in error["message"]
    assert house.worker.jobs.all == []


async def test_a_cancelled_turn_is_silent_at_once(house, voice):
    voice.silent = True
    async with speaking(house, "One here. Two here. Three") as (_, client, _job):
        await voice.until(2)
        await voice.say(voice.jobs[0])
        await heard(client, 100)
        await client.send(type="turn.cancel", turn="one")
        flush = await client.until("answer.flush")
        done = await client.until("turn.done")
        assert flush["ended"]
        assert 0 <= flush["ms"] <= 9 * CHAR_MS
        assert done["status"] == "cancelled"
        await voice.say(voice.jobs[1])
        await client.send(type="ping")
        await client.until("pong")
        assert len(pcm_of(client)) == 2 * 9 * RATE * CHAR_MS // 1000
    assert voice.hushed == [voice.jobs[0].speech]


async def test_an_interrupting_turn_ends_what_is_spoken(house, voice):
    async with speaking(house, "One here. Two here.") as (_, client, job):
        await house.worker.finish(job, "One here. Two here.", 1)
        await client.until("turn.done")
        await heard(client, 18 * RATE * CHAR_MS // 1000)
        await client.start("two", speak=SPEAK, interrupt=True)
        flush = await client.until("answer.flush")
        assert (flush["turn"], flush["ended"]) == ("one", True)
        await house.worker.answer(await house.worker.jobs.get(), "New.")
        spoken = await client.until("answer.spoken")
        assert spoken["turn"] == "two"


async def test_a_pause_flushes_and_speech_goes_on_with_the_word(house, voice):
    async with speaking(house, "Alpha beta gamma. ") as (gateway, client, job):
        await house.worker.finish(job, "Alpha beta gamma. ", 1)
        await heard(client, 17 * RATE * CHAR_MS // 1000)
        (connection,) = gateway.hub.connections.values()
        with stopped(gateway):
            await played(client, gateway, "one", 8 * CHAR_MS)
            connection.speech.mouth.pause()
        flush = await client.until("answer.flush")
        assert "ended" not in flush
        assert flush["ms"] == 8 * CHAR_MS
        assert connection.speech.mouth.speaking == "one"
        before = len(pcm_of(client))
        connection.speech.mouth.resume()
        await client.until("answer.spoken")
        assert pcm_of(client)[before:] == sound("beta gamma.", RATE)


async def test_an_interrupt_says_what_was_heard(house, voice):
    async with speaking(house, "Alpha [1] beta gamma. ") as (gateway, client, job):
        await house.worker.finish(job, "Alpha [1] beta gamma. ", 1)
        await heard(client, 17 * RATE * CHAR_MS // 1000)
        (connection,) = gateway.hub.connections.values()
        with stopped(gateway):
            await played(client, gateway, "one", 7 * CHAR_MS)
            said = connection.speech.mouth.interrupt()
        assert (said.turn, said.ms) == ("one", 7 * CHAR_MS)
        assert "Alpha [1] beta gamma. "[: said.heard] == "Alpha [1] b"
        assert connection.speech.mouth.interrupt() is None
        assert connection.speech.mouth.speaking is None
        assert (await client.until("answer.flush"))["ended"]


async def test_a_lost_sentence_is_asked_for_again(house, voice):
    voice.silent = True
    async with speaking(house, "One here. A", mouths=MouthSettings(lead_s=5.0, ask_s=0.1)) as (_, client, _job):
        await voice.until(2)
        voice.silent = False
        await voice.say(voice.jobs[1])
        await heard(client, 9 * RATE * CHAR_MS // 1000)
    assert [(job.index, job.attempt, job.text) for job in voice.jobs[:2]] == [(0, 0, "One here."), (0, 1, "One here.")]


async def test_nobody_to_speak_is_said_and_the_text_is_whole(house):
    mouths = MouthSettings(ask_s=0.05, attempts=2)
    async with speaking(house, "One here. ", mouths=mouths) as (_, client, job):
        await house.worker.finish(job, "One here. ", 1)
        spoken = await client.until("answer.spoken")
    assert (spoken["ms"], spoken["fault"]["code"], spoken["fault"]["retryable"]) == (0, "unavailable", True)
    assert client.seen["one"].done["text"] == "One here. "


async def test_another_run_that_says_something_else_flushes(house, voice):
    async with speaking(house, "One here. Two here. Thr") as (_, client, job):
        await heard(client, 18 * RATE * CHAR_MS // 1000)
        later = msgspec.structs.replace(job, fence=2)
        await house.worker.emit(later, Snapshot(5, M(), "One here. Other words. A"), fence=2)
        flush = await client.until("answer.flush")
        assert "ended" not in flush
        assert flush["ms"] == 9 * CHAR_MS
        before = len(pcm_of(client))
        await heard(client, before // 2 + 12 * RATE * CHAR_MS // 1000)
        assert pcm_of(client)[before:] == sound("Other words.", RATE)


async def test_a_socket_that_goes_leaves_nothing_behind(house, voice):
    voice.silent = True
    async with speaking(house, "One here. Two") as (gateway, client, _job):
        await voice.until(1)
        assert len(gateway.hub.mouths.saying) == 1
        await client.socket.close()
        async with asyncio.timeout(30):
            while gateway.hub.connections:
                gateway.hub.left.clear()
                await gateway.hub.left.wait()
        assert len(gateway.hub.mouths.saying) == 0
        session = next(iter(gateway.hub.registry.sessions.values()))
        assert [entry.views for entry in session.entries.values()] == [[]]


async def test_what_was_heard_is_stored_before_the_next_turn_is_asked(house, voice):
    async with speaking(house, "Alpha beta gamma delta. ") as (gateway, client, job):
        await house.worker.finish(job, "Alpha beta gamma delta. ", 1)
        await client.until("turn.done")
        await heard(client, 23 * RATE * CHAR_MS // 1000)
        with stopped(gateway):
            await played(client, gateway, "one", 11 * CHAR_MS)
            await client.start("two", interrupt=True)
            await house.worker.jobs.get()
        (exchange,) = await house.store.conversation("default", client.session, limit=5)
        (row,) = await house.store.rows([job.key])
        assert exchange.answer == "Alpha beta "
        assert (row.text, row.heard) == ("Alpha beta gamma delta. ", 11)
        await client.socket.close()


async def test_a_cancelled_answer_keeps_what_was_heard_of_it(house, voice):
    async with speaking(house, "Alpha beta gamma. A") as (gateway, client, _job):
        await heard(client, 17 * RATE * CHAR_MS // 1000)
        with stopped(gateway):
            await played(client, gateway, "one", 6 * CHAR_MS)
            await client.send(type="turn.cancel", turn="one")
            done = await client.until("turn.done")
        await client.start("two")
        await house.worker.jobs.get()
        (exchange,) = await house.store.conversation("default", client.session, limit=5)
    assert done["text"] == "Alpha beta gamma. A"
    assert exchange.answer == "Alpha "


async def test_an_answer_heard_to_its_end_is_kept_whole(house, voice):
    async with speaking(house, "Hi.") as (_, client, job):
        await house.worker.finish(job, "Hi.", 1)
        await client.until("answer.spoken")
        await client.start("two", interrupt=True)
        await house.worker.jobs.get()
        (row,) = await house.store.rows([job.key])
    assert row.heard is None


async def test_a_store_that_is_away_holds_the_next_turn_up_only_so_long(house, voice, monkeypatch):
    async def away(key, characters):
        raise StoreAway("it is away")

    mouths = MouthSettings(lead_s=5.0, heard_s=0.05)
    async with speaking(house, "Alpha beta gamma. A", mouths=mouths) as (gateway, client, _job):
        await heard(client, 17 * RATE * CHAR_MS // 1000)
        monkeypatch.setattr(gateway.hub.mouths.heard._store, "keep_heard", away)
        await client.start("two", interrupt=True)
        await client.until("turn.accepted", "two")


async def test_the_last_word_on_what_was_heard_counts_though_the_first_is_tried_again():
    """The clock says how much, then the client does; the store takes the clock's word at the second try only."""
    written, asked = [], asyncio.Event()

    class Store:
        async def keep_heard(self, key, characters):
            if not asked.is_set():
                asked.set()
                raise StoreAway("it is away")
            written.append(characters)
            return True

    desk = HeardDesk(Store(), wait_s=5.0)
    key = TurnKey("default", "session", "turn")
    desk.keep(key, 9)
    await asked.wait()
    desk.keep(key, 4)
    await desk.settling("session")
    assert written == [4]
    assert desk.settling("session") is None


async def test_sentences_are_parts_of_the_turns_trace(house, voice, tmp_path):
    path = tmp_path / "trace.jsonl"
    tracing.setup("gateway", "gateway-1", CommonSettings(trace_file=str(path)))
    try:
        async with speaking(house, "Hi.") as (_, client, job):
            await house.worker.finish(job, "Hi.", 1)
            await client.until("answer.spoken")
    finally:
        await tracing.shutdown(5.0)
    (turn,) = [json.loads(line) for line in path.read_text().splitlines() if '"name": "turn"' in line]
    (headers,) = voice.headers
    assert headers["traceparent"].split("-")[1] == turn["trace_id"]


async def test_a_drain_lets_an_answer_be_spoken_to_its_end(house, voice):
    async with speaking(house, "Hi there.", mouths=MouthSettings(lead_s=0.1)) as (gateway, client, job):
        await house.worker.finish(job, "Hi there.", 1)
        await client.until("turn.done")
        drain = asyncio.create_task(gateway.drain(10.0))
        spoken = await client.until("answer.spoken")
        assert spoken["ms"] == 9 * CHAR_MS
        await client.closed()
        await drain


async def test_a_client_that_takes_nothing_for_a_while_is_not_sent_more(house, voice, monkeypatch):
    async with speaking(house, "Hi there. This is it. A") as (gateway, client, job):
        (connection,) = gateway.hub.connections.values()
        await heard(client, 20 * RATE * CHAR_MS // 1000)
        stalled = True
        monkeypatch.setattr(type(connection.outbox), "stalled", property(lambda _: stalled))
        await house.worker.emit(job, Delta(1, 23, "nd more. A"))
        await voice.until(3)
        await client.send(type="ping")
        await client.until("pong")
        before = len(pcm_of(client))
        assert before == 2 * 20 * RATE * CHAR_MS // 1000
        stalled = False
        await heard(client, before // 2 + 9 * RATE * CHAR_MS // 1000)
        assert pcm_of(client)[before:] == sound("And more.", RATE)


@pytest.mark.parametrize("elsewhere", [False, True], ids=["same gateway", "another gateway"])
async def test_who_comes_back_hears_the_rest_of_an_answer(house, voice, elsewhere):
    text = "One here. Two here. Three here."
    async with speaking(house, text) as (gateway, client, job):
        await house.worker.finish(job, text, 1)
        await client.until("turn.done")
        await heard(client, 9 * RATE * CHAR_MS // 1000)
        client.socket.transport.abort()
    other = await house.gateway("gateway-2", mouths=AT_ONCE) if elsewhere else gateway
    async with house.client(other, greet=False, known=client.seen) as again:
        await again.hello(session=client.session, position=client.position, pending=["one"])
        await again.send(type="answer.speak", turn="one", speak=SPEAK, sentence=1)
        spoken = await again.until("answer.spoken")
    assert pcm_of(again) == sound("Two here.", RATE) + sound("Three here.", RATE)
    assert [header.sentence for header, _ in again.audio] == sorted(header.sentence for header, _ in again.audio)
    assert (again.audio[0][0].sentence, again.audio[0][0].at) == (1, 0)
    assert spoken["ms"] == 20 * CHAR_MS


async def test_an_answer_that_was_only_read_is_read_aloud(house, voice):
    gateway = await house.gateway(mouths=AT_ONCE)
    async with house.client(gateway) as client:
        await client.start("one")
        await house.worker.answer(await house.worker.jobs.get(), "One here.")
        await client.until("turn.done")
        await client.send(type="answer.speak", turn="one", speak=SPEAK)
        await client.until("answer.spoken")
    assert pcm_of(client) == sound("One here.", RATE)


@pytest.mark.parametrize(("sentence", "kept"), [(0, None), (1, 9)], ids=["once more", "spoken on"])
async def test_an_answer_that_is_read_once_more_and_stopped_was_not_unheard(house, voice, sentence, kept):
    gateway = await house.gateway(mouths=AT_ONCE)
    async with house.client(gateway) as client:
        await client.start("one")
        job = await house.worker.jobs.get()
        await house.worker.answer(job, "One here. Two here. Three here.")
        await client.until("turn.done")
        with stopped(gateway):
            await client.send(type="answer.speak", turn="one", speak=SPEAK, sentence=sentence)
            await client.until("answer.audio")
            await client.send(type="turn.cancel", turn="one")
            assert (await client.until("answer.flush"))["ended"]
        await client.start("two")
        await house.worker.jobs.get()
    (row,) = await house.store.rows([job.key])
    assert row.heard == kept


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        ({"turn": "two"}, "not_found"),
        ({"turn": "one", "sentence": -1}, "invalid"),
        ({"turn": "one", "speak": {"rate": 1}}, "invalid"),
    ],
)
async def test_an_answer_that_cannot_be_read_aloud_is_refused(house, voice, frame, code):
    async with speaking(house, "One here. ") as (_, client, job):
        await client.send(type="answer.speak", **({"speak": SPEAK} | frame))
        error = await client.until("error")
        assert (error["code"], error["turn"]) == (code, frame["turn"])
        await house.worker.finish(job, "One here. ", 1)
        await client.until("answer.spoken")
