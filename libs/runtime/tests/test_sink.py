"""The event sink against a link whose confirms the test gives out."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from parley_protocol import codec
from parley_protocol.events import Batch, Delta, Marks, Snapshot, Status, Terminal, TurnEvents, TurnStatus
from parley_protocol.ids import TurnKey
from parley_protocol.routes import EVENTS, QueueSpec
from parley_protocol.work import MAX_REPLY_TO
from parley_runtime.errors import OutcomeUnknown, Refused, Unavailable, Unroutable
from parley_runtime.ports import LinkState, Message, OnDelivery, OnState, QueueFactory, Subscription
from parley_runtime.run import Output
from parley_runtime.sink import EventSink, Feed, SinkOptions
from parley_runtime.telemetry import metrics, names

pytestmark = pytest.mark.unit

Answer = Exception | None


class HandLink:
    """Keeps each publish open until the test answers it; with ``open`` set everything is confirmed at once."""

    def __init__(self) -> None:
        self.open = True
        self.sent: list[tuple[str, Batch, asyncio.Future[None]]] = []
        self._arrived = asyncio.Event()

    @property
    def state(self) -> LinkState:
        return LinkState.UP

    def watch(self, on_state: OnState) -> None:
        raise NotImplementedError

    async def publish(
        self, exchange: str, key: str, message: Message, *, timeout_s: float = 5.0, mandatory: bool = True
    ) -> None:
        assert (exchange, mandatory, message.durable) == (EVENTS, True, False)
        batch = codec.unpack_gateway(message.body)
        assert isinstance(batch, Batch)
        answer: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.sent.append((key, batch, answer))
        self._arrived.set()
        if self.open:
            answer.set_result(None)
        await answer

    async def subscribe(
        self,
        queue: QueueFactory,
        on_delivery: OnDelivery,
        *,
        prefetch: int,
        on_ready: Callable[[QueueSpec], Awaitable[None] | None] | None = None,
        replaces: bool = False,
    ) -> Subscription:
        raise NotImplementedError

    async def depth(self, queue: str) -> tuple[int, int] | None:
        raise NotImplementedError

    async def close(self) -> None:
        for _, _, answer in self.sent:
            if not answer.done():
                answer.set_exception(Unavailable("closed"))

    async def batches(self, count: int) -> list[tuple[str, tuple[TurnEvents, ...]]]:
        """The first ``count`` batches as (gateway, turns)."""
        async with asyncio.timeout(30):
            while len(self.sent) < count:
                self._arrived.clear()
                await self._arrived.wait()
        return [(gateway, batch.turns) for gateway, batch, _ in self.sent]

    def answer(self, index: int, error: Exception | None = None) -> None:
        """Settle the publish ``index``."""
        if error is None:
            self.sent[index][2].set_result(None)
        else:
            self.sent[index][2].set_exception(error)


async def ticks(count: int = 3) -> None:
    """Let callbacks and tasks that are ready run; no time passes."""
    for _ in range(count):
        await asyncio.sleep(0)


def key(turn: str) -> TurnKey:
    return TurnKey("default", "s", turn)


def feed(turn: str = "t1", *gateways: str) -> Feed:
    return Feed(key(turn), 1, Output(), gateways or ("g1",))


def slow(**changes: float | int) -> SinkOptions:
    values: dict[str, float | int] = {"flush_s": 1.0}
    return SinkOptions(**(values | changes))  # type: ignore[arg-type]  # numbers of either kind


async def test_what_is_said_in_one_tick_leaves_in_one_message_for_all_turns() -> None:
    link = HandLink()
    sink = EventSink(link, sender="w1", options=slow())
    first, second = feed("t1"), feed("t2")
    first.output.status("generating")
    sink.touch(first, urgent=True)
    first.output.delta("Hi")
    sink.touch(first, urgent=True)
    second.output.delta("Yo")
    sink.touch(second, urgent=True)
    await ticks()
    assert await link.batches(1) == [
        (
            "g1",
            (
                TurnEvents(key("t1"), 1, (Status(0, "generating"), Delta(1, 0, "Hi")), "w1"),
                TurnEvents(key("t2"), 1, (Delta(0, 0, "Yo"),), "w1"),
            ),
        )
    ]


async def test_later_text_waits_for_the_flush_and_merges() -> None:
    link = HandLink()
    sink = EventSink(link, sender="w1", options=slow(flush_s=0.01))
    one = feed()
    for part in ("a", "b", "c"):
        one.output.delta(part)
        sink.touch(one)
    await ticks()
    assert link.sent == []
    assert (await link.batches(1))[0][1][0].events == (Delta(0, 0, "abc"),)


async def test_an_urgent_turn_takes_the_waiting_ones_along() -> None:
    link = HandLink()
    sink = EventSink(link, sender="w1", options=slow())
    waiting, urgent = feed("t1"), feed("t2")
    waiting.output.delta("a")
    sink.touch(waiting)
    urgent.output.status("x")
    sink.touch(urgent, urgent=True)
    await ticks()
    assert [turn.key.turn for turn in (await link.batches(1))[0][1]] == ["t1", "t2"]


async def test_a_full_batch_does_not_wait() -> None:
    link = HandLink()
    sink = EventSink(link, sender="w1", options=slow(batch_turns=3))
    for index in range(3):
        one = feed(f"t{index}")
        one.output.delta("a")
        sink.touch(one)
    await ticks()
    assert len((await link.batches(1))[0][1]) == 3


async def test_each_gateway_gets_its_own_turns() -> None:
    link = HandLink()
    sink = EventSink(link, sender="w1", options=slow())
    both, one = feed("t1", "g1", "g2"), feed("t2", "g2")
    for each in (both, one):
        each.output.delta("a")
        sink.touch(each, urgent=True)
    await ticks()
    sent = dict(await link.batches(2))
    assert {gateway: [turn.key.turn for turn in turns] for gateway, turns in sent.items()} == {
        "g1": ["t1"],
        "g2": ["t1", "t2"],
    }


async def test_a_slow_broker_makes_larger_batches_not_more_of_them() -> None:
    link = HandLink()
    link.open = False
    sink = EventSink(link, sender="w1", options=slow(window=2))
    one = feed()
    for index in range(10):
        one.output.delta(str(index))
        sink.touch(one, urgent=True)
        await ticks()
    assert len(link.sent) == 2
    link.answer(0)
    await ticks(5)
    last = (await link.batches(3))[2][1]
    assert last[0].events == (Delta(2, 2, "23456789"),)
    await sink.aclose(0.0)


async def test_an_attached_gateway_gets_a_snapshot_and_no_item_that_is_in_it() -> None:
    link = HandLink()
    sink = EventSink(link, sender="w1", options=slow())
    one = feed("t1", "g1")
    one.output.delta("Hel")
    sink.touch(one)
    one.follow("g2")
    sink.touch(one, urgent=True)
    one.output.delta("lo")
    await ticks()
    one.output.delta(" you")
    sink.touch(one, urgent=True)
    await ticks()
    sent = await link.batches(4)
    assert [(gateway, turns[0].events) for gateway, turns in sent] == [
        ("g1", (Delta(0, 0, "Hello"),)),
        ("g2", (Snapshot(1, Marks(), "Hello"),)),
        ("g1", (Delta(1, 5, " you"),)),
        ("g2", (Delta(1, 5, " you"),)),
    ]


async def test_the_ninth_gateway_takes_the_place_of_the_first() -> None:
    one = feed("t1", *(f"g{index}" for index in range(MAX_REPLY_TO)))
    one.follow("g9")
    assert len(one.gateways) == MAX_REPLY_TO
    assert "g0" not in one.gateways
    assert "g9" in one.gateways


@pytest.mark.parametrize("error", [Refused("full"), Unavailable("down"), OutcomeUnknown("?")])
async def test_after_a_failed_batch_each_turn_gets_one_snapshot(error: Exception) -> None:
    link = HandLink()
    link.open = False
    sink = EventSink(link, sender="w1", options=slow())
    first, second = feed("t1"), feed("t2")
    for one in (first, second):
        one.output.delta("a")
        sink.touch(one, urgent=True)
    await ticks()
    for one in (first, second):
        one.output.delta("b")
        sink.touch(one, urgent=True)
    await ticks()
    link.open = True
    link.answer(0, error)
    link.answer(1)
    first.output.delta("c")
    sink.touch(first, urgent=True)
    await ticks(5)
    assert len(link.sent) == 2, "a gateway is left alone during its back-off"
    turns = (await link.batches(3))[2][1]
    assert [(turn.key.turn, turn.events) for turn in turns] == [
        ("t1", (Snapshot(3, Marks(), "abc"),)),
        ("t2", (Snapshot(2, Marks(), "ab"),)),
    ]
    second.output.delta("!")
    sink.touch(second, urgent=True)
    await ticks()
    assert (await link.batches(4))[3][1][0].events == (Delta(2, 2, "!"),)


async def test_a_failing_gateway_does_not_hold_up_another() -> None:
    link = HandLink()
    link.open = False
    sink = EventSink(link, sender="w1", options=slow())
    one = feed("t1", "g1", "g2")
    one.output.delta("a")
    sink.touch(one, urgent=True)
    await ticks()
    link.open = True
    link.answer(0, Refused("full"))
    link.answer(1)
    await ticks()
    one.output.delta("b")
    sink.touch(one, urgent=True)
    await ticks()
    gateway, turns = (await link.batches(3))[2]
    assert (gateway, turns[0].events) == ("g2", (Delta(1, 1, "b"),))
    gateway, turns = (await link.batches(4))[3]
    assert (gateway, turns[0].events) == ("g1", (Snapshot(2, Marks(), "ab"),))


async def test_a_returned_batch_removes_the_gateway_from_its_turns() -> None:
    link = HandLink()
    link.open = False
    sink = EventSink(link, sender="w1", options=slow())
    detached: list[str] = []
    alone = Feed(key("t1"), 1, Output(), ["g1"], lambda: detached.append("t1"))
    shared = Feed(key("t2"), 1, Output(), ["g1", "g2"], lambda: detached.append("t2"))
    for one in (alone, shared):
        one.output.delta("a")
        sink.touch(one, urgent=True)
    await ticks()
    returned = metrics.value(names.BATCHES, "returned")
    link.answer(0, Unroutable("gone"))
    link.answer(1)
    await ticks()
    assert (dict(alone.gateways), dict(shared.gateways)) == ({}, {"g2": None})
    assert detached == ["t1"]
    assert metrics.value(names.BATCHES, "returned") == returned + 1


async def test_a_single_event_goes_to_every_gateway_once() -> None:
    link = HandLink()
    sink = EventSink(link, sender="w1", options=slow())
    terminal = Terminal(3, TurnStatus.COMPLETED, "Done.")
    sink.emit(["g1", "g2"], key("t1"), 2, terminal)
    await ticks()
    assert await link.batches(2) == [
        ("g1", (TurnEvents(key("t1"), 2, (terminal,), "w1"),)),
        ("g2", (TurnEvents(key("t1"), 2, (terminal,), "w1"),)),
    ]


async def test_single_events_that_wait_are_bounded_and_the_rest_is_counted() -> None:
    link = HandLink()
    link.open = False
    sink = EventSink(link, sender="w1", options=slow(window=1, waiting=2))
    dropped = metrics.value(names.EVENTS_DROPPED, "waiting")
    for index in range(6):
        sink.emit(["g1"], key(f"t{index}"), 1, Status(0, "x"))
        await ticks()
    assert metrics.value(names.EVENTS_DROPPED, "waiting") == dropped + 3
    link.answer(0)
    await ticks(5)
    assert len((await link.batches(2))[1][1]) == 2
    await sink.aclose(0.0)


async def test_large_snapshots_are_spread_over_batches() -> None:
    link = HandLink()
    sink = EventSink(link, sender="w1", options=slow())
    feeds = [feed(f"t{index}", "g0") for index in range(4)]
    for one in feeds:
        one.output.delta("x" * 200_000)
        one.follow("g1")
        sink.touch(one, urgent=True)
    await ticks()
    sizes = [len(turns) for gateway, turns in await link.batches(3) if gateway == "g1"]
    assert sizes == [2, 2]


async def test_whole_texts_keep_to_the_window_and_hold_up_no_other_turn() -> None:
    link = HandLink()
    link.open = False
    sink = EventSink(link, sender="w1", options=slow(window=2))
    behind = [feed(f"t{index}", "g1") for index in range(5)]
    for one in behind:
        one.output.delta("x" * 300_000)
        one.follow("g1")
        sink.touch(one, urgent=True)
    live = feed("live", "g1")
    live.output.delta("a")
    sink.touch(live, urgent=True)
    await ticks()
    sent = [[turn.key.turn for turn in turns] for _, turns in await link.batches(3)]
    assert sent == [["t0"], ["t1"], ["live"]]
    for index in range(3):
        link.answer(index)
    await ticks(5)
    assert [[turn.key.turn for turn in turns] for _, turns in (await link.batches(5))[3:]] == [["t2"], ["t3"]]
    behind[4].output.delta("y")
    for index in (3, 4):
        link.answer(index)
    await ticks(5)
    ((last,),) = [turns for _, turns in (await link.batches(6))[5:]]
    (snapshot,) = last.events
    assert isinstance(snapshot, Snapshot)
    assert (last.key.turn, snapshot.text) == ("t4", "x" * 300_000 + "y")
    link.answer(5)
    await sink.aclose(0.0)


async def test_large_terminals_are_spread_over_batches() -> None:
    link = HandLink()
    sink = EventSink(link, sender="w1", options=slow())
    for index in range(4):
        sink.emit(["g1"], key(f"t{index}"), 1, Terminal(1, TurnStatus.COMPLETED, "x" * 200_000))
    await ticks()
    assert [len(turns) for _, turns in await link.batches(2)] == [2, 2]


async def test_events_are_counted_when_they_are_sent_and_when_closing_drops_them() -> None:
    link = HandLink()
    sink = EventSink(link, sender="w1", options=slow(window=1))
    sent, dropped = metrics.value(names.BATCH_EVENTS), metrics.value(names.EVENTS_DROPPED, "closed")
    one = feed()
    one.output.status("generating")
    one.output.delta("a")
    sink.touch(one, urgent=True)
    await ticks(5)
    assert metrics.value(names.BATCH_EVENTS) == sent + 2
    link.open = False
    for index in range(3):
        sink.emit(["g1"], key(f"t{index}"), 1, Status(0, "x"))
        await ticks()
    await sink.aclose(0.0)
    assert metrics.value(names.EVENTS_DROPPED, "closed") == dropped + 2


async def test_what_is_said_after_closing_hangs_nothing() -> None:
    sink = EventSink(HandLink(), sender="w1", options=slow())
    await sink.aclose()
    late = feed()
    late.output.delta("a")
    sink.touch(late)
    assert not await sink.drain(1.0)
    await sink.aclose()


async def test_draining_sends_what_waits_and_says_whether_it_was_taken() -> None:
    link = HandLink()
    sink = EventSink(link, sender="w1", options=slow())
    one = feed()
    one.output.delta("a")
    sink.touch(one)
    assert await sink.drain(1.0)
    assert len(link.sent) == 1
    link.open = False
    one.output.delta("b")
    sink.touch(one)
    assert not await sink.drain(0.01)
    await sink.aclose(0.0)
