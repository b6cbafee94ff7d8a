"""The wire is frozen: bytes of one message per kind, read by today's readers and made by today's writers.

A field may be added, with a default and, where a type is an array, at its end. That is made by
``PARLEY_GOLDEN=write uv run pytest libs/protocol`` and reviewed as a diff: ``golden/v1.txt`` gets the new bytes, and
those that were written before go to the end of ``golden/v1-read.txt``, because processes of both ages run side by side
in a rolling upgrade. What a line there means is added by hand, last in ``samples.FORMER``. That file only ever grows:
no line of it is changed or removed while v1 is spoken. New readers read every line of both; that old readers skip what
is new is held by the two tests at the end.
"""

import os
from pathlib import Path
from typing import get_args

import msgspec
import pytest
import samples

from parley_protocol import audio, client, codec, contact, control, events, reviews, work

pytestmark = pytest.mark.unit

GOLDEN = Path(__file__).parent / "golden" / "v1.txt"
FORMER = GOLDEN.with_name("v1-read.txt")
WRITE = os.environ.get("PARLEY_GOLDEN") == "write"  # read here: tests run without the shell's settings
READERS = {
    "job": codec.unpack_job,
    "knowledge": codec.unpack_knowledge,
    "gateway": codec.unpack_gateway,
    "control": codec.unpack_control,
    "review": codec.unpack_review,
    "notice": codec.unpack_notice,
    "listen": codec.unpack_listen,
    "audio": codec.unpack_audio,
    "speak": codec.unpack_speak,
    "client": codec.decode_client,
    "server": codec.decode_server,
}
CASES = [(group, name) for group, members in samples.GROUPS.items() for name in members]


def render() -> str:
    lines = []
    for group, name in CASES:
        message = samples.GROUPS[group][name]
        lines.append(f"{group} {name} msgpack {codec.pack(message).hex()}")
        if group in ("client", "server"):
            lines.append(f"{group} {name} json {codec.encode_json(message)}")
    return "\n".join(lines) + "\n"


def replaced() -> list[str]:
    """Frozen lines that today's writers do not write any more."""
    return [line for line in GOLDEN.read_text(encoding="utf-8").splitlines() if line not in render().splitlines()]


def former() -> list[str]:
    return FORMER.read_text(encoding="utf-8").splitlines()


def frozen() -> dict[tuple[str, str, str], str]:
    rows = (line.split(" ", 3) for line in GOLDEN.read_text(encoding="utf-8").splitlines())
    return {(group, name, form): value for group, name, form, value in rows}


def test_writers_still_write_the_frozen_bytes() -> None:
    if WRITE:
        FORMER.write_text("".join(f"{line}\n" for line in [*former(), *replaced()]), encoding="utf-8")
        GOLDEN.write_text(render(), encoding="utf-8")
    assert render() == GOLDEN.read_text(encoding="utf-8")


@pytest.mark.parametrize(("group", "name"), CASES)
def test_readers_still_read_the_frozen_bytes(group: str, name: str) -> None:
    want = samples.GROUPS[group][name]
    assert READERS[group](bytes.fromhex(frozen()[group, name, "msgpack"])) == want
    if group in ("client", "server"):
        assert READERS[group](frozen()[group, name, "json"]) == want


def test_readers_still_read_what_was_once_written() -> None:
    """To the defaults of the fields that came after it."""
    assert len(former()) == len(samples.FORMER), "samples.FORMER says what each line of v1-read.txt means"
    for line, (group, want) in zip(former(), samples.FORMER, strict=True):
        of, name, form, value = line.split(" ", 3)
        assert of == group, name
        assert READERS[group](bytes.fromhex(value) if form == "msgpack" else value) == want, name
        assert want != samples.GROUPS[group][name], f"{name}: nothing has changed, so the line is no former one"


def test_every_kind_has_a_frozen_sample() -> None:
    unions = {
        "job": work.AnyJob,
        "knowledge": work.KnowledgeCommand,
        "gateway": audio.GatewayMessage,
        "control": control.Control,
        "review": reviews.ReviewJob,
        "notice": contact.ContactNotice,
        "listen": audio.Listen,
        "audio": audio.AudioBatch,
        "speak": audio.Speak,
        "client": client.ClientFrame,
        "server": client.ServerFrame,
    }
    for group, union in unions.items():
        assert {type(message) for message in samples.GROUPS[group].values()} == set(get_args(union) or (union,)), group
    assert {type(item) for item in samples.ITEMS} == set(get_args(events.Event))
    assert {type(item) for item in samples.STREAM_EVENTS} == set(get_args(audio.StreamEvent))


@pytest.mark.parametrize(("group", "name"), [case for case in CASES if case[0] in ("client", "server")])
def test_unknown_fields_are_ignored(group: str, name: str) -> None:
    want = samples.GROUPS[group][name]
    raw = msgspec.json.decode(codec.encode_json(want))
    raw["from_a_newer_peer"] = {"deep": [1, 2]}
    assert READERS[group](msgspec.json.encode(raw).decode()) == want


def test_array_like_types_may_grow_at_the_end() -> None:
    raw = msgspec.msgpack.decode(codec.pack(samples.CONTROL["stop"]))
    assert codec.unpack_control(msgspec.msgpack.encode([*raw, "newer"])) == samples.CONTROL["stop"]
