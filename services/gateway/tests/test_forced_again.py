"""A forced record that was confirmed and then lost with its queue: while the row stays open it is published again."""

import pytest

from parley_gateway.core import effects as fx
from parley_gateway.core import flow
from parley_gateway.core.entry import Request
from parley_gateway.core.session import Session
from parley_protocol.events import TurnStatus
from parley_runtime.store.ports import TurnRow

pytestmark = pytest.mark.unit

CONFIRMED_AT = 10.0


class Socket:
    def push(self, frame): ...

    def touch(self, view): ...


def row(status=TurnStatus.OPEN):
    key = Session("s", "t", "u", max_open=1).key("a")
    return TurnRow(key=key, submission="x", digest="d", base=1, fence=1, status=status, text="")


def cancelled(confirmed_at=CONFIRMED_AT):
    session, socket = Session("s", "t", "u", max_open=4), Socket()
    session.attach(socket)
    session.start(Request(turn="a", text="?", kb="k", budget_s=1000.0, digest="d"), socket, 0.0)
    entry = session.entries["a"]
    session.accept(entry, 0.1)
    assert session.cancel("a", 9.0) == [fx.PublishRecord(entry, TurnStatus.CANCELLED)]
    if confirmed_at:
        entry.record_confirmed(confirmed_at)
    return entry


def published(effects):
    return [effect.status for effect in effects if isinstance(effect, fx.PublishRecord)]


@pytest.mark.parametrize("known", [row(), None])
@pytest.mark.parametrize(("after_s", "again"), [(0.0, False), (4.9, False), (5.0, True)])
def test_while_its_row_is_open_or_missing_it_is_published_again(known, after_s, again):
    effects = flow.on_row(cancelled(), known, CONFIRMED_AT + after_s)
    assert published(effects) == ([TurnStatus.CANCELLED] if again else [])


def test_not_while_one_is_on_the_way():
    assert published(flow.on_row(cancelled(confirmed_at=0.0), row(), 1000.0)) == []
    entry = cancelled()
    assert published(flow.on_row(entry, row(), 20.0)) == [TurnStatus.CANCELLED]
    assert published(flow.on_row(entry, row(), 1000.0)) == []


def test_not_once_the_row_is_closed():
    entry = cancelled()
    assert published(flow.on_row(entry, row(TurnStatus.CANCELLED), 1000.0)) == []
    assert entry.ended


def test_a_turn_that_nobody_forced_is_left_alone():
    entry = cancelled()
    entry.forced = None
    assert published(flow.on_row(entry, row(), 1000.0)) == []


def test_each_time_it_is_given_longer_up_to_a_minute():
    entry, now, waits = cancelled(), CONFIRMED_AT, []
    for _ in range(7):
        started = now
        while not published(flow.on_row(entry, row(), now)):
            now += 1.0
        waits.append(now - started)
        entry.record_confirmed(now)
    assert waits == [5.0, 10.0, 20.0, 40.0, 60.0, 60.0, 60.0]
