"""Random interleavings of one turn's life against the session machine: items that overtake, repeat and get lost, runs
that supersede each other, cancels, clients that go and come back. Whatever happens, every client's frames are
contiguous, its text equals the stored one, and ``done`` comes once.
"""

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from parley_gateway.core import effects as fx
from parley_gateway.core import flow
from parley_gateway.core.entry import Phase, Request
from parley_gateway.core.resume import Returning, over, resume
from parley_gateway.core.session import Session
from parley_protocol.client import Accepted, AnswerDelta, Done, ErrorFrame, Restarted
from parley_protocol.control import Begin
from parley_protocol.events import Delta, Marks, Snapshot, Status, Terminal, TurnStatus
from parley_protocol.position import decode_position
from parley_runtime.store.ports import TurnRow

pytestmark = pytest.mark.unit


class Socket:
    """A client's half of the promises."""

    def __init__(self, known=None):
        self.next_seq = known.next_seq if known else 0
        self.text = known.text if known else ""
        self.done = known.done if known else None
        self.position = known.position if known else None
        self.accepted = 0
        self.views = []

    def push(self, frame):
        assert not isinstance(frame, ErrorFrame), frame
        self.accepted += isinstance(frame, Accepted)

    def touch(self, view):
        if view not in self.views:
            self.views.append(view)

    def flush(self):
        while self.views:
            frame = self.views[0].next_frame()
            if frame is None:
                self.views.pop(0)
                continue
            assert self.done is None
            assert frame.seq == self.next_seq
            self.next_seq += 1
            self.position = frame.position
            if isinstance(frame, AnswerDelta):
                assert frame.text
                self.text += frame.text
            elif isinstance(frame, Restarted):
                self.text = ""
            elif isinstance(frame, Done):
                assert frame.text == self.text
                self.done = frame


class Run:
    """A worker's run: marks one text of its own, or continues what was delivered."""

    def __init__(self, fence, prefix):
        self.fence = fence
        self.text = prefix
        self.n = 0

    def item(self, text):
        item = Delta(self.n, len(self.text), text)
        self.text += text
        self.n += 1
        return item

    def snapshot(self):
        return Snapshot(self.n, Marks(status="generating"), self.text)


class OneTurn(RuleBasedStateMachine):
    @initialize()
    def begin(self):
        self.now = 0.0
        self.session = Session("s", "t", "u", max_open=4)
        self.sockets = [Socket()]
        self.session.attach(self.sockets[0])
        self.gone = []
        self.network = []
        self.row = None
        self.forced = []
        self.answered = 0
        self.delivered = 0
        request = Request(turn="a", text="?", kb="k", budget_s=1000.0, digest="d")
        self.do(self.session.start(request, self.sockets[0], self.now))
        self.entry = self.session.entries["a"]
        self.runs = [Run(1, "")]
        self.fence = 1

    def do(self, effects):
        for effect in effects:
            if isinstance(effect, fx.Touch):
                for view in effect.entry.views:
                    view.sink.touch(view)
            elif isinstance(effect, fx.Tell):
                for view in effect.entry.views:
                    view.sink.push(effect.frame)
            elif isinstance(effect, fx.PublishRecord):
                self.forced.append((effect.status, self.entry.turn.text))
            elif isinstance(effect, fx.SendPrefix):
                self.answered = max(self.answered, effect.prefix.fence)
                self.prefix = effect.prefix.text

    def confirm(self):
        self.do(self.session.accept(self.entry, self.now))

    confirmed = rule()(confirm)

    @rule(which=st.sampled_from([-1, -1, -2]), texts=st.lists(st.sampled_from(["a", "b", "cc", "é", ""]), min_size=1))
    def speak(self, which, texts):
        run = self.runs[which % len(self.runs)]
        for text in texts[:4]:
            if text:
                self.network.append((run.fence, run.item(text)))
            else:
                self.network.append((run.fence, Status(run.n, f"stage {run.n}")))
                run.n += 1

    @rule(which=st.integers(0, 5))
    def snapshot(self, which):
        run = self.runs[which % len(self.runs)]
        self.network.append((run.fence, run.snapshot()))

    @rule(continues=st.booleans(), heard=st.booleans(), other=st.sampled_from(["", "a", "zz"]))
    @precondition(lambda self: self.fence < 4 and self.row is None)
    def supersede(self, continues, heard, other):
        self.fence += 1
        prefix = other
        if heard:
            self.prefix = None
            self.do(flow.on_begin(self.entry, Begin(self.entry.turn.key, self.fence, "w"), "g"))
            if continues and self.prefix is not None:
                prefix = self.prefix
        run = Run(self.fence, prefix)
        self.runs.append(run)
        self.network.append((run.fence, run.snapshot()))

    @rule(many=st.integers(1, 6))
    @precondition(lambda self: self.network)
    def deliver_in_order(self, many):
        for _ in range(min(many, len(self.network))):
            self.deliver_one(0, lose=False, keep=False)

    @rule(index=st.integers(0, 9), fate=st.sampled_from(["late", "late", "twice", "lost"]))
    @precondition(lambda self: self.network)
    def deliver_badly(self, index, fate):
        self.deliver_one(index, lose=fate == "lost", keep=fate == "twice")

    def deliver_one(self, index, *, lose, keep):
        self.delivered += 1
        place = index % len(self.network)
        fence, event = self.network[place]
        if not keep:
            del self.network[place]
        if lose:
            return
        before = self.entry.turn.text
        running = self.entry.phase is not Phase.PUBLISHING
        if isinstance(event, Delta) and running and self.entry.turn.extend(fence, event):
            assert fence >= self.answered, "an item below the fence that was answered"
            self.do([fx.Touch(self.entry)])
            return
        _, effects = flow.on_event(self.entry, fence, event, "w", self.now)
        self.do(effects)
        if fence < self.answered and not isinstance(event, Terminal):
            assert self.entry.turn.text == before, "an item below the fence that was answered"

    @rule(which=st.integers(0, 5))
    @precondition(lambda self: self.delivered > 8)
    def record(self, which):
        run = self.runs[which % len(self.runs)]
        if self.row is None and run.fence == self.fence:
            self.store(TurnStatus.COMPLETED, run.text, run.fence, run.n)

    @rule()
    @precondition(lambda self: self.forced)
    def record_by_force(self):
        status, text = self.forced[0]
        if self.row is None:
            self.store(status, text, self.entry.turn.fence, self.entry.turn.n)

    def store(self, status, text, fence, n):
        key = self.entry.turn.key
        self.row = TurnRow(key=key, submission="x", digest="d", base=1, fence=fence, status=status, n=n, text=text)
        self.network.append((fence, Terminal(n, status, text)))

    @rule()
    @precondition(lambda self: self.delivered > 12)
    def cancel(self):
        self.do(self.session.cancel("a", self.now))

    @rule(seconds=st.sampled_from([0.01, 0.06, 0.25, 3.0]))
    def wait(self, seconds):
        self.now += seconds
        if self.entry.due() <= self.now:
            self.do(flow.on_tick(self.entry, self.now))

    @rule()
    def read_row(self):
        row = self.row
        if row is None and self.fence > 1:
            row = TurnRow(
                key=self.entry.turn.key, submission="x", digest="d", base=1, fence=self.fence, status=TurnStatus.OPEN
            )
        self.do(flow.on_row(self.entry, row, self.now))

    @rule(which=st.integers(0, 3), flush=st.booleans())
    @precondition(lambda self: self.sockets)
    def leave(self, which, flush):
        socket = self.sockets.pop(which % len(self.sockets))
        if flush:
            socket.flush()
        self.session.detach(socket, self.now)
        self.gone.append(socket)

    @rule()
    @precondition(lambda self: self.gone)
    def come_back(self):
        former = self.gone.pop()
        socket = Socket(former)
        self.session.attach(socket)
        self.sockets.append(socket)
        rows = {"a": self.row}
        client = Returning(
            position=decode_position(former.position) if former.position else None,
            pending=["a"] if former.done is None else [],
            rows=rows,
            after=[],
            now=self.now,
            window_s=600.0,
            budget_s=100.0,
            over=over(self.session),
        )
        result = resume(self.session, socket, client)
        assert not result.gap
        self.do(result.effects)

    @rule(which=st.integers(0, 3))
    @precondition(lambda self: self.sockets)
    def flush(self, which):
        self.sockets[which % len(self.sockets)].flush()

    @invariant()
    def text_is_a_prefix(self):
        turn = self.entry.turn
        for view in self.entry.views:
            socket = view.sink
            if view.restarts == turn.restarts and view.checked is None:
                assert turn.text.startswith(socket.text)

    @invariant()
    def accepted_once(self):
        assert all(socket.accepted <= 1 for socket in self.sockets)

    def teardown(self):
        if not hasattr(self, "entry"):
            return
        if self.row is None:
            self.store(TurnStatus.EXPIRED, self.entry.turn.text, self.fence, 0)
        while self.gone:
            self.come_back()
        self.do(flow.on_row(self.entry, self.row, self.now))
        for socket in self.sockets:
            socket.flush()
            assert socket.done is not None
            assert socket.done.text == socket.text == self.row.text
        assert self.session.open == []


OneTurn.TestCase.settings = settings(max_examples=120, stateful_step_count=40, deadline=None)
TestOneTurn = OneTurn.TestCase
