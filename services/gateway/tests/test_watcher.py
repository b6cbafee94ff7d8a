"""The watcher against a store that answers when a test says: which reads decide what, and who is told of a watch."""

import asyncio

import pytest

from parley_gateway.core import effects as fx
from parley_gateway.core import flow
from parley_gateway.core.entry import Request
from parley_gateway.core.session import Session
from parley_gateway.core.watch import SILENCE_S
from parley_gateway.watcher import Watcher
from parley_protocol.events import Delta, TurnStatus
from parley_runtime.errors import Unavailable
from parley_runtime.store.ports import TurnRow

pytestmark = pytest.mark.unit

LIMIT_S = 30.0


class Socket:
    def push(self, frame): ...

    def touch(self, view): ...


class Clock:
    now = 0.0

    def monotonic(self):
        return self.now


class Store:
    """``rows`` answers when it is told to, in whatever order."""

    def __init__(self):
        self.reads = []
        self.more = asyncio.Event()

    async def rows(self, keys):
        answer = asyncio.get_running_loop().create_future()
        self.reads.append(answer)
        self.more.set()
        return await answer

    async def asked(self, times):
        """The reads so far, once there are so many."""
        async with asyncio.timeout(LIMIT_S):
            while len(self.reads) < times:
                self.more.clear()
                await self.more.wait()
        return self.reads


class Control:
    def __init__(self):
        self.sent = []

    async def broadcast(self, audience, message):
        self.sent.append((audience.value, message.keys))


class House:
    """One turn that runs at a gateway with a watcher. What is published is noted."""

    def __init__(self):
        self.clock, self.store, self.control = Clock(), Store(), Control()
        self.tasks = []
        self.published = []
        self.watcher = Watcher("g1", self.clock, self.store, self.control, self.apply, lambda entry: None, self.spawn)
        self.socket = Socket()
        self.session = Session("s", "t", "u", max_open=4, abandon_s=30.0)
        self.session.attach(self.socket)
        self.apply(
            self.session.start(Request(turn="a", text="?", kb="k", budget_s=1000.0, digest="d"), self.socket, 0.0)
        )
        self.entry = self.session.entries["a"]
        self.apply(self.session.accept(self.entry, 0.0))

    def spawn(self, work):
        self.tasks.append(asyncio.create_task(work))

    def apply(self, effects):
        for effect in effects:
            if isinstance(effect, fx.Watch):
                self.watcher.add(effect)
            elif isinstance(effect, fx.PublishRecord):
                self.published.append(effect.status)

    def tick(self, now):
        self.clock.now = now
        self.apply(flow.on_tick(self.entry, now))

    def leave(self):
        """Nobody listens here any more, and workers have been told."""
        self.session.detach(self.socket, 0.0)
        self.tick(30.0)
        assert self.entry.left

    def row(self, fence):
        return TurnRow(
            key=self.entry.turn.key,
            submission="x",
            digest="d",
            base=1,
            fence=fence,
            status=TurnStatus.OPEN,
        )

    async def settle(self):
        await asyncio.wait_for(asyncio.gather(*self.tasks), LIMIT_S)


@pytest.fixture
async def house():
    return House()


async def test_a_turn_that_flows_on_after_a_pause_is_not_watched(house):
    """Its next item shows that nothing before it is missing."""
    flow.watch_now(house.entry, 10.5, "pause")
    house.apply(flow.on_event(house.entry, 1, Delta(0, 0, "a"), "w", 10.1)[1])
    house.tick(10.5)
    assert house.store.reads == []
    assert house.entry.due() == 10.1 + SILENCE_S
    flow.watch_now(house.entry, 11.5, "pause")
    house.tick(11.5)
    (read,) = await house.store.asked(1)
    read.set_result([house.row(1)])
    await house.settle()
    assert house.control.sent == [("workers", (house.entry.turn.key,))]


@pytest.mark.parametrize("newer", [True, False])
async def test_a_read_issued_before_a_check_does_not_answer_it(house, newer):
    house.leave()
    (stale,) = await house.store.asked(1)
    house.apply(flow.on_detached(house.entry, 1))
    _, fresh = await house.store.asked(2)
    stale.set_result([house.row(1)])
    await asyncio.wait_for(house.tasks[0], LIMIT_S)
    assert house.published == []
    fresh.set_result([house.row(2 if newer else 1)])
    await house.settle()
    assert house.published == ([] if newer else [TurnStatus.EXPIRED])


async def test_a_read_that_failed_before_a_check_does_not_call_it_off(house):
    house.leave()
    (stale,) = await house.store.asked(1)
    house.apply(flow.on_detached(house.entry, 1))
    _, fresh = await house.store.asked(2)
    stale.set_exception(Unavailable("gone for a moment"))
    await asyncio.wait_for(house.tasks[0], LIMIT_S)
    fresh.set_result([house.row(1)])
    await house.settle()
    assert house.published == [TurnStatus.EXPIRED]


async def test_a_check_and_a_watch_of_one_turn_of_the_loop_share_their_read(house):
    house.entry.watch.start(999.0, "gap")
    house.tick(1000.0)
    (read,) = await house.store.asked(1)
    read.set_result([house.row(1)])
    await house.settle()
    assert house.published == [TurnStatus.EXPIRED]
    assert [audience for audience, _ in house.control.sent] == ["workers"], "and its owner is asked too"


async def test_other_gateways_are_told_of_a_turn_taken_over_once_a_watch(house):
    """However long it takes until something is heard of it."""
    house.entry.watch.start(1.0, "resume")
    for number in range(8):
        house.tick(max(1.0, house.entry.watch.due))
        (*_, read) = await house.store.asked(number + 1)
        read.set_result([house.row(1)])
        await house.settle()
    told = [audience for audience, _ in house.control.sent]
    assert told == ["workers", "gateways"] + 7 * ["workers"]


async def test_a_turn_that_runs_here_all_along_is_no_news_to_other_gateways(house):
    house.entry.watch.start(1.0, "gap")
    house.tick(1.0)
    (read,) = await house.store.asked(1)
    read.set_result([house.row(1)])
    await house.settle()
    assert [audience for audience, _ in house.control.sent] == ["workers"]


async def test_what_is_asked_in_one_turn_of_the_loop_is_asked_whoever_comes_first(house):
    for asked in ({"attach": False}, {}, {"taken": True}, {"attach": False}):
        house.watcher.add(fx.Watch(house.entry, "gap", **asked))
    (read,) = await house.store.asked(1)
    read.set_result([house.row(1)])
    await house.settle()
    assert [audience for audience, _ in house.control.sent] == ["workers", "gateways"]
