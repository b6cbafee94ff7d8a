"""``/v1/realtime`` by the official client: what is said aloud, heard by a scripted recogniser."""

import base64
from contextlib import asynccontextmanager

import pytest
from openai import omit

from parley_gateway.config import TurnSettings
from parley_gateway.dialects.realtime.aloud import Aloud, Given, heard_of
from parley_gateway.dialects.realtime.audio import a_law, mu_law
from parley_gateway.dialects.realtime.faults import Unfit
from parley_gateway.dialects.settings import RealtimeSettings
from parley_gateway.voice.config import EarSettings
from parley_gateway.voice.mouth_settings import MouthSettings
from parley_protocol.audio import Hearing
from parley_protocol.events import Delta, Ending, Marks, Snapshot, Terminal, ToolCall, TurnStatus
from parley_protocol.events import Fault as ListenFault
from parley_testkit.hearing import silence, speech
from parley_testkit.listener import ScriptedListener
from parley_testkit.speaker import Speaker, sound

from .realtime import talk

pytestmark = pytest.mark.unit

WIDE = Hearing(rate=24_000)
NARROW = Hearing(encoding="pcm_mulaw", rate=8_000)
FAST = EarSettings(flush_s=0.005, progress_s=0.3, lease_s=0.3)
HEARD = {"transcription": {"model": "whisper-1"}}


@asynccontextmanager
async def speaking(house, *, listens=True, **audio):
    """A client that speaks to a recogniser; ``audio`` is what its session says of its input."""
    gateway = await house.gateway(ears=FAST)
    asr = await ScriptedListener.open(house.broker.process("asr-1"), "asr-1") if listens else None
    try:
        async with talk(gateway) as client:
            await client.send(type="session.update", session={"type": "realtime", "audio": {"input": audio}})
            await client.until("session.updated")
            yield client
    finally:
        if asr is not None:
            await asr.close()


async def append(client, data, **event):
    await client.send(type="input_audio_buffer.append", audio=base64.b64encode(data).decode(), **event)


COMMITTED = ["input_audio_buffer.committed", "conversation.item.added", "conversation.item.done"]
PART = "conversation.item.input_audio_transcription."


async def test_what_the_client_commits_is_heard_and_answered(house):
    async with speaking(house, turn_detection=None, **HEARD) as client:
        before = await client.say("Hello.")
        data = speech("what is a fence", WIDE)
        for at in range(0, len(data), 4801):  # odd pieces
            await append(client, data[at : at + 4801])
        await client.send(type="input_audio_buffer.commit")
        await client.respond()
        assert await client.kinds(3) == COMMITTED
        committed, added = client.events[-3:-1]
        assert committed.previous_item_id == before.id
        assert added.item.id == committed.item_id
        assert [each.type for each in added.item.content] == ["input_audio"]
        assert await client.kinds(2) == [PART + "delta", PART + "completed"]
        assert (client.events[-1].item_id, client.events[-1].transcript) == (committed.item_id, "what is a fence")
        assert client.events[-1].usage.seconds == 0.4
        job = await house.worker.jobs.get()
        assert job.question == "what is a fence"
        await client.until("response.created")


async def test_silence_ends_a_turn_and_a_response_begins_by_itself(house):
    async with speaking(house, turn_detection={"type": "server_vad", "silence_duration_ms": 300}, **HEARD) as client:
        await append(client, silence(500, WIDE) + speech("what is a fence", WIDE) + silence(400, WIDE))
        assert await client.kinds(4) == ["input_audio_buffer.speech_started", *[PART + "delta"] * 3]
        started = client.events[-4]
        assert started.audio_start_ms == 200  # 500, less the padding of 300
        await client.until("input_audio_buffer.speech_stopped")
        assert client.events[-1].audio_end_ms == 900
        assert await client.kinds(4) == [*COMMITTED, PART + "completed"]
        assert {event.item_id for event in client.events if hasattr(event, "item_id")} == {started.item_id}
        deltas = [event.delta for event in client.events if event.type == PART + "delta"]
        assert "".join(deltas) == client.events[-1].transcript == "what is a fence"
        job = await house.worker.jobs.get()
        assert job.question == "what is a fence"
        await house.worker.answer(job, "A number.")
        assert (await client.until("response.done")).response.output[0].content[0].text == "A number."
        await append(client, speech("thanks", WIDE) + silence(400, WIDE))
        await client.until("input_audio_buffer.speech_started")
        assert client.events[-1].audio_start_ms == 1300 - 300
        assert (await house.worker.jobs.get()).messages[-1].content == "thanks"


async def test_who_speaks_interrupts_and_is_answered(house):
    async with speaking(house, turn_detection={"type": "server_vad", "silence_duration_ms": 200}) as client:
        await append(client, speech("tell me all", WIDE) + silence(300, WIDE))
        job = await house.worker.jobs.get()
        await house.worker.emit(job, Delta(0, 0, "Once upon"))
        await client.until("response.output_text.delta")
        await append(client, speech("stop it", WIDE) + silence(300, WIDE))
        await client.until("input_audio_buffer.speech_started")
        record = await house.worker.records.get()
        assert record.text == "Once upon"
        response = (await client.until("response.done")).response
        assert (response.status, response.status_details.reason) == ("cancelled", "turn_detected")
        job = await house.worker.jobs.get()
        assert [each.content for each in job.messages] == ["tell me all", "Once upon", "stop it"]
        assert not any(event.type.startswith(PART) for event in client.events)  # nobody asked for transcripts


async def test_who_must_not_interrupt_is_answered_after_it(house):
    detection = {"type": "server_vad", "silence_duration_ms": 200, "interrupt_response": False}
    async with speaking(house, turn_detection=detection) as client:
        await append(client, speech("one", WIDE) + silence(300, WIDE))
        job = await house.worker.jobs.get()
        await append(client, speech("two", WIDE) + silence(300, WIDE))
        await client.until("input_audio_buffer.committed")
        await client.until("input_audio_buffer.committed")
        await house.worker.answer(job, "1")
        assert (await client.until("response.done")).response.status == "completed"
        assert (await house.worker.jobs.get()).question == "two"


async def test_detection_without_responses_leaves_them_to_the_client(house):
    detection = {"type": "semantic_vad", "eagerness": "high", "create_response": False}
    async with speaking(house, turn_detection=detection) as client:
        await append(client, speech("one two", WIDE) + silence(400, WIDE))
        await client.until("conversation.item.done")
        assert house.worker.jobs.all == []
        await client.respond(metadata={"a": "b"})
        job = await house.worker.jobs.get()
        assert job.question == "one two"
        await house.worker.answer(job, "1")
        assert (await client.until("response.done")).response.metadata == {"a": "b"}


async def test_what_is_cleared_was_never_said(house):
    async with speaking(house, turn_detection=None, **HEARD) as client:
        await append(client, speech("never mind", WIDE))
        await client.send(type="input_audio_buffer.clear")
        await client.until("input_audio_buffer.cleared")
        await client.send(type="input_audio_buffer.commit", event_id="early")
        error = await client.error()
        assert (error.code, error.event_id) == ("input_audio_buffer_commit_empty", "early")
        await append(client, speech("hello", WIDE))
        await client.send(type="input_audio_buffer.commit")
        assert (await client.until(PART + "completed")).transcript == "hello"


async def test_a_commit_takes_all_that_was_said_before_it(house):
    """Silence and a commit at once make one item, not two."""
    detection = {"type": "server_vad", "silence_duration_ms": 200, "create_response": False}
    async with speaking(house, turn_detection=detection, **HEARD) as client:
        await append(client, speech("one", WIDE) + silence(300, WIDE) + speech("two", WIDE))
        await client.send(type="input_audio_buffer.commit")
        assert (await client.until(PART + "completed")).transcript == "one two"
        assert [event.type for event in client.events].count("conversation.item.added") == 1


@pytest.mark.parametrize("form", ["audio/pcmu", "audio/pcma"])
async def test_telephone_formats_are_heard(house, form):
    async with speaking(house, turn_detection=None, format={"type": form}, **HEARD) as client:
        data = speech("hello there", NARROW)
        if form == "audio/pcma":  # what A-law's codes mean does not matter to this recogniser: that all come does
            await append(client, b"\x55" * len(data))
        else:
            await append(client, data)
        await client.send(type="input_audio_buffer.commit")
        transcript = (await client.until(PART + "completed")).transcript
        assert len(transcript.split()) == 2
        assert transcript == "hello there" or form == "audio/pcma"


async def test_another_format_begins_a_stream_of_its_own_and_what_waits_is_heard(house):
    async with speaking(house, turn_detection=None, **HEARD) as client:
        await append(client, speech("wide words", WIDE))
        await client.send(type="input_audio_buffer.commit")
        session = {"type": "realtime", "audio": {"input": {"format": {"type": "audio/pcmu"}}}}
        await client.send(type="session.update", session=session)
        await append(client, speech("narrow words", NARROW))
        await client.send(type="input_audio_buffer.commit")
        assert (await client.until(PART + "completed")).transcript == "wide words"
        assert (await client.until(PART + "completed")).transcript == "narrow words"


async def test_what_has_not_been_committed_is_heard_in_the_way_that_is_asked_for_meanwhile(house):
    """Turn detection is switched off in mid-sentence, and on again."""
    vad = {"type": "server_vad", "silence_duration_ms": 200, "create_response": False}
    async with speaking(house, turn_detection=vad, **HEARD) as client:

        async def detect(how):
            session = {"type": "realtime", "audio": {"input": {"turn_detection": how}}}
            await client.send(type="session.update", session=session)
            await client.until("session.updated")

        said, odd = speech("one two", WIDE), len(speech("one", WIDE)) + 4801
        await append(client, said[:odd])
        started = await client.until("input_audio_buffer.speech_started")
        await detect(None)
        await append(client, said[odd:])
        await client.send(type="input_audio_buffer.commit")
        assert (await client.until("input_audio_buffer.committed")).item_id == started.item_id
        await append(client, speech("three", WIDE))
        await detect(vad)  # while the first is still to be heard, perhaps
        await append(client, silence(300, WIDE))
        heard = [await client.until(PART + "completed") for _ in range(2)]
        assert [each.transcript for each in heard] == ["one two", "three"]
        items = [event.item_id for event in client.events if event.type == "input_audio_buffer.committed"]
        assert items == [each.item_id for each in heard]


async def test_what_nobody_here_hears_is_said_once_and_not_with_every_piece_of_audio(house):
    gateway = await house.gateway(ears=FAST)
    asr = await ScriptedListener.open(house.broker.process("asr-1"), "asr-1")
    asr.fault = ListenFault("unsupported", "The language 'zh' is not heard here: speak en.", False)
    async with talk(gateway) as client:

        async def speak_in(language):
            heard = {"transcription": {"model": "whisper-1", "language": language}, "turn_detection": None}
            await client.send(type="session.update", session={"type": "realtime", "audio": {"input": heard}})
            await client.until("session.updated")
            await append(client, speech("hello", WIDE))

        await speak_in("zh")
        error = await client.error()
        assert (error.type, error.code) == ("invalid_request_error", "unsupported")
        for _ in range(3):
            await append(client, speech("hello", WIDE))
        await client.send(type="input_audio_buffer.commit")
        failed = await client.until(PART + "failed")  # what is committed has its answer all the same
        assert failed.error.code == "unavailable"
        assert [event.type for event in client.events].count("error") == 1
        assert len(asr.listens) == 1
        asr.fault = None
        await speak_in("en")
        await client.send(type="input_audio_buffer.commit")
        assert (await client.until(PART + "completed")).transcript == "hello"
    await asr.close()


async def test_nobody_listens(house):
    async with speaking(house, listens=False, turn_detection=None, **HEARD) as client:
        await append(client, speech("hello", WIDE))
        await client.send(type="input_audio_buffer.commit")
        await client.respond()
        failed = await client.until(PART + "failed")
        assert failed.error.code == "overloaded"
        assert [(await client.error()).code for _ in range(2)] == ["overloaded", "overloaded"]
        await client.say("typed, then")
        await client.respond()
        assert (await house.worker.jobs.get()).question == "typed, then"


async def test_a_killed_recogniser_loses_no_word_and_repeats_none(house):
    gateway = await house.gateway(ears=FAST)
    async with talk(gateway) as client:
        one = await ScriptedListener.open(house.broker.process("asr-1"), "asr-1")
        session = {"type": "realtime", "audio": {"input": {"turn_detection": None, **HEARD}}}
        await client.send(type="session.update", session=session)
        await append(client, speech("what is", WIDE))
        await one.until(lambda: sum(len(part.data) for part in one.parts) >= len(speech("what is", WIDE)))
        await one.kill()
        two = await ScriptedListener.open(house.broker.process("asr-2"), "asr-2")
        await append(client, speech("a fence", WIDE))
        await client.send(type="input_audio_buffer.commit")
        assert (await client.until(PART + "completed")).transcript == "what is a fence"
        await two.close()


async def test_who_says_nothing_for_long_is_spoken_to(house):
    detection = {"type": "server_vad", "silence_duration_ms": 200, "idle_timeout_ms": 1000}
    async with speaking(house, turn_detection=detection) as client:
        await append(client, speech("hello", WIDE) + silence(300, WIDE))
        await house.worker.answer(await house.worker.jobs.get(), "Hello!")
        await client.until("response.done")
        await append(client, silence(400, WIDE))
        triggered = await client.until("input_audio_buffer.timeout_triggered")
        assert triggered.audio_end_ms == 800
        assert await client.kinds(3) == COMMITTED
        assert client.events[-1].item.id == triggered.item_id
        await house.worker.answer(await house.worker.jobs.get(), "Still there?")
        await client.until("response.done")


async def test_a_session_may_only_transcribe(house):
    gateway = await house.gateway(ears=FAST)
    asr = await ScriptedListener.open(house.broker.process("asr-1"), "asr-1")
    async with talk(gateway, model=omit, intent="transcription") as client:
        session = client.events[0].session
        assert (session.type, session.object) == ("transcription", "realtime.transcription_session")
        vad = {"turn_detection": {"type": "server_vad", "silence_duration_ms": 200}}
        await client.send(type="session.update", session={"type": "transcription", "audio": {"input": vad}})
        updated = await client.until("session.updated")
        assert updated.session.audio.input.turn_detection.silence_duration_ms == 200
        await append(client, speech("what is a fence", WIDE) + silence(300, WIDE))
        assert (await client.until(PART + "completed")).transcript == "what is a fence"
        await client.respond()
        assert "no responses" in (await client.error()).message
        await client.send(type="session.update", session={"type": "realtime"})
        assert (await client.error()).param == "session.type"
        assert house.worker.jobs.all == []
    await asr.close()


@pytest.mark.parametrize("audio", ["%%%", "YWJ", "你好"])
async def test_what_is_no_base64_is_an_error(house, audio):
    async with speaking(house, turn_detection=None) as client:
        await client.send(type="input_audio_buffer.append", audio=audio, event_id="mine")
        error = await client.error()
        assert (error.code, error.param, error.event_id) == ("invalid_value", "audio", "mine")


async def test_a_flood_ends_the_stream_and_not_the_socket(house):
    gateway = await house.gateway(ears=EarSettings(flush_s=0.005, ahead_s=1.0))
    asr = await ScriptedListener.open(house.broker.process("asr-1"), "asr-1")
    async with talk(gateway) as client:
        await append(client, silence(3000, WIDE), event_id="mine")
        error = await client.error()
        assert (error.code, error.event_id) == ("rate_limited", "mine")
        await client.say("still here")
    await asr.close()


# --- answers as audio ---------------------------------------------------------------------------------------------


@asynccontextmanager
async def listening(house, *, speaks=True, realtime=None, mouths=None, turns=None, **session):
    """A client that is answered aloud."""
    gateway = await house.gateway(ears=FAST, mouths=mouths, realtime=realtime or RealtimeSettings(), turns=turns)
    asr = await ScriptedListener.open(house.broker.process("asr-1"), "asr-1")
    speaker = await Speaker.open(house.broker) if speaks else None
    try:
        async with talk(gateway) as client:
            if session:
                await client.send(type="session.update", session={"type": "realtime", **session})
                await client.until("session.updated")
            yield client, speaker
    finally:
        await asr.close()
        if speaker is not None:
            await speaker.control.aclose()


def audio_of(client):
    return b"".join(base64.b64decode(event.delta) for event in client.events if event.type == AUDIO + "delta")


AUDIO = "response.output_audio."
SCRIPT = "response.output_audio_transcript."


async def test_an_answer_is_said_aloud(house):
    async with listening(house) as (client, speaker):
        assert client.events[0].session.output_modalities == ["audio"]
        await client.say("Say it.")
        await client.respond()
        job = await house.worker.jobs.get()
        await house.worker.answer(job, "One here. ", "Two there.")
        done = await client.until("response.done")
        assert audio_of(client) == sound("One here.", 24_000) + sound("Two there.", 24_000)
        assert [event.type for event in client.events[-6:]] == [
            AUDIO + "done",
            SCRIPT + "done",
            "response.content_part.done",
            "conversation.item.done",
            "response.output_item.done",
            "response.done",
        ]
        assert (
            "".join(event.delta for event in client.events if event.type == SCRIPT + "delta") == "One here. Two there."
        )
        (item,) = done.response.output
        assert (item.content[0].type, item.content[0].transcript) == ("output_audio", "One here. Two there.")
        assert done.response.output_modalities == ["audio"]
        assert {job.voice for job in speaker.jobs} == {"alloy"}


async def test_voice_speed_and_format_are_the_sessions(house):
    output = {"voice": "cedar", "speed": 1.5, "format": {"type": "audio/pcmu"}}
    async with listening(house, audio={"output": output}) as (client, speaker):
        await client.say("Say it.")
        await client.respond()
        await house.worker.answer(await house.worker.jobs.get(), "Oh.")
        await client.until("response.done")
        (job,) = speaker.jobs
        assert (job.voice, job.speed, job.rate) == ("cedar", 1.5, 8_000)
        assert audio_of(client) == bytes(mu_law(ord(char)) for char in "Oh." for _ in range(400))


async def test_who_speaks_silences_the_answer_and_says_how_much_was_heard(house):
    vad = {"turn_detection": {"type": "server_vad", "silence_duration_ms": 200}}
    async with listening(house, audio={"input": vad}) as (client, _):
        await append(client, speech("tell me", WIDE) + silence(300, WIDE))
        job = await house.worker.jobs.get()
        await house.worker.emit(job, Delta(0, 0, "One two three. And "))
        await client.until(AUDIO + "delta")
        await append(client, speech("stop", WIDE))
        response = (await client.until("response.done")).response
        assert (response.status, response.status_details.reason) == ("cancelled", "turn_detected")
        sent = len(audio_of(client)) // 48
        item = response.output[0]
        assert item.content[0].transcript == "One two three. And "
        await client.send(type="conversation.item.truncate", item_id=item.id, content_index=0, audio_end_ms=sent + 1)
        assert (await client.error()).param == "audio_end_ms"
        await client.send(type="conversation.item.truncate", item_id=item.id, content_index=0, audio_end_ms=sent // 2)
        await client.until("conversation.item.truncated")
        await append(client, silence(300, WIDE))
        messages = (await house.worker.jobs.get()).messages
        assert messages[1].content == "One two"
        (row,) = await house.store.rows([job.key])  # before the next turn began
        assert (row.text, row.heard) == ("One two three. And ", len("One two"))


async def test_what_was_written_and_not_yet_said_was_not_heard(house):
    """The text is far ahead of the audio: half of the audio is not half of the text."""
    vad = {"turn_detection": {"type": "server_vad", "silence_duration_ms": 200}}
    async with listening(house, audio={"input": vad}, realtime=RealtimeSettings(lead_s=0.5)) as (client, _):
        await append(client, speech("tell me", WIDE) + silence(300, WIDE))
        job = await house.worker.jobs.get()
        await house.worker.emit(job, Delta(0, 0, "One two three. " + "And so on without an end. " * 20))
        while len(audio_of(client)) < 48 * 500:
            await client.next()
        await append(client, speech("stop", WIDE))
        item = (await client.until("response.done")).response.output[0]
        await client.send(type="conversation.item.truncate", item_id=item.id, content_index=0, audio_end_ms=400)
        await client.until("conversation.item.truncated")
        await client.send(type="conversation.item.retrieve", item_id=item.id)
        kept = (await client.until("conversation.item.retrieved")).item
        assert kept.content[0].transcript == "One two"  # 50 ms for each character


@pytest.mark.parametrize("cancels", ["before", "after"])
async def test_an_answer_may_be_truncated_while_it_is_being_said(house, cancels):
    """As a client does the moment it hears of speech, or of its user's button: the response has not ended by then."""
    async with listening(house) as (client, _):
        await client.say("Say it.")
        await client.respond()
        job = await house.worker.jobs.get()
        await house.worker.emit(job, Delta(0, 0, "One two three. And "))
        id = (await client.until(AUDIO + "delta")).item_id
        while len(audio_of(client)) < 48 * 400:
            await client.next()
        if cancels == "before":
            await client.send(type="response.cancel")
        await client.send(type="conversation.item.truncate", item_id=id, content_index=0, audio_end_ms=400)
        if cancels == "after":
            await client.send(type="response.cancel")
        response = (await client.until("response.done")).response
        assert response.status == "cancelled"
        assert response.output[0].content[0].transcript == "One two"
        cut = next(event for event in client.events if event.type == "conversation.item.truncated")
        assert (cut.item_id, cut.audio_end_ms) == (id, 400)
        whole = next(event for event in client.events if event.type == SCRIPT + "done")
        assert whole.transcript == "One two three. And "  # what the deltas were
        await client.say("And now?")
        await client.respond()
        messages = (await house.worker.jobs.get()).messages
        assert messages[1].content == "One two"
        (row,) = await house.store.rows([job.key])
        assert row.heard == len("One two")


async def test_what_cannot_be_truncated_while_it_is_being_said(house):
    async with listening(house) as (client, _):
        await client.say("Say it.")
        await client.respond()
        job = await house.worker.jobs.get()
        await house.worker.emit(job, Delta(0, 0, "One two three. And "))
        id = (await client.until(AUDIO + "delta")).item_id
        for index, ms, param in ((1, 0, "content_index"), (0, 60_000, "audio_end_ms")):
            await client.send(type="conversation.item.truncate", item_id=id, content_index=index, audio_end_ms=ms)
            assert (await client.until("error")).error.param == param


async def test_an_answer_is_spoken_to_its_end_though_its_turn_is_kept_no_longer(house):
    """As on a gateway with so many turns that those that have ended are let go at once."""
    slow = RealtimeSettings(lead_s=0.1)
    async with listening(house, realtime=slow, turns=TurnSettings(resume_bytes=0)) as (client, _):
        await client.say("Say it.")
        await client.respond()
        await house.worker.answer(await house.worker.jobs.get(), "This takes a while.")
        response = (await client.until("response.done")).response
        assert response.status == "completed"
        assert audio_of(client) == sound("This takes a while.", 24_000)


async def test_a_cancel_while_only_audio_is_under_way_ends_it(house):
    slow = RealtimeSettings(lead_s=0.1)
    async with listening(house, realtime=slow) as (client, _):
        await client.say("Say it.")
        await client.respond()
        await house.worker.answer(await house.worker.jobs.get(), "This takes a while to say. " * 4)
        await client.until(AUDIO + "delta")
        await client.send(type="response.cancel")
        response = (await client.until("response.done")).response
        assert (response.status, response.status_details.reason) == ("cancelled", "client_cancelled")


async def test_audio_that_is_not_wanted_can_be_cleared(house):
    slow = RealtimeSettings(lead_s=0.1)
    async with listening(house, realtime=slow) as (client, _):
        await client.send(type="output_audio_buffer.clear")
        assert (await client.error()).type == "invalid_request_error"
        await client.say("Say it.")
        await client.respond()
        await house.worker.answer(await house.worker.jobs.get(), "This takes a while to say. " * 4)
        await client.until(AUDIO + "delta")
        await client.send(type="output_audio_buffer.clear")
        cleared = await client.until("output_audio_buffer.cleared")
        response = (await client.until("response.done")).response
        assert (response.id, response.status) == (cleared.response_id, "completed")


async def test_nobody_speaks(house):
    impatient = MouthSettings(ask_s=0.05, attempts=1)
    async with listening(house, speaks=False, mouths=impatient) as (client, _):
        await client.say("Say it.")
        await client.respond()
        await house.worker.answer(await house.worker.jobs.get(), "This is text.")
        response = (await client.until("response.done")).response
        assert (response.status, response.status_details.error.code) == ("failed", "unavailable")
        assert response.output[0].content[0].transcript == "This is text."


async def test_a_call_is_told_though_nobody_speaks_the_words_before_it(house):
    impatient = MouthSettings(ask_s=0.05, attempts=1)
    tools = [{"type": "function", "name": "f"}]
    async with listening(house, speaks=False, mouths=impatient, tools=tools) as (client, _):
        await client.say("Call it.")
        await client.respond()
        job = await house.worker.jobs.get()
        await house.worker.emit(job, Delta(0, 0, "Let me see."))
        await house.worker.finish(job, "Let me see.", 1, ending=Ending("", (ToolCall("c", "f", "{}"),)))
        response = (await client.until("response.done")).response
        assert response.status == "failed"
        assert [item.type for item in response.output] == ["message", "function_call"]
        assert any(event.type == "response.function_call_arguments.done" for event in client.events)


async def test_a_call_has_no_audio(house):
    async with listening(house, tools=[{"type": "function", "name": "f"}]) as (client, speaker):
        await client.say("Call it.")
        await client.respond()
        ending = Ending("", (ToolCall("c", "f", "{}"),))
        await house.worker.finish(await house.worker.jobs.get(), "", 0, ending=ending)
        response = (await client.until("response.done")).response
        assert [item.type for item in response.output] == ["function_call"]
        assert speaker.jobs == []


async def test_an_answer_that_starts_anew_is_said_anew(house):
    async with listening(house) as (client, _):
        await client.say("Say it.")
        await client.respond()
        job = await house.worker.jobs.get()
        await client.until("rate_limits.updated")
        await house.worker.emit(job, Delta(0, 0, "Old text. More"))
        await client.until(AUDIO + "delta")
        await house.worker.emit(job, Snapshot(2, Marks("generating"), "New text."), fence=2)
        await client.until("conversation.item.deleted")
        await house.worker.emit(job, Terminal(2, TurnStatus.COMPLETED, "New text."), fence=2)
        response = (await client.until("response.done")).response
        assert [item.content[0].transcript for item in response.output] == ["New text."]
        assert [event.type for event in client.events].count("output_audio_buffer.cleared") == 1
        said = {event.item_id for event in client.events if event.type == AUDIO + "delta"}
        assert response.output[0].id in said
        new = b"".join(
            base64.b64decode(event.delta)
            for event in client.events
            if event.type == AUDIO + "delta" and event.item_id == response.output[0].id
        )
        assert new == sound("New text.", 24_000)


@pytest.mark.parametrize("law", [mu_law, a_law])
def test_telephone_codes_are_the_standards(law):
    """Points of the tables of G.711: zero, the loudest, and where steps begin."""
    points = {
        mu_law: {0: 0xFF, 32_767: 0x80, -32_768: 0x00, 7: 0xFE, 8: 0xFE, -8: 0x7E, 1000: 0xCE, -1000: 0x4E},
        a_law: {0: 0xD5, 32_767: 0xAA, -32_768: 0x2A, -1: 0x55, 1000: 0xFA, -1000: 0x7A},
    }[law]
    assert {sample: law(sample) for sample in points} == points


@pytest.mark.parametrize(
    ("text", "points", "heard"),
    [
        ("one two three", 13, "one two three"),
        ("one two three", 11, "one two"),
        ("one two three", 6, "one"),
        ("one two three", 0, ""),
        ("一二三四五六七八九十", 5, "一二三四五"),
        ("", 0, ""),
    ],
)
def test_what_of_a_text_was_heard(text, points, heard):
    assert heard_of(text, points) == heard


def test_how_far_an_item_has_been_heard_goes_sentence_by_sentence():
    aloud = Aloud("resp", origin=100)
    assert (aloud.ms, aloud.heard(0)) == (0, 0)  # before any audio nothing has been heard
    for piece in (Given(4, 3000, 3200, 104), Given(4, 3200, 4000, 120), Given(5, 4000, 5000, 180)):
        aloud.give(piece)
    assert aloud.ms == 2000
    assert [aloud.heard(ms) for ms in (0, 500, 1000, 1500, 2000)] == [0, 10, 20, 50, 80]
    with pytest.raises(Unfit, match="2000ms is already shorter than 2001ms"):
        aloud.check(2001)
