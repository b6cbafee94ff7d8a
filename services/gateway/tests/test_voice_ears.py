"""Streams of a whole gateway and scripted workers on the in-memory broker."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from parley_gateway.app import Gateway
from parley_gateway.identity import Identity
from parley_gateway.voice.config import EarSettings
from parley_gateway.voice.ear import Ear
from parley_gateway.voice.events import HearingEvent, Listening
from parley_gateway.voice.lane import Lane
from parley_protocol.audio import Ended, Failed, Heard, Hearing, Mark
from parley_protocol.events import Fault
from parley_protocol.faults import FaultCode, ProtocolError
from parley_protocol.routes import stage_queue
from parley_testkit.hearing import silence, speech
from parley_testkit.listener import ScriptedListener
from parley_testkit.turns import Collector

pytestmark = pytest.mark.unit

ANYBODY = Identity()
ME = Identity("default", "me", known=True)
PUSHED = Hearing()
FREE = Hearing(by_silence=True)
FAST = EarSettings(flush_s=0.005, progress_s=0.3, lease_s=0.3)


class Listener(Collector):
    """Keeps what it is told."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[HearingEvent] = []

    def on_hearing(self, event: HearingEvent) -> None:
        self.told.append(event)
        self.changed()

    @property
    def texts(self) -> list[str]:
        return [event.text for event in self.told if isinstance(event, Heard)]

    async def over(self) -> HearingEvent:
        await self.until(lambda: bool(self.told) and isinstance(self.told[-1], Ended | Failed))
        return self.told[-1]

    async def heard(self, count: int) -> None:
        await self.until(lambda: len(self.texts) >= count)


def open_ear(gateway: Gateway, hearing: Hearing = PUSHED, identity: Identity = ANYBODY) -> tuple[Ear, Listener]:
    told = Listener()
    return gateway.hub.ears.open(identity, "s1", hearing, told), told


@asynccontextmanager
async def workers(house: Any, *names: str, seats: int = 8) -> AsyncIterator[list[ScriptedListener]]:
    opened = [await ScriptedListener.open(house.broker.process(name), name, seats=seats) for name in names]
    try:
        yield opened
    finally:
        for each in opened:
            await each.close()


def holder(listeners: list[ScriptedListener]) -> ScriptedListener:
    """Who listens."""
    return next(each for each in listeners if each.held)


async def test_a_stream_is_heard_from_its_first_byte_to_its_last(house: Any) -> None:
    gateway = await house.gateway(ears=FAST)
    async with workers(house, "asr-1") as [asr]:
        ear, told = open_ear(gateway)
        data = speech("what is a turn")
        for at in range(0, len(data), 641):  # odd pieces
            ear.feed(data[at : at + 641])
        ear.end()
        assert await told.over() == Ended(400)
        assert told.texts == ["what is a turn"]
        assert told.told[0] == Listening("scripted")
        assert not asr.held
        assert gateway.hub.ears.streams == 0


async def test_streams_share_messages_and_are_apart(house: Any) -> None:
    gateway = await house.gateway(ears=EarSettings(flush_s=0.05))
    async with workers(house, "asr-1", seats=50) as [asr]:
        opened = [open_ear(gateway) for _ in range(40)]
        for ear, told in opened:
            await told.until(lambda told=told: bool(told.told))
            ear.feed(speech("one two"))
        before = asr.batches
        await asr.until(lambda: len({part.stream for part in asr.parts if part.data}) == 40)
        assert asr.batches - before <= 2
        for number, (ear, _) in enumerate(opened):
            ear.feed(speech(f"word{number}"))
            ear.end()
        for number, (_, told) in enumerate(opened):
            await told.over()
            assert told.texts == [f"one two word{number}"]


async def test_a_worker_killed_in_mid_sentence_loses_no_word(house: Any) -> None:
    gateway = await house.gateway(ears=FAST)
    async with workers(house, "asr-1", "asr-2") as both:
        ear, told = open_ear(gateway, FREE)
        ear.feed(speech("first of all") + silence(800) + speech("what is"))
        await told.heard(1)
        await told.until(lambda: any(getattr(event, "text", "") == "what is" for event in told.told))
        await holder(both).kill()
        ear.feed(speech("a turn") + silence(800))
        ear.end()
        await told.over()
        assert told.texts == ["first of all", "what is a turn", ""]


async def test_a_worker_that_says_nothing_any_more_is_replaced(house: Any) -> None:
    gateway = await house.gateway(ears=FAST)
    async with workers(house, "asr-1", "asr-2") as both:
        ear, told = open_ear(gateway)
        await told.until(lambda: bool(told.told))
        silent = holder(both)
        silent.silent = True
        ear.feed(speech("still here"))
        ear.end()
        await told.over()
        assert told.texts == ["still here"]
        await silent.until(lambda: not silent.held)  # and was told to let go


async def test_a_lease_that_has_to_move_goes_on_elsewhere(house: Any) -> None:
    gateway = await house.gateway(ears=FAST)
    async with workers(house, "asr-1", "asr-2", seats=1) as both:
        ear, told = open_ear(gateway)
        await told.until(lambda: bool(told.told))
        first = holder(both)
        second = both[1 - both.index(first)]
        ear.feed(speech("going on"))
        await first.until(lambda: bool(first.parts))
        first.move()
        await second.until(lambda: bool(second.held))
        await first.until(lambda: not first.held)
        ear.feed(speech("elsewhere"))
        ear.end()
        await told.over()
        assert told.texts == ["going on elsewhere"]


async def test_audio_that_waits_as_its_lease_moves_goes_to_the_new_worker_alone(house: Any) -> None:
    gateway = await house.gateway(ears=EarSettings(flush_s=0.1))
    async with workers(house, "asr-1", "asr-2", seats=1) as both:
        ear, told = open_ear(gateway)
        await told.until(lambda: bool(told.told))
        first = holder(both)
        second = both[1 - both.index(first)]
        first.move()
        await second.until(lambda: bool(second.held))
        ear.feed(speech("on the way"))  # the gateway has not heard of the second yet
        await first.until(lambda: not first.held)
        ear.end()
        await told.over()
        assert told.texts == ["on the way"]
        assert {part.epoch for part in first.parts} == {1}
        assert [listen.epoch for listen in second.listens] == [2]


async def test_a_broker_that_restarts_in_mid_sentence_costs_only_time(house: Any) -> None:
    gateway = await house.gateway(ears=FAST)
    async with workers(house, "asr-1") as [_]:
        ear, told = open_ear(gateway)
        ear.feed(speech("before it"))
        await told.until(lambda: any(getattr(event, "text", "") == "before it" for event in told.told))
        house.broker.stop()
        ear.feed(speech("while it is away"))
        house.broker.start()
        ear.feed(speech("and after"))
        ear.end()
        await told.over()
        assert told.texts == ["before it while it is away and after"]


async def test_a_gateway_that_loses_its_connection_misses_nothing(house: Any) -> None:
    gateway = await house.gateway(ears=FAST)
    async with workers(house, "asr-1") as [_]:
        ear, told = open_ear(gateway, FREE)
        ear.feed(speech("one") + silence(800))
        await told.heard(1)
        house.broker.cut("gateway-1")
        ear.feed(speech("two") + silence(800) + speech("three") + silence(800))
        ear.end()
        await told.over()
        assert told.texts == ["one", "two", "three", ""]


async def test_without_a_worker_the_stream_is_refused_in_time(house: Any) -> None:
    gateway = await house.gateway(ears=FAST)
    ear, told = open_ear(gateway)
    ear.feed(speech("hello"))
    ended = await told.over()
    assert isinstance(ended, Failed)
    assert (ended.fault.code, ended.fault.retryable) == (FaultCode.OVERLOADED, True)
    with pytest.raises(ProtocolError, match="ended"):
        ear.feed(b"more")
    async with workers(house, "asr-1") as [asr]:  # what was asked for is not held for long
        await asr.until(lambda: len(asr.listens) == 2 and not asr.held)
    assert (await (await house.broker.process("tap").open("tap")).depth(stage_queue("listen"))) == (0, 0)


async def test_a_hundred_streams_on_seats_for_ten(house: Any) -> None:
    gateway = await house.gateway(ears=EarSettings(flush_s=0.005, lease_s=0.5))
    async with workers(house, "asr-1", seats=10) as [asr]:
        opened = [open_ear(gateway) for _ in range(100)]
        await asr.until(lambda: len(asr.held) == 10)
        refused = [told for _, told in opened]
        await asyncio.gather(*(told.until(lambda told=told: bool(told.told)) for told in refused))
        taken = [pair for pair in opened if isinstance(pair[1].told[0], Listening)]
        assert len(taken) == 10
        failed = [told.told[0] for _, told in opened if isinstance(told.told[0], Failed)]
        assert {event.fault.code for event in failed if isinstance(event, Failed)} == {FaultCode.OVERLOADED}
        for ear, _ in taken:
            ear.feed(speech("all is well"))
            ear.end()
        for _, told in taken:
            await told.over()
            assert told.texts == ["all is well"]


async def test_a_worker_that_cannot_hear_it_says_why(house: Any) -> None:
    gateway = await house.gateway(ears=FAST)
    async with workers(house, "asr-1") as [asr]:
        asr.fault = Fault("unsupported", "this engine hears English only")
        _, told = open_ear(gateway)
        assert await told.over() == Failed(asr.fault)


async def test_a_flood_ends_the_stream_and_nothing_else(house: Any) -> None:
    gateway = await house.gateway(ears=EarSettings(flush_s=0.005, ring=65_536))
    async with workers(house, "asr-1", seats=1) as [asr]:
        good, told = open_ear(gateway)
        await asr.until(lambda: bool(asr.held))
        flood, quiet = open_ear(gateway)
        with pytest.raises(ProtocolError) as refused:
            for _ in range(100):
                flood.feed(speech("again"))
        assert refused.value.code is FaultCode.OVERLOADED
        ahead, _ = open_ear(gateway)
        with pytest.raises(ProtocolError) as refused:
            ahead.feed(bytes(32_000 * 61))
        assert refused.value.code is FaultCode.RATE_LIMITED
        good.feed(speech("undisturbed"))
        good.end()
        await told.over()
        assert told.texts == ["undisturbed"]
        assert quiet.told == []
        assert gateway.hub.ears.streams == 0


@pytest.mark.parametrize("encoding", ["pcm_s16le", "pcm_f32le", "pcm_mulaw", "opus"])
@pytest.mark.parametrize("channels", [1, 2])
async def test_the_longest_utterance_has_room_in_whatever_format(house: Any, encoding: str, channels: int) -> None:
    """With five seconds of silence before it, and one that is on its way."""
    settings = EarSettings(flush_s=0.005)
    gateway = await house.gateway(ears=settings)
    async with workers(house, "asr-1") as [asr]:
        ear, told = open_ear(gateway, Hearing(encoding=encoding, rate=48_000, channels=channels))
        await told.until(lambda: bool(told.told))
        longest_s = asr.listens[0].hearing.endpointing.longest_ms / 1000
        assert longest_s >= 15
        assert (5 + longest_s + 1) * ear.meter.bytes_s <= settings.ring
        ear.drop()


@pytest.mark.parametrize(
    ("hearing", "code"),
    [
        (Hearing(encoding="mp3"), FaultCode.UNSUPPORTED),
        (Hearing(rate=4000), FaultCode.INVALID),
        (Hearing(channels=3), FaultCode.INVALID),
        (Hearing(prompt="x" * 3000), FaultCode.INVALID),
    ],
)
async def test_formats_are_checked_at_the_door(house: Any, hearing: Hearing, code: FaultCode) -> None:
    gateway = await house.gateway()
    with pytest.raises(ProtocolError) as refused:
        open_ear(gateway, hearing)
    assert refused.value.code is code


async def test_streams_are_bounded_for_a_user_and_for_the_gateway(house: Any) -> None:
    gateway = await house.gateway(ears=EarSettings(streams=3, identity_streams=2))
    ears = [open_ear(gateway, identity=ME)[0] for _ in range(2)]
    with pytest.raises(ProtocolError) as refused:
        open_ear(gateway, identity=ME)
    assert refused.value.code is FaultCode.RATE_LIMITED
    other = Identity("default", "you", known=True)
    open_ear(gateway, identity=other)
    with pytest.raises(ProtocolError) as refused:
        open_ear(gateway, identity=other)
    assert refused.value.code is FaultCode.OVERLOADED
    ears[0].drop()
    open_ear(gateway, identity=ME)


async def test_a_stream_dropped_frees_its_seat_and_tells_nothing(house: Any) -> None:
    gateway = await house.gateway(ears=FAST)
    async with workers(house, "asr-1") as [asr]:
        ear, told = open_ear(gateway)
        ear.feed(speech("never mind"))
        await told.until(lambda: len(told.told) > 1)
        count = len(told.told)
        ear.drop()
        await asr.until(lambda: not asr.held)
        assert asr.parts[-1].mark is Mark.DROP
        assert len(told.told) == count


async def test_opus_packets_are_told_apart(house: Any) -> None:
    gateway = await house.gateway(ears=FAST)
    async with workers(house, "asr-1") as [asr]:
        ear, _ = open_ear(gateway, Hearing(encoding="opus", rate=48_000))
        ear.feed(b"abc")
        ear.feed(b"de")
        await asr.until(lambda: b"".join(part.data for part in asr.parts) == b"\x00\x03abc\x00\x02de")
        with pytest.raises(ProtocolError, match="packet"):
            ear.feed(b"")


def test_a_lease_is_let_go_of_once_however_often_it_is_asked_for():
    lane = Lane("asr-1")
    for _ in range(1000):
        lane.let_go("a-1", 2)
    lane.let_go("a-1", 3)
    load = lane.take(0.0)
    assert [(part.stream, part.epoch, part.mark) for part in load.parts] == [("a-1", 2, "drop"), ("a-1", 3, "drop")]
    assert load.taken == []
