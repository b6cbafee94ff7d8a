"""What a forced record says of the text: what was delivered here, or what others tell where that is not known."""

import pytest

from parley_gateway.config import TurnSettings
from parley_gateway.core.entry import Entry
from parley_gateway.core.session import Session
from parley_gateway.publishing import Publishing
from parley_protocol.codec import unpack_job
from parley_protocol.control import Stop
from parley_protocol.events import Marks, Snapshot, TurnStatus
from parley_protocol.work import Record
from parley_runtime.clock import SystemClock

pytestmark = pytest.mark.unit


class Wire:
    """Broker and control plane: keeps what is sent."""

    def __init__(self):
        self.records = []
        self.stops = []

    async def publish(self, exchange, key, message, **_):
        self.records.append(unpack_job(message.body))

    def post(self, key, message):
        self.stops.append(message)


class Others:
    """What other gateways tell. ``meanwhile`` happens while they are asked."""

    def __init__(self, text, meanwhile=lambda: None):
        self.text, self.meanwhile = text, meanwhile
        self.asked = []

    async def __call__(self, key, fence):
        self.asked.append((key, fence))
        self.meanwhile()
        return self.text


def following(text, *, known):
    """A turn that came from another gateway, with ``text`` of it told here so far."""
    session = Session("s", "t", "u", max_open=4)
    entry = session.follow("a", 3, 0.0, 100.0)
    if text is not None:
        entry.turn.take(3, Snapshot(1, Marks(), text), 0.0)
    entry.turn.known = known
    return entry


async def record(entry: Entry, others: Others) -> tuple[list[Record], list[Stop]]:
    wire = Wire()
    publishing = Publishing(
        "gw", TurnSettings(), SystemClock(), wire, wire, lambda effects: None, lambda entry: None, None, others
    )
    entry.session.force(entry, TurnStatus.EXPIRED, 1.0)
    await publishing.record(entry, TurnStatus.EXPIRED)
    return wire.records, wire.stops


async def test_what_was_delivered_here_is_asked_of_nobody():
    entry, others = following("one ", known=True), Others("one two ")
    [sent], _ = await record(entry, others)
    assert (sent.text, sent.forced, others.asked) == ("one ", True, [])


@pytest.mark.parametrize(("told", "kept"), [("one ", "one "), ("", ""), (None, "")])
async def test_what_is_not_known_here_is_asked_of_others(told, kept):
    entry, others = following(None, known=False), Others(told)
    [sent], _ = await record(entry, others)
    assert (sent.text, others.asked) == (kept, [(entry.turn.key, 3)])


@pytest.mark.parametrize(("told", "kept"), [("one two ", "one two "), ("on", "one "), ("", "one "), (None, "one ")])
async def test_of_a_text_that_a_client_has_more_of_the_longest_is_kept(told, kept):
    entry = following("one ", known=False)
    [sent], _ = await record(entry, Others(told))
    assert sent.text == kept


async def test_a_turn_that_ends_while_others_are_asked_needs_no_record():
    entry = following(None, known=False)
    records, stops = await record(entry, Others("one ", lambda: entry.session.finish(entry, 2.0)))
    assert (records, stops) == ([], [Stop(entry.turn.key, 0)])
