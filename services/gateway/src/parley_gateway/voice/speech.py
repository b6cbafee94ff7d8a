"""One answer as it is spoken: its sentences, the jobs that have them said, and its audio's playing. Pure: text, audio
and time come in; what to ask for and what to send goes out with :meth:`Speech.step`.

Text is taken from the answer only as far as it is needed, so a long answer costs no more than a short one.
"""

from collections import deque
from dataclasses import dataclass, field

from parley_gateway.voice.mouth_settings import MouthSettings
from parley_gateway.voice.playout import Playout
from parley_gateway.voice.sentences import Cutter, Sentence
from parley_gateway.voice.tape import SAMPLE, Piece
from parley_protocol.audio import Spoken
from parley_protocol.events import Fault
from parley_protocol.faults import FaultCode

CHUNK = 2_000
"""Code points of the answer taken at a time."""
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


@dataclass(slots=True)
class _Job:
    """A sentence that has been asked for and has not come whole."""

    attempt: int
    due: float
    part: int = 0
    skip: int = 0
    """Bytes of this attempt that an earlier one has brought already."""


class Speech:
    """``text`` is what has been read of the answer; whoever holds this feeds what follows it while it is ``hungry``."""

    def __init__(self, settings: MouthSettings, rate: int, *, given: bool = False) -> None:
        """``given``: it is over when all of it has been given, not when it has been heard."""
        self._settings = settings
        self._given = given
        self.playout = Playout(rate, lead_s=settings.lead_s, frame_s=settings.frame_ms / 1000)
        self._cutter = Cutter()
        self._read: list[str] = []
        self.at = 0
        """Code points read."""
        self._sentences: deque[tuple[int, Sentence]] = deque()
        self._jobs: dict[int, _Job] = {}
        self._index = 0
        self._ended = False
        self._starved = True
        """No sentence is whole in what has been read."""
        self.fault: Fault | None = None
        """Why not all of it could be had."""
        self.dropped = 0
        """Bytes of audio that nobody wanted: late, doubled, or too much."""

    # --- text -------------------------------------------------------------------------------------------------

    @property
    def text(self) -> str:
        """What has been read of the answer."""
        self._read = ["".join(self._read)]
        return self._read[0]

    @property
    def hungry(self) -> bool:
        """Whether more text is of use now."""
        return not self._ended and self._room and self._starved and self.fault is None

    def feed(self, text: str) -> None:
        """What follows, :data:`CHUNK` code points at most."""
        self._starved = False
        self._read.append(text)
        self.at += len(text)
        self._cutter.feed(text)

    def end(self) -> None:
        """The answer is whole, and all of it has been fed."""
        self._ended = True
        self._cutter.end()

    def restart(self, text: str, now: float) -> int | None:
        """The answer is another one: ``text`` so far, which is fed anew from ``at`` on. Sentences that are the same go
        on. Returns the samples at which a listener has to forget what it was sent; None: it has nothing to forget.
        """
        same = _common(self.text, text)
        kept = [(index, sentence) for index, sentence in self._sentences if sentence.end <= same]
        first = kept[-1][0] + 1 if kept else self._first_known
        begin = kept[-1][1].end if kept else 0 if first == 0 else self._sentences[0][1].start
        if begin > same:
            begin = 0
        flushed = self.playout.drop_from(first, now)
        self._sentences = deque(kept)
        for index in [index for index in self._jobs if index >= first]:
            del self._jobs[index]
        self._read, self.at = [text[:begin]], begin
        self._cutter = Cutter(begin, first=not kept)
        self._ended, self._starved = False, True
        return self.playout.sent if flushed else None

    @property
    def waiting(self) -> bool:
        """Whether audio has been asked for and not come."""
        return bool(self._jobs)

    # --- audio ------------------------------------------------------------------------------------------------

    def on_spoken(self, part: Spoken, now: float) -> bool:
        """Audio of a sentence. False: it is of no use, and has been dropped."""
        job, clip = self._jobs.get(part.index), self.playout.tape.clip(part.index)
        fits = job is not None and part.attempt == job.attempt and part.part == job.part
        if job is None or clip is None or not fits or part.rate != self.playout.rate:
            self.dropped += len(part.data)
            return False
        job.part += 1
        job.due = now + self._settings.ask_s
        data = part.data[job.skip :]
        job.skip = max(0, job.skip - len(part.data))
        room = max(0, round(self._settings.longest_s * part.rate) * SAMPLE - len(clip.pcm))
        self.dropped += max(0, len(data) - room)
        clip.pcm += data[:room]
        if part.fault is not None and part.fault.retryable:
            job.due = now  # ask again at once, within the attempts
        elif part.last:
            clip.whole = True
            del self._jobs[part.index]
        return True

    # --- what to do -------------------------------------------------------------------------------------------

    def step(self, now: float, *, room: bool = True) -> Step:
        """Ask for what is needed, send what may be sent; nothing while the listener has no ``room``."""
        step = Step()
        self._again(step, now)
        step.pieces = self.playout.due(now) if room else []
        while self._room and self.fault is None:
            sentence = self._cutter.next()
            if sentence is None:
                self._starved = True
                break
            self._ask(step, sentence, now)
        if self._nothing_more and (self.playout.given if self._given else self.playout.over(now)):
            step.over = True
            return step
        waits = [job.due - now for job in self._jobs.values()]
        if (paced := self.playout.wait_s(now)) is not None and (self.playout.tape.unread or self._nothing_more):
            waits.append(paced if room else max(paced, ROOM_S))
        step.wait_s = max(0.0, min(waits)) if waits else None
        return step

    def heard_at(self, now: float) -> int:
        """Code points of the answer whose audio has been heard."""
        heard = self.playout.heard(now)
        whole = self._nothing_more and not self.playout.tape.unread and self.fault is None
        return self.at if whole and heard >= self.playout.sent else self.said_by(heard)

    def pause(self, now: float) -> int:
        """See :meth:`Playout.pause`."""
        return self.playout.pause(now)

    def resume(self, now: float) -> None:
        """Go on with the word in which the listener stopped hearing."""
        place = self.playout.tape.place(self.playout.sent)
        if place is not None:
            index, fraction = place
            sentence = self._sentence(index)
            if sentence is not None and index not in self._jobs:
                self.playout.back(index, sentence.word(fraction), now)
        self.playout.resume(now)

    # --- inside -----------------------------------------------------------------------------------------------

    @property
    def _room(self) -> bool:
        """Whether a further sentence may be asked for: one is being sent, ``ahead`` may wait behind it."""
        settings = self._settings
        return (
            self.playout.tape.unread <= settings.ahead
            and self.playout.tape.waiting / self.playout.rate < settings.ahead_s
        )

    @property
    def _nothing_more(self) -> bool:
        return self.fault is not None or (self._ended and not self._jobs and not self._cutter.pending)

    @property
    def _first_known(self) -> int:
        return self._sentences[0][0] if self._sentences else self._index

    def _ask(self, step: Step, sentence: Sentence, now: float) -> None:
        index = self._index
        self._index += 1
        self._sentences.append((index, sentence))
        self.playout.tape.open(index)
        while len(self._sentences) > KEPT + self._settings.ahead:
            self._sentences.popleft()
        self._jobs[index] = _Job(0, now + self._settings.ask_s)
        step.asks.append(Ask(index, 0, sentence.said.text))

    def _again(self, step: Step, now: float) -> None:
        """Sentences whose audio does not come: the job is lost, or whoever had it."""
        for index, job in list(self._jobs.items()):
            if now < job.due or self.fault is not None:
                continue
            sentence, clip = self._sentence(index), self.playout.tape.clip(index)
            if sentence is None or clip is None or job.attempt + 1 >= self._settings.attempts:
                self._give_up()
                return
            self._jobs[index] = _Job(job.attempt + 1, now + self._settings.ask_s, skip=len(clip.pcm))
            step.asks.append(Ask(index, job.attempt + 1, sentence.said.text))

    def _give_up(self) -> None:
        """What has come is played to its end."""
        self.fault = SILENT
        for index in self._jobs:
            if (clip := self.playout.tape.clip(index)) is not None:
                clip.whole = True
        self._jobs.clear()

    def _sentence(self, index: int) -> Sentence | None:
        return next((sentence for number, sentence in self._sentences if number == index), None)

    def said_by(self, samples: int) -> int:
        """Code points of the answer whose audio comes before ``samples``, of sentences that are still remembered."""
        place = self.playout.tape.place(samples)
        sentence = self._sentence(place[0]) if place is not None else None
        if place is None or sentence is None:
            return 0
        return sentence.heard(place[1])


def _common(one: str, other: str) -> int:
    """How many code points two texts begin with alike."""
    low, high = 0, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        if one[:middle] == other[:middle]:
            low = middle
        else:
            high = middle - 1
    return low
