"""``/v1/realtime`` by the official client, over real sockets and a broker: sessions, items, responses in text."""

import asyncio
import time

import jwt
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosedOK

from parley_gateway.config import AccessSettings
from parley_gateway.dialects.realtime.config import Session
from parley_gateway.dialects.realtime.conversation import Conversation
from parley_gateway.dialects.realtime.events import event_of
from parley_gateway.dialects.realtime.faults import Unfit
from parley_gateway.dialects.realtime.items import Message, Part
from parley_gateway.dialects.realtime.machine import Machine
from parley_gateway.dialects.realtime.plans import plan_of
from parley_gateway.dialects.realtime.response import Outcome, Responding
from parley_gateway.dialects.realtime.state import Bounds
from parley_gateway.dialects.settings import RealtimeSettings
from parley_gateway.dialects.socket import DialectSocket
from parley_protocol.events import Delta, Fault, Marks, Snapshot, Source, Status, Terminal, TurnStatus

from .conftest import counted
from .realtime import checked, talk

pytestmark = pytest.mark.unit


async def test_a_question_is_answered_event_by_event(house):
    gateway = await house.gateway()
    async with talk(gateway, greet=False) as client:
        created = await client.next()
        assert created.type == "session.created"
        assert (created.session.type, created.session.model) == ("realtime", "parley")
        item = await client.say("what is a fence?")
        assert [event.type for event in client.events[1:]] == ["conversation.item.added", "conversation.item.done"]
        await client.respond(metadata={"topic": "fences"})
        job = await house.worker.jobs.get()
        assert (job.question, job.kb) == ("what is a fence?", "default")
        assert await client.kinds(2) == ["response.created", "rate_limits.updated"]
        await house.worker.emit(job, Status(0, "generating"), Delta(1, 0, "A "))
        assert await client.kinds(4) == [
            "response.output_item.added",
            "conversation.item.added",
            "response.content_part.added",
            "response.output_text.delta",
        ]
        assert client.events[-3].previous_item_id == item.id
        await house.worker.emit(job, Delta(2, 2, "number."))
        assert (await client.next()).delta == "number."
        await house.worker.finish(job, "A number.", 3)
        assert await client.kinds(5) == [
            "response.output_text.done",
            "response.content_part.done",
            "conversation.item.done",
            "response.output_item.done",
            "response.done",
        ]
        response = client.events[-1].response
        assert response.status == "completed"
        assert response.metadata == {"topic": "fences"}
        assert response.output[0].content[0].text == "A number."
        assert response.usage.total_tokens == response.usage.input_tokens + response.usage.output_tokens


async def begun(client, house, text="why?", *words, **response):
    """A response under way that has said ``words``."""
    await client.say(text)
    await client.respond(**response)
    job = await house.worker.jobs.get()
    await client.until("rate_limits.updated")
    at, n = 0, 1
    await house.worker.emit(job, Status(0, "generating"))
    for word in words:
        await house.worker.emit(job, Delta(n, at, word))
        at, n = at + len(word), n + 1
        await client.until("response.output_text.delta")
    return job


async def test_what_was_said_is_the_conversation_of_the_next_response(house):
    gateway = await house.gateway()
    async with talk(gateway) as client:
        await client.send(type="session.update", session={"type": "realtime", "instructions": "Be brief."})
        await client.until("session.updated")
        job = await begun(client, house, "what is a fence?")
        assert [(each.role, each.content) for each in job.messages] == [
            ("system", "Be brief."),
            ("user", "what is a fence?"),
        ]
        await house.worker.finish(job, "A number.", 1)
        await client.until("response.done")
        job = await begun(client, house, "and a base?", instructions="Be long.", max_output_tokens=7)
        assert [(each.role, each.content) for each in job.messages] == [
            ("system", "Be long."),
            ("user", "what is a fence?"),
            ("assistant", "A number."),
            ("user", "and a base?"),
        ]
        assert job.sampling.max_tokens == 7
        await house.worker.finish(job, "", 1)
        done = await client.until("response.done")
        assert (done.response.status, done.response.output, done.response.max_output_tokens) == ("completed", [], 7)


async def test_a_cancel_keeps_what_was_said_and_the_next_response_may_begin(house):
    gateway = await house.gateway()
    async with talk(gateway) as client:
        job = await begun(client, house, "why?", "Because ")
        await client.send(type="response.cancel")
        await house.worker.records.get()
        done = await client.until("response.done")
        assert (done.response.status, done.response.status_details.reason) == ("cancelled", "client_cancelled")
        assert counted("parley_realtime_responses_total", reason="client_cancelled", status="cancelled") >= 1
        assert counted("parley_frames_in_total", dialect="realtime", kind="response.cancel") >= 1
        assert done.response.output[0].status == "incomplete"
        assert done.response.output[0].content[0].text == "Because "
        (row,) = await house.store.rows([job.key])
        assert row.text == "Because "
        await client.send(type="response.cancel", event_id="mine")
        error = await client.error()
        assert (error.code, error.event_id) == ("response_cancel_not_active", "mine")
        assert (await begun(client, house, "go on")).messages[1].content == "Because "


async def test_one_response_at_a_time_writes_to_the_conversation_and_others_run_beside_it(house):
    gateway = await house.gateway()
    async with talk(gateway) as client:
        job = await begun(client, house, "one", "1")
        active = client.events[-1].response_id
        await client.respond()
        error = await client.error()
        assert error.code == "conversation_already_has_active_response"
        assert active in error.message
        spoken = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "two"}]}
        await client.respond(conversation="none", input=[spoken], metadata={"n": "2"})
        beside = await house.worker.jobs.get()
        assert [each.content for each in beside.messages] == ["two"]
        await house.worker.answer(beside, "2")
        done = await client.until("response.done")
        assert (done.response.conversation_id, done.response.metadata) == (None, {"n": "2"})
        assert not any(
            event.type.startswith("conversation.item") and event.item.id == done.response.output[0].id
            for event in client.events
        )
        await house.worker.finish(job, "1", 2)
        assert (await client.until("response.done")).response.id == active


async def test_an_answer_that_starts_anew_is_told_as_another_item(house):
    gateway = await house.gateway()
    async with talk(gateway) as client:
        job = await begun(client, house, "why?", "Old text")
        left = client.events[-1].item_id
        await house.worker.emit(job, Snapshot(4, Marks("generating"), "New"), fence=2)
        closed = await client.until("response.output_item.done")
        assert (closed.item.id, closed.item.status) == (left, "incomplete")
        assert (await client.until("conversation.item.deleted")).item_id == left
        await client.until("response.output_text.delta")
        assert (client.events[-1].delta, client.events[-1].output_index) == ("New", 1)
        await house.worker.emit(job, Delta(4, 3, " text"), Terminal(5, TurnStatus.COMPLETED, "New text"), fence=2)
        done = await client.until("response.done")
        assert [each.content[0].text for each in done.response.output] == ["New text"]
        await client.send(type="conversation.item.retrieve", item_id=left)
        assert (await client.error()).code == "item_not_found"


async def test_a_failed_turn_is_a_failed_response(house):
    gateway = await house.gateway()
    async with talk(gateway) as client:
        job = await begun(client, house, "why?", "Be")
        fault = Fault("engine_failed", "the engine is away; try again")
        await house.worker.emit(job, Terminal(2, TurnStatus.FAILED, "Be", fault=fault))
        done = await client.until("response.done")
        assert done.response.status == "failed"
        error = done.response.status_details.error
        assert (error.type, error.code, error.message) == ("server_error", "engine_failed", fault.message)


async def test_what_is_not_taken_is_an_error_and_no_response(house):
    gateway = await house.gateway(realtime=RealtimeSettings(kb="x" * 65))
    async with talk(gateway) as client:
        await client.say("why?")
        await client.send(type="response.create", event_id="mine")
        error = await client.error()
        assert (error.code, error.event_id) == ("invalid", "mine")
        assert "kb" in error.message


async def test_sources_are_cited_in_the_metadata(house):
    gateway = await house.gateway()
    async with talk(gateway) as client:
        job = await begun(client, house, "why?", "So [1].", metadata={"mine": "1"})
        source = Source(id="p", document="guide.md", title="Guide › Start", score=1.0, text="So.", start=0, end=3)
        await house.worker.emit(job, Terminal(2, TurnStatus.COMPLETED, "So [1].", sources=(source,)))
        done = await client.until("response.done")
        assert done.response.metadata == {"mine": "1", "source_1": "guide.md › Guide › Start"}


async def test_items_are_placed_retrieved_and_deleted(house):
    gateway = await house.gateway()
    async with talk(gateway) as client:
        one = await client.say("one")
        two = await client.say("two", previous_item_id="root")
        three = await client.say("three", previous_item_id=two.id)
        added = [event for event in client.events if event.type == "conversation.item.added"]
        assert [event.previous_item_id for event in added] == [None, None, two.id]
        await client.send(type="conversation.item.retrieve", item_id=three.id)
        assert (await client.until("conversation.item.retrieved")).item == three
        await client.send(type="conversation.item.delete", item_id=one.id)
        assert (await client.until("conversation.item.deleted")).item_id == one.id
        await client.respond()
        job = await house.worker.jobs.get()
        assert [each.content for each in job.messages] == ["two", "three"]


async def test_nobody_has_asked_and_the_instructions_are_the_question(house):
    gateway = await house.gateway()
    async with talk(gateway) as client:
        await client.respond(instructions="Greet the user.")
        assert (await house.worker.jobs.get()).question == "Greet the user."


UNFIT = [
    ({"type": "no.such"}, "invalid_value", "type"),
    ({}, "missing_required_parameter", "type"),
    ({"type": "session.update"}, "missing_required_parameter", "session"),
    ({"type": "session.update", "session": {"type": "realtime", "model": "other"}}, "invalid_value", "session.model"),
    ({"type": "session.update", "session": {"type": "realtime", "voice": "x"}}, "unknown_parameter", "session.voice"),
    (
        {"type": "session.update", "session": {"type": "realtime", "audio": {"output": {"speed": 9}}}},
        "invalid_type",
        "session.audio.output.speed",
    ),
    (
        {"type": "session.update", "session": {"type": "realtime", "output_modalities": ["text", "audio"]}},
        "invalid_type",
        "session.output_modalities",
    ),
    (
        {"type": "session.update", "session": {"type": "realtime", "tools": [{"type": "mcp", "server_label": "x"}]}},
        "unsupported_parameter",
        "session.tools[0].type",
    ),
    (
        {"type": "session.update", "session": {"type": "realtime", "tool_choice": {"type": "function", "name": "f"}}},
        "invalid_value",
        "session.tool_choice.name",
    ),
    ({"type": "session.update", "session": {"type": "transcription"}}, "invalid_value", "session.type"),
    ({"type": "conversation.item.create", "item": {"type": "mcp_call"}}, "unsupported_value", "item.type"),
    (
        {
            "type": "conversation.item.create",
            "item": {"type": "message", "role": "user", "content": [{"type": "input_text", "text": 1}]},
        },
        "invalid_type",
        "item.content[0].text",
    ),
    (
        {
            "type": "conversation.item.create",
            "item": {"type": "message", "role": "user", "content": [{"type": "output_text", "text": "x"}]},
        },
        "invalid_value",
        "item.content[0].type",
    ),
    (
        {"type": "conversation.item.create", "item": {"type": "function_call_output", "call_id": "c", "output": "1"}},
        "invalid_tool_call_id",
        "item.call_id",
    ),
    (
        {
            "type": "conversation.item.create",
            "previous_item_id": "nowhere",
            "item": {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "x"}]},
        },
        "item_not_found",
        "previous_item_id",
    ),
    ({"type": "conversation.item.delete", "item_id": "nowhere"}, "item_not_found", "item_id"),
    (
        {"type": "conversation.item.truncate", "item_id": "nowhere", "content_index": 0, "audio_end_ms": 0},
        "item_not_found",
        "item_id",
    ),
    ({"type": "response.create", "response": {"temperature": 1}}, "unknown_parameter", "response.temperature"),
    ({"type": "response.create", "response": {"max_output_tokens": 0}}, "invalid_type", "response.max_output_tokens"),
    ({"type": "response.cancel", "response_id": "nowhere"}, "response_cancel_not_active", "response_id"),
]


@pytest.mark.parametrize(("event", "code", "param"), UNFIT)
def test_a_bad_event_is_named_and_changes_nothing(event, code, param):
    machine = Machine(Session(id="s", model="parley", expires_at=1, output_modalities=["text"]), Bounds())
    before = machine.state.session
    with pytest.raises(Unfit) as caught:
        machine.take(event_of(event))
    assert (caught.value.word, caught.value.param) == (code, param)
    assert machine.state.session == before
    assert not machine.responses.busy
    assert not machine.state.conversation.items


BROKEN = ("", "{", "[]", "null", '"x"', "{" * 5000, '{"type": {"a": 1}}', '{"a": NaN}')


async def test_bad_events_are_answered_in_order_and_the_socket_stays(house):
    gateway = await house.gateway()
    async with talk(gateway) as client:
        for raw in BROKEN:
            await client.connection.send_raw(raw)
            assert (await client.error()).type == "invalid_request_error"
        await client.connection.send_raw(b"\x00\x01")
        assert "base64" in (await client.error()).message
        for index, (event, code, param) in enumerate(UNFIT):
            await client.send(**event, event_id=f"e{index}")
            error = await client.error()
            assert (error.code, error.param, error.event_id) == (code, param, f"e{index}")
        await client.say("still here")


async def test_the_whole_session_is_told_and_partial_updates_leave_the_rest(house):
    gateway = await house.gateway()
    tool = {"type": "function", "name": "look_up", "description": "Looks up.", "parameters": {"type": "object"}}
    async with talk(gateway, model="gpt-realtime") as client:
        first = client.events[0].session
        await client.send(
            type="session.update",
            session={
                "type": "realtime",
                "instructions": "Be brief.",
                "tools": [tool],
                "tool_choice": {"type": "function", "name": "look_up"},
                "max_output_tokens": 100,
                "audio": {
                    "input": {"turn_detection": None, "transcription": {"model": "whisper-1", "language": "en"}},
                    "output": {"voice": "cedar", "format": {"type": "audio/pcmu"}},
                },
            },
        )
        after = (await client.until("session.updated")).session
        assert (after.model, after.instructions, after.max_output_tokens) == ("gpt-realtime", "Be brief.", 100)
        assert after.tools[0].name == "look_up"
        assert after.tool_choice.name == "look_up"
        assert after.audio.input.turn_detection is None
        assert after.audio.input.format == first.audio.input.format
        assert (after.audio.output.voice, after.audio.output.format.type) == ("cedar", "audio/pcmu")
        assert after.audio.output.speed == first.audio.output.speed == 1.0
        await client.send(type="session.update", session={"type": "realtime", "tools": [], "tool_choice": "auto"})
        last = (await client.until("session.updated")).session
        assert (last.tools, last.instructions) == ([], "Be brief.")


async def test_a_session_has_an_end(house):
    gateway = await house.gateway(realtime=RealtimeSettings(session_s=1.0))
    async with talk(gateway) as client:
        error = await client.error()
        assert error.code == "session_expired"
        with pytest.raises(ConnectionClosedOK):
            await client.next()


async def test_tokens_come_in_the_header_or_as_openais_subprotocol(house):
    secret = "s" * 32
    gateway = await house.gateway(access=AccessSettings(auth_secret=secret))
    token = jwt.encode({"sub": "me", "exp": time.time() + 60}, secret, "HS256")
    async with talk(gateway, key=token) as client:
        await client.say("let in")
    url = f"ws://127.0.0.1:{gateway.port}/v1/realtime?model=parley"
    names = ["realtime", f"openai-insecure-api-key.{token}"]
    async with connect(url, subprotocols=names) as socket:
        assert socket.subprotocol == "realtime"
        assert checked(await socket.recv(decode=False)).type == "session.created"
    async with connect(url, subprotocols=["realtime"]) as socket:
        event = checked(await socket.recv(decode=False))
        assert (event.error.type, event.error.code) == ("authentication_error", "unauthorized")
        await socket.wait_closed()
        assert socket.close_code == 1008


async def test_a_huge_answer_comes_in_several_messages_and_no_event_is_too_large(house):
    text = "长" * 200_000
    gateway = await house.gateway()
    async with talk(gateway) as client:
        await client.say("why?")
        await client.respond()
        job = await house.worker.jobs.get()
        await house.worker.answer(job, *(text[at : at + 50_000] for at in range(0, len(text), 50_000)))
        response = (await client.until("response.done")).response
        done = [event.item for event in client.events if event.type == "response.output_item.done"]
        assert "".join(item.content[0].text for item in done) == text
        assert [item.id for item in done] == [item.id for item in response.output]
        assert all(item.content == [] for item in response.output)
        assert max(client.sizes) < 900 * 1024


async def test_an_event_without_audio_has_its_own_bound(house):
    gateway = await house.gateway()
    async with talk(gateway) as client:
        await client.send(
            type="session.update", event_id="mine", session={"type": "realtime", "tracing": {"a": "x" * 300_000}}
        )
        error = await client.error()
        assert (error.code, error.event_id) == ("too_large", "mine")
        tool = {"type": "function", "name": "f", "description": "x" * 70_000}
        await client.send(type="session.update", session={"type": "realtime", "tools": [tool]})
        assert (await client.error()).param == "session.tools"


async def test_a_cancel_of_what_has_ended_and_waits_for_its_client_to_read_is_no_defect(house, monkeypatch):
    free, held, room = asyncio.Event(), asyncio.Event(), DialectSocket.room
    free.set()

    async def slow(socket):
        if not free.is_set():
            held.set()
        await free.wait()
        await room(socket)

    monkeypatch.setattr(DialectSocket, "room", slow)
    gateway = await house.gateway()
    async with talk(gateway) as client:
        job = await begun(client, house, "why?", "Because.")
        free.clear()
        await house.worker.finish(job, "Because.", 2)
        await held.wait()
        await client.send(type="response.cancel")
        await client.say("I see.")  # the cancel has been taken
        free.set()
        assert (await client.until("response.done")).response.output[0].content[0].text == "Because."
    assert not [event for event in client.events if event.type == "error"]


async def test_what_has_not_begun_can_be_cancelled(house):
    gateway = await house.gateway()
    async with talk(gateway) as client:
        await client.say("why?")
        await client.respond()
        await client.send(type="response.cancel")
        response = (await client.until("response.done")).response
        assert (response.status, response.output) == ("cancelled", [])


def test_an_answer_of_several_messages_that_starts_anew_leaves_none_of_them():
    conversation = Conversation(10, 1_000_000)
    plan = plan_of(Session(id="s", model="m", expires_at=1, output_modalities=["text"]), None, conversation)
    response = Responding(plan, conversation)
    for _ in range(3):
        response.piece("x" * 20_000)
    assert len(conversation.items) == 3
    frames = response.piece("anew", anew=True)
    assert [frame.kind for frame in frames].count("conversation.item.deleted") == 3
    assert [item.text for item in response.output] == []
    response.ended(Outcome(end="completed"))
    assert [item.text for item in conversation.items] == ["anew"]


def test_the_oldest_items_give_way():
    conversation = Conversation(3, 1000)
    for index in range(5):
        frames = conversation.add(message(f"i{index}"))
    assert [each.id for each in conversation.items] == ["i2", "i3", "i4"]
    assert [frame.kind for frame in frames] == ["conversation.item.added", "conversation.item.deleted"]
    conversation.add(message("long", "x" * 999))
    assert [each.id for each in conversation.items] == ["i4", "long"]


def message(id, text="x"):
    return Message(id=id, role="user", content=[Part(type="input_text", text=text)])
