"""One stream under one lease: bytes and marks in, events out. Pure: no I/O of its own, no loop, no clock.

What is heard is a function of the audio since the last boundary. At each boundary everything that remembers anything
is made anew, and whatever audio lies behind the boundary is heard again by the new parts, in undisturbed runs too: that
is why another worker that begins there hears the same. Boundaries are: the end of each utterance (by silence, commit,
clear, or for its length), and long silence.

An utterance is heard in segments, from one pause to the next, so that what is told at a pause is what the utterance's
last word will be if nobody speaks any more.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from parley_asr.endpoint import FRAME, FRAME_MS, Endpointer, Sign, frames
from parley_asr.engine import Recognition, Samples
from parley_asr.intake import Intake, Leveller, ms_at, open_intake
from parley_asr.utterance import Utterance
from parley_asr.vad import Vad
from parley_protocol.audio import Heard, Hearing, Mark, Partial, SpeechStarted, SpeechStopped

Event = SpeechStarted | SpeechStopped | Partial | Heard

FIRST = frames(1000)
"""A segment that begins so soon after its boundary begins at the boundary: a detector made anew is slow at first."""
CUT = frames(1000)
"""An utterance that is too long is cut within its last so many frames."""
QUIET = frames(5000)
"""After so many frames without speech the boundary moves..."""
QUIET_AT_LAST = frames(15_000)
"""... or after so many, where there are noises that no utterance begins with."""
LOOK_BACK = frames(500)
"""... to so many frames before that moment."""


@dataclass(frozen=True, slots=True)
class Parts:
    """Makes what is made anew at each boundary."""

    vad: Callable[[], Vad]
    recognition: Callable[[], Recognition]
    intake: Callable[[Hearing], Intake] = open_intake


@dataclass(slots=True)
class _Frame:
    """One frame since the boundary."""

    index: int
    samples: Samples
    probability: float


class _Since:
    """Everything that remembers, since the boundary at ``at`` (bytes) and ``ms``."""

    def __init__(self, at: int, ms: float, hearing: Hearing, parts: Parts) -> None:
        self.at = at
        self.ms = ms
        self.fed = at
        self.intake = parts.intake(hearing)
        self.leveller = Leveller()
        self.vad = parts.vad()
        self.endpointer = Endpointer(hearing.endpointing)
        self.utterance = Utterance(parts.recognition)
        self.left: Samples = np.zeros(0, np.float32)
        self.frames = 0
        self.floor = 0
        """Frames before this one belong to finished segments."""
        self.begun_at = -1
        """First frame of the utterance."""
        self.loudest = 0.0
        recent = max(frames(hearing.endpointing.prefix_ms), FIRST, CUT, LOOK_BACK)
        self.recent: deque[_Frame] = deque(maxlen=recent + frames(hearing.endpointing.start_ms) + 1)
        self.held: list[_Frame] = []

    def time(self, frame: int) -> int:
        """Milliseconds of the stream at which ``frame`` begins."""
        return round(self.ms + frame * FRAME_MS)


class Listener:
    """``at``: the boundary to begin at, and ``utterance`` the number of the first one. Not thread-safe; may block where
    engines do. Raises what engines and intakes raise, and is of no use after that but for :meth:`close`.
    """

    def __init__(self, hearing: Hearing, at: int, utterance: int, parts: Parts) -> None:
        self._hearing = hearing
        self._terms = hearing.endpointing
        self._parts = parts
        self._raw = bytearray()
        self._raw_at = at
        self._number = utterance
        self._longest = max(2 * CUT, frames(self._terms.longest_ms))
        self._prefix = frames(self._terms.prefix_ms)
        self._events: list[Event] = []
        self._since = self._fresh(at, 0.0)

    @property
    def keep(self) -> int:
        """The last boundary."""
        return self._since.at

    @property
    def utterance(self) -> int:
        """Number of the utterance that begins there or later."""
        return self._number

    @property
    def taken(self) -> int:
        """Position of the next byte."""
        return self._raw_at + len(self._raw)

    @property
    def audio_ms(self) -> int:
        """Of the stream, so far."""
        return self._since.time(self._since.frames)

    def feed(self, data: bytes, mark: Mark = Mark.NONE) -> list[Event]:
        """The next bytes, and what is said after them."""
        self._raw += data
        if mark is Mark.CLEAR:
            self._clear()
        elif mark in (Mark.COMMIT, Mark.END):
            self._commit()
        else:
            self._blocks()
            self._tell()
        self._trim()
        events, self._events = self._events, []
        return events

    def close(self) -> None:
        """Give back what the engine holds. Idempotent."""
        self._since.utterance.drop()

    # ---- audio into frames

    def _fresh(self, at: int, ms: float) -> _Since:
        """Everything anew at ``at``; ``ms`` counts where the position does not tell the time."""
        known = ms_at(self._hearing, at)
        return _Since(at, ms if known is None else known, self._hearing, self._parts)

    def _blocks(self) -> None:
        """Hear every whole block, from each new boundary on anew."""
        while True:
            since = self._since
            at = since.fed - self._raw_at
            size = since.intake.whole(self._raw, at)
            if not size:
                return
            samples = since.intake.push(bytes(self._raw[at : at + size]))
            since.fed += size
            self._samples(since, samples)

    def _samples(self, since: _Since, samples: Samples, *, last: bool = False) -> None:
        left = np.concatenate((since.left, samples))
        if last and left.size % FRAME:
            left = np.concatenate((left, np.zeros(FRAME - left.size % FRAME, np.float32)))
        whole = left.size // FRAME
        for index in range(whole):
            self._frame(since, left[index * FRAME : (index + 1) * FRAME])
            if since is not self._since:
                return
        since.left = left[whole * FRAME :]

    def _frame(self, since: _Since, samples: Samples) -> None:
        samples = since.leveller.push(samples)
        frame = _Frame(since.frames, samples, since.vad.score(samples))
        since.frames += 1
        since.recent.append(frame)
        since.loudest = max(since.loudest, frame.probability)
        signs = since.endpointer.push(frame.probability)
        if since.utterance.hearing:
            self._hear(since, frame)
        for sign in signs:
            self._sign(since, sign, frame.index)
        if since is self._since:
            self._bound(since)

    def _hear(self, since: _Since, frame: _Frame) -> None:
        """Of an utterance that may have to be cut soon, frames wait until it is known where."""
        if since.frames - since.begun_at > self._longest - CUT:
            since.held.append(frame)
        else:
            since.utterance.add(frame.samples)

    # ---- frames into utterances

    def _sign(self, since: _Since, sign: Sign, now: int) -> None:
        if sign in (Sign.START, Sign.RESUME):
            self._start(since, now + 1 - since.endpointer.since)
            if sign is Sign.START:
                speech = since.time(now + 1 - since.endpointer.since)
                self._events.append(SpeechStarted(self._number, speech))
            elif self._hearing.partials:
                text = since.utterance.text
                self._events.append(Partial(self._number, text, len(text)))
        elif sign is Sign.PAUSE:
            self._pause(since, now)
        else:
            self._stop(since, now)

    def _start(self, since: _Since, speech: int) -> None:
        first = 0 if speech <= FIRST else speech - self._prefix
        first = max(first, since.floor)
        if since.begun_at < 0:
            since.begun_at = first
        since.utterance.begin(since.time(first), since.time(speech))
        for frame in since.recent:
            if frame.index >= first:
                self._hear(since, frame)

    def _pause(self, since: _Since, now: int) -> None:
        self._release(since)
        since.utterance.finish()
        since.utterance.end_ms = since.time(now + 1 - since.endpointer.since)
        since.floor = now + 1
        if self._hearing.partials:
            text = since.utterance.text
            self._events.append(Partial(self._number, text, len(text), paused=True))

    def _stop(self, since: _Since, now: int) -> None:
        self._events.append(SpeechStopped(self._number, since.utterance.end_ms))
        if self._hearing.by_silence:
            at = max(since.floor, now + 1 - self._prefix)
            self._heard(since, self._position(since, at), since.time(at))

    def _bound(self, since: _Since) -> None:
        """Cut what is too long, and forget what is long and silent."""
        if since.begun_at >= 0:
            if since.frames - since.begun_at >= self._longest:
                self._cut(since)
            return
        if since.frames < QUIET:
            return
        back = since.frames - LOOK_BACK
        below = self._terms.threshold
        quiet = all(frame.probability < below for frame in since.recent if frame.index >= back)
        if quiet or since.frames >= QUIET_AT_LAST:
            self._since = self._fresh(self._position(since, back), since.ms + back * FRAME_MS)

    def _cut(self, since: _Since) -> None:
        window = [frame for frame in since.recent if frame.index >= since.frames - CUT]
        at = max(min(window, key=lambda frame: frame.probability).index, since.floor)
        held, since.held = since.held, []
        for frame in held:
            if frame.index < at:
                since.utterance.add(frame.samples)
        if since.utterance.hearing:
            since.utterance.end_ms = since.time(at)
        since.utterance.finish()
        self._heard(since, self._position(since, at), since.time(at), cut=True)

    def _commit(self) -> None:
        """Everything is heard to its last whole frame, and the utterance ends there."""
        while True:
            self._blocks()
            since = self._since
            taken, samples = since.intake.flush(bytes(self._raw[since.fed - self._raw_at :]))
            self._samples(since, samples, last=True)
            if since is self._since:
                break
        since.fed += taken
        self._release(since)
        self._any(since)
        if since.utterance.hearing:
            since.utterance.end_ms = since.time(since.frames)
        since.utterance.finish()
        if since.endpointer.speaking:
            self._events.append(SpeechStopped(self._number, since.utterance.end_ms))
        self._heard(since, since.fed, since.ms + since.intake.ms(since.fed - since.at), marked=True)

    def _any(self, since: _Since) -> None:
        """Who commits an utterance may have spoken too shortly for a beginning: hear it where there is any speech."""
        if since.begun_at >= 0 or since.loudest < self._terms.threshold:
            return
        since.begun_at = since.recent[0].index
        since.utterance.begin(since.time(since.begun_at), since.time(since.begun_at))
        for frame in since.recent:
            since.utterance.add(frame.samples)

    def _clear(self) -> None:
        """A boundary after the last whole frame, none of which is heard."""
        since = self._since
        since.utterance.drop()
        while size := since.intake.whole(self._raw, since.fed - self._raw_at):
            since.intake.skip(bytes(self._raw[since.fed - self._raw_at :][:size]))
            since.fed += size
        taken, _ = since.intake.flush(bytes(self._raw[since.fed - self._raw_at :]))
        keep = since.fed + taken
        self._since = self._fresh(keep, since.ms + since.intake.ms(keep - since.at))

    def _release(self, since: _Since) -> None:
        held, since.held = since.held, []
        for frame in held:
            since.utterance.add(frame.samples)

    def _heard(self, since: _Since, keep: int, ms: float, *, cut: bool = False, marked: bool = False) -> None:
        said = since.utterance
        start = said.start_ms if said.begun else round(since.ms)
        end = said.end_ms if said.begun else round(ms)
        text = said.text
        words = tuple(said.words)
        self._events.append(Heard(self._number, text, keep, words, start_ms=start, end_ms=end, cut=cut, marked=marked))
        self._number += 1
        self._since = self._fresh(keep, ms)

    def _tell(self) -> None:
        """A hypothesis, where there is a new one."""
        utterance = self._since.utterance
        now = utterance.pump()
        if now is not None and self._hearing.partials and now.text != utterance.shown:
            utterance.shown = now.text
            self._events.append(Partial(self._number, now.text, now.stable))

    # ---- positions

    def _position(self, since: _Since, frame: int) -> int:
        return since.at + since.intake.position(frame * FRAME)

    def _trim(self) -> None:
        """Keep what a boundary may still fall back to."""
        since = self._since
        oldest = max(since.at, self._position(since, since.frames - (since.recent.maxlen or 0)))
        spare = min(oldest, since.fed) - self._raw_at
        if spare > 0:
            del self._raw[:spare]
            self._raw_at += spare
