"""The lease of one stream: losses, repetitions, late words of former workers, kills; no word lost, none told twice."""

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parley_gateway.voice.config import EarSettings
from parley_gateway.voice.lease import Lease
from parley_gateway.voice.leasing import Ask, Boundary, Effect, LetGo, Over, Tell, Timing
from parley_gateway.voice.meter import Meter
from parley_gateway.voice.ring import Ring, RingFull
from parley_gateway.voice.stream import Stream
from parley_protocol.audio import (
    AudioPart,
    Ended,
    Failed,
    Heard,
    Hearing,
    Leased,
    Mark,
    Moving,
    Partial,
    Progress,
    SpeechStarted,
    SpeechStopped,
    StreamEvent,
)
from parley_protocol.events import Fault
from parley_protocol.faults import FaultCode, ProtocolError
from parley_testkit.hearing import Recogniser, listen, silence, speech

pytestmark = pytest.mark.unit
TIMING = Timing()
HEARING = Hearing(rate=8000, encoding="pcm_mulaw", by_silence=True)
PUSHED = Hearing(rate=8000, encoding="pcm_mulaw")


class TestRing:
    def test_keeps_what_comes_after_a_boundary(self) -> None:
        ring = Ring(10)
        ring.append(b"abcdef")
        ring.trim(4, 0)
        ring.append(b"ghijkl")
        assert (ring.start, ring.end, ring.read(4, 12), ring.read(5, 7)) == (4, 12, b"efghijkl", b"fg")

    def test_refuses_what_is_too_much_and_keeps_the_rest(self) -> None:
        ring = Ring(4)
        ring.append(b"abcd")
        with pytest.raises(RingFull):
            ring.append(b"e")
        assert ring.read(0, 4) == b"abcd"

    def test_marks_are_numbered_and_forgotten_by_number(self) -> None:
        ring = Ring(10)
        ring.mark(Mark.COMMIT)
        ring.append(b"ab")
        ring.mark(Mark.CLEAR)
        ring.trim(0, 1)
        found = ring.marked(1)
        assert found is not None
        assert (found.at, found.mark, ring.marked(2), ring.next) == (2, Mark.CLEAR, None, 2)


def leased() -> Lease:
    """A lease that worker ``w1`` has, with 400 bytes said."""
    lease = Lease(Stream("a-1", 100_000), TIMING)
    assert lease.ask(0.0) == [Ask(1, Boundary())]
    lease.stream.ring.append(b"x" * 400)
    assert lease.on_events(1, "w1", (Leased("e"),), 0.1) == [Tell(Leased("e"))]
    return lease


def take(lease: Lease, limit: int, now: float) -> list[AudioPart]:
    """What goes to whoever has it."""
    assert lease.run is not None
    return lease.run.sending.take(limit, now)


def asks(effects: list[Effect]) -> list[tuple[int, str]]:
    return [(effect.epoch, effect.cause) for effect in effects if isinstance(effect, Ask)]


class TestLease:
    def test_sends_everything_once_and_in_order(self) -> None:
        lease = leased()
        assert take(lease, 1000, 0.2) == [AudioPart("a-1", 1, 0, b"x" * 400)]
        lease.stream.ring.append(b"y" * 10)
        lease.stream.say(Mark.COMMIT)
        lease.stream.ring.append(b"z")
        lease.stream.say(Mark.END)
        assert take(lease, 1000, 0.3) == [
            AudioPart("a-1", 1, 400, b"y" * 10, Mark.COMMIT),
            AudioPart("a-1", 1, 410, b"z", Mark.END),
        ]
        assert lease.run is not None
        assert not lease.run.sending.waiting

    def test_three_hours_of_silence_keep_seconds_of_audio_and_end_with_a_word_why(self) -> None:
        settings = EarSettings()
        hearing = Hearing(by_silence=True)
        lease, meter = Lease(Stream("a-1", settings.ring), TIMING), Meter(hearing, settings, 0.0)
        effects, kept, worker, keep = lease.ask(0.0), [], 1, 0
        effects += lease.on_events(1, "w1", (Leased("e"),), 0.0)
        for second in range(1, 3 * 3600 + 1):
            meter.add(32_000, float(second))
            lease.stream.ring.append(bytes(32_000))
            assert sum(len(part.data) for part in take(lease, 10**6, float(second))) >= 32_000
            if second % 15 == 0:  # no worker lets a boundary lie still for longer
                keep = second * 32_000 - 16_000
            if second % 1350 == 0:  # the lease is old
                effects += lease.on_events(worker, f"w{worker}", (Moving("age"),), float(second))
                worker += 1
                effects += lease.on_events(worker, f"w{worker}", (Leased("e"),), float(second))
                take(lease, 10**6, float(second))
            effects += lease.on_events(worker, f"w{worker}", (Progress(second * 32_000, keep),), float(second))
            effects += lease.tick(float(second))
            kept.append(lease.stream.ring.end - lease.stream.ring.start)
        assert max(kept) == max(kept[:60]) <= 16 * 32_000
        assert [effect for effect in effects if isinstance(effect, Tell)] == [Tell(Leased("e"))]
        assert asks(effects) == [(1, ""), *((epoch, "moving") for epoch in range(2, 10))]
        with pytest.raises(ProtocolError, match=r"may last 10800 s.*begin another"):
            meter.add(32_000, 10_801.0)

    def test_what_was_not_sent_is_sent_again(self) -> None:
        lease = leased()
        lease.stream.say(Mark.COMMIT)
        parts = take(lease, 1000, 0.2)
        assert lease.run is not None
        lease.run.sending.put_back(parts)
        assert take(lease, 1000, 0.3) == parts

    @pytest.mark.parametrize(
        ("cause", "lose"),
        [
            ("returned", lambda lease: lease.lose(1, "returned", 1.0)),
            ("silent", lambda lease: [take(lease, 1000, 0.2), lease.tick(1.3)][1]),
            ("redelivered", lambda lease: lease.on_events(1, "w2", (Leased("e"),), 1.0)),
            ("redelivered", lambda lease: lease.on_events(1, "w1", (Leased("e"),), 1.0)),
            ("moving", lambda lease: lease.on_events(1, "w1", (Moving("age"),), 1.0)),
            ("failed", lambda lease: lease.on_events(1, "w1", (Failed(Fault("failed", "?", True)),), 1.0)),
            ("missed", lambda lease: lease.on_events(1, "w1", (Progress(400, 200, 1),), 1.0)),
            ("missed", lambda lease: lease.on_events(1, "w1", (SpeechStarted(1, 5),), 1.0)),
            ("missed", lambda lease: lease.on_events(1, "w1", (Heard(1, "so", 300),), 1.0)),
        ],
    )
    def test_another_worker_is_asked(self, cause: str, lose: Callable[[Lease], list[Effect]]) -> None:
        lease = leased()
        effects = lose(lease)
        assert asks(effects) == [(2, cause)]
        lease.on_events(2, "w3", (Leased("e"),), 1.5)
        assert take(lease, 1000, 1.5) == [AudioPart("a-1", 2, 0, b"x" * 400)]

    def test_progress_in_time_keeps_the_worker(self) -> None:
        lease = leased()
        take(lease, 1000, 0.2)
        assert lease.on_events(1, "w1", (Progress(400, 0),), 1.1) == []
        assert lease.tick(5.0) == []

    def test_what_a_worker_has_taken_is_heard(self) -> None:
        lease = leased()
        take(lease, 1000, 0.2)
        assert lease.heard == 0
        lease.on_events(1, "w1", (Progress(300, 0),), 0.3)
        assert lease.heard == 300
        lease.lose(1, "returned", 0.4)
        assert lease.heard == 0  # the next one begins at the boundary

    def test_time_in_which_nothing_could_come_is_forgiven(self) -> None:
        lease = leased()
        take(lease, 1000, 0.2)
        lease.away = True
        assert lease.tick(30.0) == []
        lease.away = False
        lease.forgive(30.0)
        assert lease.tick(30.9) == []
        assert asks(lease.tick(31.1)) == [(2, "silent")]

    def test_who_owes_an_answer_is_asked_for_a_sign_of_life(self) -> None:
        lease = leased()
        lease.stream.say(Mark.COMMIT)
        take(lease, 1000, 0.2)
        lease.on_events(1, "w1", (Progress(400, 0),), 0.3)
        assert lease.run is not None
        assert not lease.run.sending.waiting
        lease.tick(0.8)
        assert take(lease, 1000, 0.8) == [AudioPart("a-1", 1, 400, b"")]
        assert asks(lease.tick(1.9)) == [(2, "silent")]

    def test_nobody_is_idle_for_a_first_stream(self) -> None:
        lease = Lease(Stream("a-1", 1000), TIMING)
        lease.ask(0.0)
        assert lease.tick(1.0) == []
        assert asks(lease.tick(1.1)) == [(2, "untaken")]  # whoever took it may be past saying so
        assert lease.tick(2.0) == []
        told, over = lease.tick(2.1)
        assert isinstance(told, Tell)
        assert isinstance(told.event, Failed)
        assert (told.event.fault.code, over) == ("overloaded", Over())

    @pytest.mark.parametrize("epoch", [1, 2])
    def test_whoever_takes_it_first_has_it(self, epoch: int) -> None:
        lease = Lease(Stream("a-1", 1000), TIMING)
        lease.ask(0.0)
        lease.tick(1.1)
        assert lease.on_events(epoch, "w1", (Leased("e"),), 1.2) == [Tell(Leased("e"))]
        assert lease.on_events(3 - epoch, "w2", (Leased("e"),), 1.3) == [LetGo("w2", 3 - epoch)]
        assert (lease.run is not None, lease.asked) == (True, None)

    def test_a_refused_first_lease_is_told_at_once(self) -> None:
        lease = Lease(Stream("a-1", 1000), TIMING)
        lease.ask(0.0)
        told = lease.asking_failed(1, FaultCode.OVERLOADED)[0]
        assert isinstance(told, Tell)
        assert isinstance(told.event, Failed)
        assert told.event.fault.code == "overloaded"

    def test_a_lease_that_was_not_published_is_asked_for_again(self) -> None:
        lease = leased()
        lease.lose(1, "returned", 1.0)
        assert lease.asking_failed(2, FaultCode.UNAVAILABLE) == []
        assert lease.tick(1.1) == [Ask(2, Boundary())]
        assert lease.asking_failed(2, FaultCode.UNAVAILABLE, unknown=True) == []
        assert lease.tick(1.2) == [Ask(3, Boundary())]  # the other one may be taken yet

    def test_while_it_moves_the_old_worker_is_heard(self) -> None:
        lease = leased()
        take(lease, 1000, 0.2)
        lease.on_events(1, "w1", (Moving("age"),), 0.3)
        assert (lease.run is not None, lease.asked is not None) == (True, True)
        told = lease.on_events(1, "w1", (Progress(400, 300, 0), Heard(0, "hello", 300)), 0.4)
        assert told[-1] == Tell(Heard(0, "hello", 300))
        effects = lease.on_events(2, "w2", (Leased("e"),), 0.5)
        assert effects == [LetGo("w1", 1)]
        # The new one begins where it was asked to, and what it hears once more is told to nobody.
        assert take(lease, 1000, 0.6) == [AudioPart("a-1", 2, 0, b"x" * 400)]
        assert lease.on_events(2, "w2", (Heard(0, "hello", 300),), 0.7) == []
        assert lease.on_events(2, "w2", (Heard(1, "you", 400),), 0.8)[-1] == Tell(Heard(1, "you", 400))

    @pytest.mark.parametrize("event", [Leased("e"), Progress(100, 0)])
    def test_who_has_it_no_more_is_told_so(self, event: StreamEvent) -> None:
        lease = leased()
        lease.lose(1, "returned", 1.0)
        lease.on_events(2, "w2", (Leased("e"),), 1.1)
        assert lease.on_events(1, "w1", (event,), 1.2) == [LetGo("w1", 1)]
        assert lease.on_events(1, "w1", (Heard(0, "late", 400),), 1.2) == []
        assert (lease.run is not None, lease.asked) == (True, None)

    def test_partials_go_forward_for_the_client(self) -> None:
        lease = leased()
        lease.on_events(1, "w1", (SpeechStarted(0, 10), Partial(0, "what is")), 0.3)
        lease.lose(1, "returned", 1.0)
        lease.on_events(2, "w2", (Leased("e"),), 1.1)
        again = lease.on_events(2, "w2", (SpeechStarted(0, 10), Partial(0, "what"), Partial(0, "what is")), 1.2)
        assert again == []
        assert lease.on_events(2, "w2", (Partial(0, "what is a"),), 1.3) == [Tell(Partial(0, "what is a"))]

    def test_what_a_second_worker_hears_on_its_way_to_what_was_told_is_no_news(self) -> None:
        lease = leased()
        lease.on_events(1, "w1", (Partial(0, "what happens when a", ms=900),), 0.3)
        lease.lose(1, "returned", 1.0)
        lease.on_events(2, "w2", (Leased("e"),), 1.1)
        early = (
            Partial(0, "watt", ms=300),
            Partial(0, "what is", ms=600, paused=True),
            Partial(0, "whatever", ms=900),
        )
        assert lease.on_events(2, "w2", early, 1.2) == []
        later = Partial(0, "what happens", ms=960)
        assert lease.on_events(2, "w2", (later,), 1.3) == [Tell(later)]

    def test_partials_of_the_next_utterance_are_news(self) -> None:
        lease = leased()
        lease.on_events(1, "w1", (Partial(0, "one", ms=900), Heard(0, "one", 400)), 0.3)
        lease.lose(1, "returned", 1.0)
        lease.on_events(2, "w2", (Leased("e"),), 1.1)
        assert lease.on_events(2, "w2", (Partial(1, "two", ms=700),), 1.2) == [Tell(Partial(1, "two", ms=700))]

    def test_an_end_that_was_heard_needs_no_other_worker(self) -> None:
        lease = leased()
        lease.stream.say(Mark.END)
        take(lease, 1000, 0.2)
        lease.on_events(1, "w1", (Heard(0, "all of it", 400, marked=True),), 0.3)
        assert lease.lose(1, "returned", 0.4) == [LetGo("w1", 1), Tell(Ended(0)), Over()]

    def test_a_stream_that_no_worker_can_hear_fails(self) -> None:
        lease = leased()
        fault = Fault("failed", "?", True)
        for epoch in (1, 2):
            assert asks(lease.on_events(epoch, "w1", (Failed(fault),), 1.0)) == [(epoch + 1, "failed")]
            lease.on_events(epoch + 1, "w1", (Leased("e"),), 1.0)
        assert lease.on_events(3, "w1", (Failed(fault),), 1.0) == [Tell(Failed(fault)), Over()]

    def test_starts_and_stops_alternate_though_their_news_were_lost(self) -> None:
        lease = leased()
        assert lease.on_events(1, "w1", (Heard(0, "hi", 400, start_ms=3, end_ms=7),), 0.3) == [
            Tell(SpeechStarted(0, 3)),
            Tell(SpeechStopped(0, 7)),
            Tell(Heard(0, "hi", 400, start_ms=3, end_ms=7)),
        ]


# --- any interleaving -------------------------------------------------------------------------------------------

SCRIPT: tuple[tuple[str, int], ...] = (
    *((word, 700) for word in ["one", "two", "three", "four", "five", "six"]),
    ("uh huh", 300),
    ("and who keeps it", 1300),
    ("", 2000),
)


def said(hearing: Hearing) -> list[bytes | Mark]:
    """What a client sends: speech and silences; without endpoints, commits."""
    out: list[bytes | Mark] = []
    for text, quiet_ms in SCRIPT:
        data = speech(text, hearing) + silence(quiet_ms, hearing)
        out += [data[at : at + 1999] for at in range(0, len(data), 1999)]
        out.append(Mark.NONE if hearing.by_silence else Mark.COMMIT)
    out += [speech("bye", hearing), Mark.CLEAR, speech("the end", hearing), Mark.END]
    return [item for item in out if item != Mark.NONE]


def undisturbed(hearing: Hearing) -> list[Heard]:
    """What one worker hears of it."""
    recogniser = Recogniser(listen(hearing))
    events: list[StreamEvent] = []
    for item in said(hearing):
        events += recogniser.feed(b"", item) if isinstance(item, Mark) else recogniser.feed(item)
    return [event for event in events if isinstance(event, Heard)]


class World:
    """One stream, any number of workers, and everything that may go wrong between them."""

    def __init__(self, hearing: Hearing) -> None:
        self.hearing = hearing
        self.now = 0.0
        self.lease = Lease(Stream("a-1", 1_000_000), TIMING)
        self.queue: list[tuple[int, Boundary]] = []
        """Leases that nobody has taken."""
        self.workers: dict[tuple[str, int], Recogniser] = {}
        self.deaf = 0
        self.words: list[tuple[int, str, tuple[StreamEvent, ...]]] = []
        """What is on its way to the gateway."""
        self.sent: list[tuple[str, AudioPart]] = []
        self.told: list[StreamEvent] = []
        self.names = 0
        self.script = said(hearing)
        self.apply(self.lease.ask(0.0))

    def apply(self, effects: list[Effect]) -> None:
        for effect in effects:
            match effect:
                case Ask():
                    self.queue.append((effect.epoch, effect.boundary))
                case Tell():
                    self.told.append(effect.event)
                case LetGo():
                    self.workers.pop((effect.worker, effect.epoch), None)
                case Over():
                    pass

    def speak(self) -> None:
        if self.script:
            item = self.script.pop(0)
            if isinstance(item, Mark):
                self.lease.stream.say(item)
            else:
                self.lease.stream.ring.append(item)

    def lease_out(self) -> None:
        if self.queue:
            epoch, boundary = self.queue.pop(0)
            self.names += 1
            worker = f"w{self.names}"
            self.workers[worker, epoch] = Recogniser(
                listen(self.hearing, epoch=epoch, at=boundary.at, utterance=boundary.utterance)
            )
            self.words.append((epoch, worker, (Leased("e"),)))

    def send(self) -> None:
        run = self.lease.run
        if run is not None:
            worker = run.worker
            self.sent += [(worker, part) for part in run.sending.take(1500, self.now)]

    def arrive(self) -> None:
        """The oldest part reaches its worker, if that is alive."""
        if not self.sent:
            return
        worker, part = self.sent.pop(0)
        recogniser = self.workers.get((worker, part.epoch))
        if recogniser is None:
            return
        if part.at > recogniser.taken:
            del self.workers[worker, part.epoch]
            self.words.append((part.epoch, worker, (Failed(Fault("failed", "gap", True)),)))
            return
        events = recogniser.feed(part.data[recogniser.taken - part.at :], part.mark)
        self.words.append((part.epoch, worker, (*events, recogniser.progress())))

    def hear(self) -> None:
        if self.words and self.deaf:
            self.deaf -= 1
            self.words.pop(0)
        elif self.words:
            self.apply(self.lease.on_events(*self.words.pop(0), self.now))

    def lose_words(self) -> None:
        """The next ones do not arrive."""
        self.deaf = min(3, self.deaf + 1)

    def late_words(self) -> None:
        """What a former worker says comes after what its heir says."""
        if len(self.words) > 1 and self.words[0][:2] != self.words[-1][:2]:
            first = self.words[0][:2]
            late = [words for words in self.words if words[:2] == first]
            self.words = [words for words in self.words if words[:2] != first] + late

    def kill(self) -> None:
        run = self.lease.run
        if run is not None:
            self.workers.pop((run.worker, run.epoch), None)

    def redeliver(self) -> None:
        """The broker takes the lease from a worker and gives it to another, under the boundary of its beginning."""
        run = self.lease.run
        if run is not None:
            self.queue.append((run.epoch, Boundary(0, 0, 0)))

    def returned(self) -> None:
        run = self.lease.run
        if run is not None:
            self.apply(self.lease.lose(run.epoch, "returned", self.now))

    def unsent(self) -> None:
        """The last parts were refused by the broker, one by one."""
        run = self.lease.run
        if run is not None:
            run.sending.put_back(run.sending.take(1500, self.now))

    def move(self) -> None:
        run = self.lease.run
        if run is not None and (run.worker, run.epoch) in self.workers:
            self.words.append((run.epoch, run.worker, (Moving("age"),)))

    def unpublished(self) -> None:
        """The lease was not published, or nobody knows; it may be there all the same."""
        asked = self.lease.asked
        if asked is not None:
            self.apply(self.lease.asking_failed(asked.epoch, FaultCode.UNAVAILABLE, unknown=True))

    def flow(self) -> None:
        """All goes well for a moment."""
        for _ in range(4):
            for step in (self.speak, self.lease_out, self.send, self.arrive, self.arrive, self.hear, self.hear):
                step()

    def wait(self) -> None:
        self.now += 0.4
        self.apply(self.lease.tick(self.now))

    def finish(self) -> None:
        """No more faults."""
        for _ in range(4000):
            if self.lease.over:
                return
            for step in (self.speak, self.lease_out, self.send, self.arrive, self.hear, self.hear):
                step()
            self.now += 0.01
            self.apply(self.lease.tick(self.now))
        raise AssertionError("the stream does not end")


STEPS: tuple[Callable[[World], None], ...] = (
    World.flow,
    World.flow,
    World.flow,
    World.flow,
    World.speak,
    World.speak,
    World.lease_out,
    World.send,
    World.send,
    World.arrive,
    World.arrive,
    World.hear,
    World.hear,
    World.lose_words,
    World.late_words,
    World.kill,
    World.redeliver,
    World.returned,
    World.unsent,
    World.move,
    World.unpublished,
    World.wait,
)


@pytest.mark.parametrize("hearing", [HEARING, PUSHED], ids=["by silence", "by commits"])
@given(steps=st.lists(st.sampled_from(STEPS), min_size=20, max_size=60))
@settings(max_examples=150, deadline=None)
def test_whatever_fails_each_utterance_is_told_once_and_in_order(
    hearing: Hearing, steps: list[Callable[[World], None]]
) -> None:
    world = World(hearing)
    for step in steps:
        if not world.lease.over:
            step(world)
    world.finish()
    heard = [event for event in world.told if isinstance(event, Heard)]
    if isinstance(world.told[-1], Failed):
        # Three workers in a row failed, or nobody was left for too long: what was told is still the beginning.
        assert heard == undisturbed(hearing)[: len(heard)]
    else:
        assert heard == undisturbed(hearing)
        assert isinstance(world.told[-1], Ended)
    _in_order(world.told)


def _in_order(told: list[StreamEvent]) -> None:
    """Starts and stops alternate, partials lie before their utterance's text, and nothing comes after the end."""
    utterance, speaking = 0, False
    for event in told:
        match event:
            case SpeechStarted():
                assert not speaking
                speaking = True
            case SpeechStopped():
                assert speaking
                speaking = False
            case Partial():
                assert event.utterance == utterance
            case Heard():
                assert (event.utterance, speaking) == (utterance, False)
                utterance += 1
            case Ended() | Failed():
                assert event is told[-1]
            case _:
                pass


def test_the_script_is_heard_as_it_is_said() -> None:
    numbers = ["one", "two", "three", "four", "five", "six"]
    assert [heard.text for heard in undisturbed(HEARING)] == [*numbers, "uh huh and who keeps it", "the end"]
    assert [heard.text for heard in undisturbed(PUSHED)] == [*(text for text, _ in SCRIPT), "the end"]
