"""The contract of ``/v1/realtime``: every event of the SDK is handled or refused by name, and whatever a client sends
and whatever becomes of its turns, what it is told is of the SDK's types and each response ends once.
"""

import contextlib
import itertools
import json
import random
import typing

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from openai.types.realtime import RealtimeClientEvent
from pydantic import TypeAdapter

from parley_gateway.dialects.realtime import effects, server
from parley_gateway.dialects.realtime.aloud import Given
from parley_gateway.dialects.realtime.config import Audio, Input, ServerVad, Session
from parley_gateway.dialects.realtime.events import KINDS, event_of, id_of, parsed
from parley_gateway.dialects.realtime.faults import Unfit
from parley_gateway.dialects.realtime.items import FunctionCall
from parley_gateway.dialects.realtime.machine import Machine
from parley_gateway.dialects.realtime.response import Outcome
from parley_gateway.dialects.realtime.socket import refusal
from parley_gateway.dialects.realtime.state import Bounds
from parley_protocol.audio import Heard, Partial, SpeechStarted
from parley_protocol.faults import FaultCode

from .realtime import checked, talk

pytestmark = pytest.mark.unit

_EVENTS = typing.get_args(typing.get_args(RealtimeClientEvent)[0])
SDK = {typing.get_args(each.model_fields["type"].annotation)[0] for each in _EVENTS}
FULL = {
    "session.update": {
        "session": {
            "type": "realtime",
            "audio": {
                "input": {
                    "format": {"type": "audio/pcm", "rate": 24000},
                    "noise_reduction": {"type": "near_field", "strength": 0.5},
                    "transcription": {
                        "model": "whisper-1",
                        "language": "en",
                        "languages": ["en"],
                        "prompt": "words",
                        "keywords": ["fence"],
                        "delay": "low",
                    },
                    "turn_detection": {
                        "type": "server_vad",
                        "threshold": 0.5,
                        "prefix_padding_ms": 300,
                        "silence_duration_ms": 500,
                        "idle_timeout_ms": 6000,
                        "create_response": True,
                        "interrupt_response": True,
                    },
                },
                "output": {"format": {"type": "audio/pcma"}, "voice": {"id": "v"}, "speed": 1.5},
            },
            "include": ["item.input_audio_transcription.logprobs"],
            "instructions": "Be brief.",
            "max_output_tokens": "inf",
            "model": "parley",
            "output_modalities": ["text"],
            "parallel_tool_calls": False,
            "reasoning": {"effort": "low"},
            "tool_choice": {"type": "function", "name": "f"},
            "tools": [{"type": "function", "name": "f", "description": "d", "parameters": {"type": "object"}}],
            "tracing": {"workflow_name": "w", "group_id": "g", "metadata": {"a": 1}},
            "truncation": {"type": "retention_ratio", "retention_ratio": 0.5, "token_limits": {"post_instructions": 9}},
        }
    },
    "conversation.item.create": {
        "previous_item_id": "root",
        "item": {
            "type": "message",
            "id": "mine",
            "object": "realtime.item",
            "status": "completed",
            "role": "user",
            "content": [{"type": "input_text", "text": "x"}],
        },
    },
    "conversation.item.retrieve": {"item_id": "mine"},
    "response.create": {
        "response": {
            "audio": {"output": {"format": {"type": "audio/pcm"}, "voice": "cedar"}},
            "conversation": "auto",
            "input": [{"type": "message", "role": "system", "content": [{"type": "input_text", "text": "x"}]}],
            "instructions": "Be brief.",
            "max_output_tokens": 9,
            "metadata": {"a": "b"},
            "output_modalities": ["text"],
            "parallel_tool_calls": True,
            "reasoning": {"effort": "high"},
            "tool_choice": "auto",
            "tools": [{"type": "function", "name": "f"}],
        }
    },
    "response.cancel": {},
    "input_audio_buffer.append": {"audio": "AAAA" * 4000},
    "input_audio_buffer.commit": {},
    "input_audio_buffer.clear": {},
    "conversation.item.delete": {"item_id": "mine"},
}
"""Every field that the SDK knows, in an order in which each can be taken."""
NOT_HERE = {"conversation.item.truncate", "output_audio_buffer.clear"}
"""Taken where there is audio of a response only."""


def machine(**bounds):
    return Machine(Session(id="s", model="parley", expires_at=1, output_modalities=["text"]), Bounds(**bounds))


def test_every_event_of_the_sdk_is_handled_with_every_field_of_it():
    assert set(KINDS) == SDK == set(FULL) | NOT_HERE
    world = World(machine())
    for kind, fields in FULL.items():
        raw = {"type": kind, "event_id": "e", **fields}
        TypeAdapter(RealtimeClientEvent).validate_python(raw)
        assert world.send(raw), kind


def test_the_time_of_silence_begins_when_an_answer_has_been_played_and_anew_after_a_noise():
    """The answer has 30 s of audio, of which 5 are still to be played when the last of it has been given."""
    vad = ServerVad(idle_timeout_ms=1000)
    session = Session(
        id="s", model="parley", expires_at=1, output_modalities=["audio"], audio=Audio(input=Input(turn_detection=vad))
    )
    one = Machine(session, Bounds(lead_ms=5000))

    def waits(done):
        return [effect.seconds for effect in done if isinstance(effect, effects.Idle)]

    asked = one.take(event_of({"type": "response.create"}))
    (response,) = [effect.response for effect in asked if isinstance(effect, effects.Ask)]
    one.responses.accepted(response)
    response.speaking = True
    one.piece(response, "Long.")
    one.audio(response, "AAAA", Given(0, 0, 30_000, 5))
    assert waits(one.ended(response, Outcome(end="completed"))) == []
    assert waits(one.spoken(response)) == [6.0]
    assert waits(one.attention.hears(SpeechStarted(0, 10))) == [None]
    assert waits(one.attention.hears(Heard(0, "", 0))) == [1.0]
    assert waits(one.attention.hears(SpeechStarted(1, 500))) == [None]
    assert waits(one.attention.hears(Heard(1, "hello", 0))) == []  # it is answered


def test_who_has_switched_turn_detection_off_is_left_to_speak_though_the_time_of_silence_had_begun():
    vad = ServerVad(idle_timeout_ms=1000)
    session = Session(
        id="s", model="parley", expires_at=1, output_modalities=["text"], audio=Audio(input=Input(turn_detection=vad))
    )
    one = Machine(session, Bounds())
    off = {"type": "realtime", "audio": {"input": {"turn_detection": None}}}
    one.take(event_of({"type": "session.update", "session": off}))
    one.take(event_of({"type": "input_audio_buffer.append", "audio": "AAAA" * 4000}))
    assert one.attention.idle() == []
    assert one.take(event_of({"type": "input_audio_buffer.commit"}))  # nothing of it has been taken away


class World:
    """A socket without I/O: carries effects out, checks what is said, lets turns go on as a test chooses."""

    def __init__(self, machine):
        self.machine = machine
        self.asked = []
        self.dictated = []
        """Items whose audio is being heard."""
        self.voices = []
        """Responses that are being spoken."""
        self.open = {}
        """Responses by id: how many items of each are open."""
        self.items = set()
        self.numbers = itertools.count()
        self.carry(machine.greet())

    def send(self, raw):
        """True where it was taken."""
        try:
            self.carry(self.machine.take(event_of(raw)))
        except Unfit as error:
            self.say(refusal(error, id_of(raw)))
            return False
        return True

    def carry(self, done):
        for effect in done:
            match effect:
                case effects.Say(frame):
                    self.say(frame)
                case effects.Ask(response, prompt):
                    assert prompt.question.strip()
                    assert any(each.role == "user" for each in prompt.messages)
                    self.asked.append(response)
                case effects.Dictate(item, _):
                    self.dictated.append(item)
                case effects.Kept(_, characters):
                    assert characters >= 0
                case effects.Hush(response):
                    self.hush(response)
                case effects.Cancel(response):
                    assert response in self.asked
                    self.asked.remove(response)
                    self.carry(self.machine.ended(response, Outcome(end="cancelled")))

    def hush(self, response):
        response.speaking = False
        if response in self.voices:
            self.voices.remove(response)

    def accept(self, response):
        """What the shell does: a spoken response has a voice from then on."""
        self.carry(self.machine.responses.accepted(response))
        if response.spoken and response not in self.voices:
            response.speaking = True
            self.voices.append(response)

    def say(self, frame):
        event = checked(msgspec.json.encode(frame))
        kind = event.type
        if kind == "response.created":
            assert event.response.id not in self.open
            self.open[event.response.id] = set()
        elif kind == "response.done":
            assert not self.open.pop(event.response.id), "a response ends with its items"
            assert event.response.status != "in_progress"
        elif kind == "response.output_item.added":
            self.open[event.response_id].add(event.item.id)
        elif kind == "response.output_item.done":
            self.open[event.response_id].remove(event.item.id)
        elif kind.startswith("response."):
            assert event.item_id in self.open[event.response_id]
        elif kind == "conversation.item.added":
            assert event.item.id not in self.items
            assert event.previous_item_id is None or event.previous_item_id in self.items
            self.items.add(event.item.id)
        elif kind == "conversation.item.deleted":
            self.items.remove(event.item_id)

    def happen(self, what, text):
        """Something becomes of the oldest turn, or is heard."""
        responses = self.machine.responses
        match what:
            case "started":
                self.carry(self.machine.attention.hears(SpeechStarted(0, 10)))
            case "partial":
                self.carry(self.machine.attention.hears(Partial(0, text, len(text) // 2)))
            case "heard" | "marked" | "cut":
                self.carry(self.machine.attention.hears(Heard(0, text, 0, marked=what == "marked", cut=what == "cut")))
            case "deaf":
                self.carry(self.machine.attention.deaf(FaultCode.UNAVAILABLE, "away"))
            case "idle":
                self.carry(self.machine.attention.idle())
            case "dictated" if self.dictated:
                self.carry(self.machine.attention.dictated(self.dictated.pop(0), text, 100))
            case "undictated" if self.dictated:
                self.carry(self.machine.attention.undictated(self.dictated.pop(0), FaultCode.NO_SPEECH, "nothing"))
            case "sound" if self.voices:
                self.carry(self.machine.audio(self.voices[0], "AAAA", Given(0, 0, 100, 3)))
            case "spoken" | "unspoken" if self.voices:
                response = self.voices[0]
                self.hush(response)
                fault = server.ResponseError(type="server_error", code="x") if what == "unspoken" else None
                self.carry(self.machine.spoken(response, fault))
            case _ if not self.asked:
                return
            case "accepted":
                self.accept(self.asked[0])
            case "piece" | "anew":
                self.accept(self.asked[0])
                self.carry(self.machine.piece(self.asked[0], text, anew=what == "anew"))
            case "ended" | "calls" | "cut short":
                call = FunctionCall(id=f"c{next(self.numbers)}", name="f", arguments=text, call_id="same")
                end = "incomplete" if what == "cut short" else "completed"
                calls = (call,) if what == "calls" else ()
                self.carry(self.machine.ended(self.asked.pop(0), Outcome(end=end, calls=calls)))
            case "refused":
                self.carry(responses.refused(self.asked.pop(0), FaultCode.OVERLOADED, "full"))

    def end(self):
        """Let everything end, and see that it has."""
        self.carry(self.machine.attention.deaf(FaultCode.UNAVAILABLE, "away"))
        while self.dictated:
            self.happen("dictated", "x")
        for _ in range(100):
            if self.asked:
                self.happen("ended", "x")
            self.happen("spoken", "")
        assert not self.asked
        assert not self.machine.busy
        assert self.open == {}
        assert self.items == {item.id for item in self.machine.state.conversation.items}


ids = st.sampled_from(["root", "a", "b", "c", "", "x" * 200])
texts = st.text(max_size=6)
scalars = st.none() | st.booleans() | st.integers(-1, 70_000) | st.floats(allow_nan=False) | texts | ids
anything = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
parts = st.fixed_dictionaries(
    {"type": st.sampled_from(["input_text", "output_text", "input_audio", "output_audio", "input_image", "other"])},
    optional={"text": texts | st.none(), "transcript": texts, "audio": texts},
)
messages = st.fixed_dictionaries(
    {"type": st.just("message"), "role": st.sampled_from(["user", "assistant", "system", "tool"])},
    optional={"content": st.lists(parts, max_size=2), "id": ids, "status": anything},
)
calls = st.fixed_dictionaries(
    {"type": st.sampled_from(["function_call", "function_call_output", "item_reference", "mcp_call"])},
    optional={"call_id": ids, "name": texts, "arguments": texts, "output": texts, "id": ids},
)
given_items = messages | calls | anything
responses = st.fixed_dictionaries(
    {},
    optional={
        "conversation": st.sampled_from(["auto", "none", "other"]),
        "instructions": texts,
        "output_modalities": st.sampled_from([["text"], ["audio"], [], ["text", "audio"]]),
        "input": st.lists(given_items, max_size=2),
        "max_output_tokens": st.sampled_from(["inf", 1, 0, None]),
        "metadata": st.dictionaries(texts, texts | st.integers(), max_size=3),
        "tools": anything,
        "tool_choice": anything,
    },
)
vads = st.none() | st.fixed_dictionaries(
    {"type": st.sampled_from(["server_vad", "semantic_vad"])},
    optional={"create_response": st.booleans(), "interrupt_response": st.booleans(), "eagerness": st.just("low")},
)
sessions = st.fixed_dictionaries(
    {"type": st.sampled_from(["realtime", "transcription"])},
    optional={
        "instructions": texts,
        "audio": st.fixed_dictionaries({}, optional={"input": st.fixed_dictionaries({"turn_detection": vads})}),
        "output_modalities": st.sampled_from([["text"], ["audio"]]),
        "tools": anything,
        "max_output_tokens": anything,
    },
)


def event(kind, **fields):
    return st.fixed_dictionaries({"type": st.just(kind)}, optional={"event_id": texts, **fields})


sent = st.one_of(
    event("conversation.item.create", item=given_items, previous_item_id=ids | st.none()),
    event("conversation.item.retrieve", item_id=ids),
    event("conversation.item.delete", item_id=ids),
    event("conversation.item.truncate", item_id=ids, content_index=anything, audio_end_ms=anything),
    event("response.create", response=responses),
    event("response.create"),
    event("response.cancel", response_id=ids | st.none()),
    event("session.update", session=sessions | anything),
    event("input_audio_buffer.append", audio=st.sampled_from(["AAAA", "AAAA" * 2000, "?", ""])),
    event("input_audio_buffer.commit"),
    event("input_audio_buffer.clear"),
    event("output_audio_buffer.clear"),
    st.dictionaries(st.sampled_from(["type", "event_id", "item", "x"]), anything, max_size=3),
)
WHAT = "accepted,piece,piece,anew,ended,calls,cut short,refused,started,partial,heard,marked,cut,deaf,idle,sound,spoken"
happens = st.tuples(st.sampled_from(WHAT.split(",")), texts)


create = st.just({"type": "response.create", "response": {}})
beside = st.just({"type": "response.create", "response": {"conversation": "none"}})
append = st.just({"type": "input_audio_buffer.append", "audio": "AAAA" * 4000})
commit = st.just({"type": "input_audio_buffer.commit"})
update = sessions.filter(lambda session: session["type"] == "realtime").map(
    lambda session: {"type": "session.update", "session": {**session, "tools": [], "max_output_tokens": 9}}
)
aloud = st.just({"type": "session.update", "session": {"type": "realtime", "output_modalities": ["audio"]}})


dictate = event(
    "conversation.item.create",
    item=st.fixed_dictionaries(
        {
            "type": st.just("message"),
            "role": st.just("user"),
            "content": st.just([{"type": "input_audio", "audio": "AAAA"}]),
        },
        optional={"id": ids},
    ),
)


def told(*what):
    return st.tuples(*(st.tuples(st.just(each), st.text(min_size=1, max_size=6)) for each in what)).map(list)


scenes = st.one_of(
    st.tuples(sent).map(list),
    st.tuples(happens).map(list),
    st.tuples(create | beside).map(list),
    st.tuples(append, commit).map(list),
    st.tuples(update).map(list),
    st.tuples(aloud).map(list),
    told("piece", "anew", "piece"),
    told("piece", "calls"),
    told("piece", "ended"),
    told("accepted", "sound", "piece", "ended", "sound", "spoken"),
    told("accepted", "sound", "piece", "ended", "sound", "unspoken"),
    told("started", "partial", "heard"),
    told("marked"),
    st.tuples(dictate, create).map(list),
    told("dictated"),
    told("undictated"),
)
"""Steps that make sense one after another, among others that do not."""


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(scenes, min_size=5, max_size=20))
def test_whatever_comes_the_events_are_in_order_and_each_response_ends_once(steps):
    world = World(machine(items=8, text=200, beside=2))
    for step in (step for scene in steps for step in scene):
        if isinstance(step, dict):
            world.send(step)
        else:
            world.happen(*step)
    world.end()


@settings(max_examples=150, deadline=None)
@given(st.text(max_size=40) | st.binary(max_size=40) | anything.map(lambda thing: msgspec.json.encode(thing).decode()))
def test_whatever_a_frame_holds_it_is_an_event_or_unfit(data):
    with contextlib.suppress(Unfit):
        event_of(parsed(data))


def mangled(chance, thing):
    """Somewhere in it something is missing, doubled, of another type, or far too much."""
    if isinstance(thing, dict) and thing and chance.random() < 0.8:
        key = chance.choice(list(thing))
        match chance.randrange(5):
            case 0:
                return {name: value for name, value in thing.items() if name != key}
            case 1:
                return {**thing, key + "x": thing[key]}
            case _:
                return {**thing, key: mangled(chance, thing[key])}
    if isinstance(thing, list) and thing and chance.random() < 0.8:
        return [mangled(chance, each) for each in thing] * chance.randrange(3)
    return chance.choice([None, True, -1, 10**12, 1.5, "", "x" * 20_000, "\ud800", [], {}, {"type": thing}, [thing]])


@pytest.mark.parametrize("seed", [1, 2])
async def test_whatever_is_sent_is_answered_and_the_socket_stays(house, seed):
    chance = random.Random(seed)
    gateway = await house.gateway()
    async with talk(gateway) as client:
        for number in range(150):
            kind = chance.choice(list(FULL))
            event = mangled(chance, {"type": kind, "event_id": f"e{number}", **FULL[kind]})
            await client.connection.send_raw(json.dumps(event))
        await client.send(type="conversation.item.retrieve", item_id="the end", event_id="last")
        while (event := await client.next()).type != "error" or event.error.event_id != "last":
            assert event.type != "error" or event.error.code != "failed", event  # a defect
