"""Turns that nobody follows: when this gateway leaves them, and what has to be known before one of them is ended."""

import pytest

from parley_gateway.core import effects as fx
from parley_gateway.core import flow
from parley_gateway.core.entry import Phase, Request
from parley_gateway.core.flow import LEAVE_AGAIN_S
from parley_gateway.core.resume import Returning, resume
from parley_gateway.core.session import Session
from parley_protocol.control import Begin
from parley_protocol.events import Delta, TurnStatus
from parley_runtime.store.ports import TurnRow

pytestmark = pytest.mark.unit

ABANDON_S = 30.0
LEFT_AT = 10.0
"""When the last socket goes."""
DUE = LEFT_AT + ABANDON_S


class Socket:
    def push(self, frame): ...

    def touch(self, view): ...


def request(turn):
    return Request(turn=turn, text="?", kb="k", budget_s=1000.0, digest="d")


def row(fence=1, status=TurnStatus.OPEN):
    key = Session("s", "t", "u", max_open=1).key("a")
    return TurnRow(key=key, submission="x", digest="d", base=1, fence=fence, status=status, text=None)


def running(abandon_s=ABANDON_S):
    """A session whose turn ``a`` runs and ``b`` waits, and whose one socket has gone at LEFT_AT."""
    session, socket = Session("s", "t", "u", max_open=4, abandon_s=abandon_s), Socket()
    session.attach(socket)
    session.start(request("a"), socket, 0.0)
    session.start(request("b"), socket, 0.0)
    entry = session.entries["a"]
    session.accept(entry, 0.1)
    flow.on_event(entry, 1, Delta(0, 0, "so far"), "w", 0.2)
    session.detach(socket, LEFT_AT)
    return session, entry


def left():
    session, entry = running()
    effects = flow.on_tick(entry, DUE)
    assert fx.SendLeave(entry.turn.key) in effects
    return session, entry


def kinds(effects):
    return [type(effect) for effect in effects]


def test_by_default_a_turn_runs_on():
    _, entry = running(abandon_s=0.0)
    assert entry.leave_at == 0.0
    assert fx.SendLeave not in kinds(flow.on_tick(entry, 900.0))


def test_a_turn_is_left_when_its_time_without_a_socket_is_over():
    _, entry = running()
    assert entry.due() <= DUE
    assert fx.SendLeave not in kinds(flow.on_tick(entry, DUE - 0.01))
    assert not entry.left
    assert fx.SendLeave in kinds(flow.on_tick(entry, DUE))
    assert entry.left
    assert entry.forced is None, "silence ends nothing"


def test_leaving_is_repeated():
    _, entry = left()
    assert fx.SendLeave not in kinds(flow.on_tick(entry, DUE + LEAVE_AGAIN_S - 0.1))
    assert fx.SendLeave in kinds(flow.on_tick(entry, DUE + LEAVE_AGAIN_S))


def test_a_turn_that_was_left_is_watched_by_its_row_only():
    _, entry = left()
    watches = [effect for effect in flow.on_tick(entry, DUE + 5.0) if isinstance(effect, fx.Watch)]
    assert watches
    assert not any(watch.attach for watch in watches)


def test_one_socket_of_two_going_away_changes_nothing():
    session, socket, other = Session("s", "t", "u", max_open=4, abandon_s=ABANDON_S), Socket(), Socket()
    session.attach(socket)
    session.attach(other)
    session.start(request("a"), socket, 0.0)
    session.detach(socket, 1.0)
    assert session.entries["a"].leave_at == 0.0


def test_a_turn_that_waits_for_others_is_dropped():
    session, _ = running()
    waiting = session.entries["b"]
    assert waiting.phase is Phase.QUEUED
    effects = flow.on_tick(waiting, DUE)
    assert fx.Ended(waiting, taken=False) in effects
    assert list(session.entries) == ["a"]


def test_detached_leads_to_a_fresh_read_and_then_to_the_end():
    session, entry = left()
    assert flow.on_detached(entry, 1) == [fx.Watch(entry, "abandoned", attach=False)]
    assert entry.forced is None
    effects = flow.on_row(entry, row(), DUE + 5.0)
    assert effects == [fx.PublishRecord(entry, TurnStatus.EXPIRED)]
    assert (entry.abandoned, entry.turn.text) == (True, "so far")
    assert session.open[0] is entry, "the row decides, not this gateway"


def test_a_turn_that_was_never_left_is_not_ended():
    _, entry = running()
    assert flow.on_detached(entry, 1) == []


@pytest.mark.parametrize("returns", ["before", "during", "greeting"])
def test_somebody_who_comes_back_keeps_the_turn(returns):
    session, entry = left()
    socket = Socket()
    if returns == "before":
        come_back(session, socket)
        assert flow.on_detached(entry, 1) == []
        return
    flow.on_detached(entry, 1)
    if returns == "during":
        come_back(session, socket)
    else:
        session.guests += 1
    assert fx.PublishRecord not in kinds(flow.on_row(entry, row(), DUE + 5.0))
    assert entry.forced is None


def asks(rows, now):
    return Returning(None, ["a"], rows, [], now=now, window_s=600.0, budget_s=100.0, over=frozenset())


def come_back(session, socket):
    resume(session, socket, asks({}, DUE + 4.0))
    session.attach(socket)


def test_whoever_comes_back_is_followed_again():
    session, entry = left()
    come_back(session, Socket())
    assert (entry.left, entry.leave_at) == (False, 0.0)
    watches = [effect for effect in flow.on_tick(entry, DUE + 4.0) if isinstance(effect, fx.Watch)]
    assert [(watch.cause, watch.attach) for watch in watches] == [("resume", True)]


@pytest.mark.parametrize("heard", ["begin", "row"])
def test_a_newer_run_is_not_ended_for_the_sake_of_an_older_one(heard):
    _, entry = left()
    if heard == "begin":
        flow.on_begin(entry, Begin(entry.turn.key, 2, "w2"), "g")
        assert flow.on_detached(entry, 1) == []
        return
    flow.on_detached(entry, 1)
    assert flow.on_row(entry, row(fence=2), DUE + 5.0) == []
    assert entry.forced is None


def test_a_read_from_before_the_word_of_the_owner_ends_nothing():
    """It may not know of a run that has begun since, which another gateway follows."""
    _, entry = left()
    flow.on_detached(entry, 1)
    assert flow.on_row(entry, row(), DUE + 5.0, fresh=False) == []
    assert flow.on_row_unread(entry, DUE + 5.0, fresh=False) == []
    assert flow.on_row(entry, row(fence=2), DUE + 5.1) == []
    assert entry.forced is None


def test_the_answer_to_a_hello_ends_nothing():
    """Its rows were read before: the deadline may have come meanwhile."""
    session, entry = running()
    flow.on_tick(entry, 1001.0)
    client = asks({"a": row()}, 1001.1)
    assert fx.PublishRecord not in kinds(resume(session, Socket(), client).effects)
    assert fx.PublishRecord in kinds(flow.on_row(entry, row(), 1001.2))


def test_without_the_row_nothing_is_ended():
    _, entry = left()
    flow.on_detached(entry, 1)
    deadline_at = entry.deadline_at
    assert flow.on_row_unread(entry, DUE + 5.0) == []
    assert (entry.forced, entry.deadline_at) == (None, deadline_at)
    assert kinds(flow.on_detached(entry, 1)) == [fx.Watch], "the next word of the owner counts again"


def test_a_row_that_was_closed_meanwhile_wins():
    _, entry = left()
    flow.on_detached(entry, 1)
    effects = flow.on_row(entry, row(status=TurnStatus.COMPLETED), DUE + 5.0)
    assert fx.PublishRecord not in kinds(effects)
    assert entry.ended


def test_the_deadline_still_ends_a_turn_that_was_left():
    _, entry = left()
    assert fx.Watch in kinds(flow.on_tick(entry, 1001.0))
    assert flow.on_row(entry, row(), 1001.1) == [fx.PublishRecord(entry, TurnStatus.EXPIRED)]
    assert not entry.abandoned
