"""``/v1/realtime`` by the official client: audio within items of the conversation."""

import base64

import pytest

from parley_protocol.audio import Hearing
from parley_testkit.hearing import silence, speech

from .test_realtime_audio import HEARD, PART, append, speaking

pytestmark = pytest.mark.unit

WIDE = Hearing(rate=24_000)
ADDED = ["conversation.item.added", "conversation.item.done"]


def sound(data: bytes) -> dict[str, str]:
    return {"type": "input_audio", "audio": base64.b64encode(data).decode()}


async def put(client, *parts, role="user", **fields):
    item = {"type": "message", "role": role, "content": list(parts)}
    await client.send(type="conversation.item.create", item=item | fields)


async def test_audio_within_an_item_is_heard_and_answered(house):
    async with speaking(house, turn_detection=None, **HEARD) as client:
        data = speech("what is a fence", WIDE) + silence(3000, WIDE)
        assert len(data) > 65_536  # more than an event of words may have
        await put(client, sound(data), id="mine")
        await client.respond()
        assert await client.kinds(2) == ADDED
        assert client.events[-1].item.id == "mine"
        assert client.events[-1].item.content[0].audio is None
        done = await client.until(PART + "completed")
        assert (done.item_id, done.transcript) == ("mine", "what is a fence")
        job = await house.worker.jobs.get()
        assert job.question == "what is a fence"
        await house.worker.answer(job, "A number.")
        assert (await client.until("response.done")).response.status == "completed"
        await client.send(type="conversation.item.retrieve", item_id="mine")
        assert (await client.until("conversation.item.retrieved")).item.content[0].transcript == "what is a fence"


async def test_it_is_no_speech_of_the_microphone(house):
    """It neither begins a response nor ends what is being said."""
    async with speaking(house, turn_detection={"type": "server_vad", "silence_duration_ms": 200}, **HEARD) as client:
        await append(client, speech("one", WIDE))
        await client.until("input_audio_buffer.speech_started")
        await put(client, sound(speech("two", WIDE) + silence(500, WIDE) + speech("three", WIDE)))
        assert (await client.until(PART + "completed")).transcript == "two three"
        assert house.worker.jobs.all == []
        await append(client, silence(300, WIDE))
        job = await house.worker.jobs.get()
        assert [each.content for each in job.messages] == ["two three", "one"]
        assert sum(event.type == "input_audio_buffer.speech_started" for event in client.events) == 1


async def test_words_and_audio_make_one_message(house):
    async with speaking(house, turn_detection=None) as client:
        await put(client, {"type": "input_text", "text": "Say it:"}, sound(speech("hello", WIDE)))
        await client.respond()
        assert (await house.worker.jobs.get()).question == "Say it:\nhello"


async def test_telephone_audio_is_heard_within_an_item_too(house):
    narrow = Hearing(encoding="pcm_mulaw", rate=8_000)
    async with speaking(house, format={"type": "audio/pcmu"}, turn_detection=None, **HEARD) as client:
        await put(client, sound(speech("hello", narrow)))
        assert (await client.until(PART + "completed")).transcript == "hello"


@pytest.mark.parametrize("asked", [True, False])
async def test_nobody_hears_it(house, asked):
    """What waits for its words ends with the reason, and the next question is answered."""
    async with speaking(house, listens=False, turn_detection=None, **(HEARD if asked else {})) as client:
        await put(client, sound(speech("hello", WIDE)))
        await client.respond()
        assert await client.kinds(2) == ADDED
        if asked:
            assert (await client.until(PART + "failed")).error.code == "overloaded"
        else:
            assert (await client.error()).code == "overloaded"
        assert (await client.error()).code == "overloaded"  # of the response
        await client.say("typed, then")
        await client.respond()
        assert (await house.worker.jobs.get()).question == "typed, then"


async def test_silence_is_said_to_be_silence(house):
    async with speaking(house, turn_detection=None, **HEARD) as client:
        await put(client, sound(silence(500, WIDE)))
        failed = await client.until(PART + "failed")
        assert (failed.error.code, "no words" in failed.error.message) == ("no_speech", True)


async def test_an_item_that_is_deleted_before_it_is_heard_is_not_asked(house):
    async with speaking(house, turn_detection=None, **HEARD) as client:
        await client.say("Hello.")
        await put(client, sound(speech("never mind", WIDE)), id="gone")
        await client.send(type="conversation.item.delete", item_id="gone")
        await client.respond()
        assert (await client.until(PART + "completed")).item_id == "gone"
        assert [each.content for each in (await house.worker.jobs.get()).messages] == ["Hello."]


@pytest.mark.parametrize(
    ("parts", "role", "param"),
    [
        ([{"type": "input_audio", "audio": "?"}], "user", "audio"),
        ([{"type": "input_audio"}], "user", "item.content[0].audio"),
        ([sound(b"ab"), sound(b"ab")], "user", "item.content[1].audio"),
        ([{"type": "output_audio", "audio": "AAAA"}], "assistant", "item.content[0].audio"),
    ],
)
async def test_what_cannot_be_heard_is_no_item(house, parts, role, param):
    async with speaking(house, turn_detection=None) as client:
        await put(client, *parts, role=role)
        assert (await client.error()).param == param
        await client.say("typed, then")
        assert [event.type for event in client.events if event.type == "conversation.item.added"] == [ADDED[0]]


async def test_audio_in_the_input_of_a_response_is_refused(house):
    async with speaking(house, turn_detection=None) as client:
        item = {"type": "message", "role": "user", "content": [sound(speech("hello", WIDE))]}
        await client.respond(conversation="none", input=[item])
        assert (await client.error()).param == "response.input[0].content[0].audio"


async def test_few_items_are_heard_at_a_time(house):
    async with speaking(house, listens=False, turn_detection=None, **HEARD) as client:
        for _ in range(5):
            await put(client, sound(speech("hello", WIDE)))
        while (event := await client.next()).type != "error":
            pass
        assert "the audio of 4 items" in event.error.message
        failed = [event for event in client.events if event.type == PART + "failed"]
        while len(failed) < 4:
            failed.append(await client.until(PART + "failed"))
        await put(client, sound(speech("again", WIDE)))
        assert await client.kinds(2) == ADDED
