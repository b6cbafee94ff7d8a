"""One answer as it is spoken: its sentences, the jobs that have them said, and its audio's playing. Pure: text, audio
and time come in; what to ask for and what to send goes out with :meth:`Speech.step`.
"""

from dataclasses import dataclass, field

from parley_gateway.voice.mouth_settings import MouthSettings
from parley_gateway.voice.orders import Orders
from parley_gateway.voice.playout import Playout
from parley_gateway.voice.script import Script
from parley_gateway.voice.tape import Piece
from parley_protocol.audio import Spoken
from parley_protocol.events import Fault
from parley_protocol.faults import FaultCode

ROOM_S = 0.05
"""Between looks whether a listener who takes nothing does again."""
KEPT = 8
"""Sentences that are remembered behind the one that is being asked for, at least."""
SILENT = Fault(FaultCode.UNAVAILABLE.value, "nobody speaks at present; the answer's text is whole", True)


@dataclass(frozen=True, slots=True)
class Ask:
    """Have this said."""

    index: int
    attempt: int
    text: str


@dataclass(slots=True)
class Step:
    """What is to be done now. ``wait_s``: when to step again without news; None: not before there is some.
    ``over``: all of it has been heard, as far as the clock tells.
    """

    asks: list[Ask] = field(default_factory=list)
    pieces: list[Piece] = field(default_factory=list)
    wait_s: float | None = None
    over: bool = False


class Speech:
    """The answer's text goes into ``script`` while this is ``hungry``."""

    def __init__(self, settings: MouthSettings, rate: int, *, given: bool = False, first: int = 0) -> None:
        """``given``: it is over when all of it has been given, not when it has been heard. ``first``: the sentence to
        begin with; those before it have been heard already.
        """
        self._settings = settings
        self._given = given
        self._first = first
        self._passed = 0
        """Code points before the sentence to begin with."""
        self.script = Script(KEPT + settings.ahead)
        self.orders = Orders(rate, wait_s=settings.ask_s, longest_s=settings.longest_s)
        self.playout = Playout(rate, lead_s=settings.lead_s, frame_s=settings.frame_ms / 1000)
        self.fault: Fault | None = None
        """Why not all of it could be had."""
        self._refused: Fault | None = None
        """Why a sentence was left out."""

    @property
    def hungry(self) -> bool:
        """Whether more text is of use now."""
        return self.script.hungry and self._room and self.fault is None

    def restart(self, text: str, now: float) -> int | None:
        """The answer is another one: ``text`` so far. Sentences that are the same go on. Returns the samples at which a
        listener has to forget what it was sent; None: it has nothing to forget.
        """
        first = self.script.restart(text)
        self._first, self._passed = min(self._first, first), min(self._passed, self.script.at)
        self.orders.drop_from(first)
        return self.playout.sent if self.playout.drop_from(first, now) else None

    def on_spoken(self, part: Spoken, now: float) -> bool:
        """Audio of a sentence. False: it is of no use, and has been dropped."""
        useful = self.orders.take(part, self.playout.tape.clip(part.index), now)
        if useful and part.fault is not None and not part.fault.retryable:
            self._refused = part.fault
        return useful

    # --- what to do -------------------------------------------------------------------------------------------

    def step(self, now: float, *, room: bool = True) -> Step:
        """Ask for what is needed, send what may be sent; nothing while the listener has no ``room``."""
        step = Step(asks=self._again(now))
        step.pieces = self.playout.due(now) if room else []
        while self._room and self.fault is None and (numbered := self.script.next()) is not None:
            index, sentence = numbered
            clip = self.playout.tape.open(index)
            if index < self._first:
                clip.whole = True
                self._passed = sentence.end
                continue
            self.orders.put(index, 0, now)
            step.asks.append(Ask(index, 0, sentence.said.text))
        if self._nothing_more and (self.playout.given if self._given else self.playout.over(now)):
            step.over = True
            if not self.playout.sent:  # not a word of it was said: that is no sentence left out
                self.fault = self.fault or self._refused
            return step
        waits = self.orders.waits(now)
        if (paced := self.playout.wait_s(now)) is not None and (self.playout.tape.unread or self._nothing_more):
            waits.append(paced if room else max(paced, ROOM_S))
        step.wait_s = max(0.0, min(waits)) if waits else None
        return step

    def _again(self, now: float) -> list[Ask]:
        """Ask once more for what does not come, as often as one may."""
        asks: list[Ask] = []
        for index, attempt in self.orders.late(now):
            sentence, clip = self.script.sentence(index), self.playout.tape.clip(index)
            if sentence is None or clip is None or attempt + 1 >= self._settings.attempts:
                self._give_up()
                break
            self.orders.put(index, attempt + 1, now, skip=len(clip.pcm))
            asks.append(Ask(index, attempt + 1, sentence.said.text))
        return asks

    def _give_up(self) -> None:
        """What has come is played to its end."""
        self.fault = SILENT
        for index in self.orders:
            if (clip := self.playout.tape.clip(index)) is not None:
                clip.whole = True
        self.orders.drop_from(0)

    @property
    def _room(self) -> bool:
        """Whether a further sentence may be asked for: one is being sent, ``ahead`` may wait behind it."""
        settings, tape = self._settings, self.playout.tape
        return tape.unread <= settings.ahead and tape.waiting / self.playout.rate < settings.ahead_s

    @property
    def _nothing_more(self) -> bool:
        return self.fault is not None or (self.script.over and not self.orders)

    def ms(self, samples: int) -> int:
        """Their place in the answer's audio."""
        return samples * 1000 // self.playout.rate

    # --- the listener -----------------------------------------------------------------------------------------

    def heard_at(self, now: float) -> int:
        """Code points of the answer whose audio has been heard."""
        heard = self.playout.heard(now)
        whole = self._nothing_more and not self.playout.tape.unread and self.fault is None
        return self.script.at if whole and heard >= self.playout.sent else self.said_by(heard)

    def said_by(self, samples: int) -> int:
        """Code points of the answer whose audio comes before ``samples``, of sentences that are still remembered."""
        place = self.playout.tape.place(samples)
        sentence = self.script.sentence(place[0]) if place is not None else None
        return max(self._passed, sentence.heard(place[1]) if place is not None and sentence is not None else 0)

    def pause(self, now: float) -> int:
        """See :meth:`Playout.pause`."""
        return self.playout.pause(now)

    def resume(self, now: float) -> None:
        """Go on with the word in which the listener stopped hearing."""
        place = self.playout.tape.place(self.playout.sent)
        if place is not None:
            index, fraction = place
            sentence = self.script.sentence(index)
            if sentence is not None and index not in self.orders:
                self.playout.back(index, sentence.word(fraction), now)
        self.playout.resume(now)
