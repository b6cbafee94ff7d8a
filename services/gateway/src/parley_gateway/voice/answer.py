"""One answer that is spoken: its turn is read, its sentences are asked for, its audio is handed on as it is played."""

from collections.abc import Callable

from parley_gateway import report
from parley_gateway.core.entry import Entry
from parley_gateway.core.session import Session
from parley_gateway.core.view import View
from parley_gateway.voice.alarm import Alarm
from parley_gateway.voice.heard import HeardDesk
from parley_gateway.voice.saying import Saying
from parley_gateway.voice.source import Fate, Source
from parley_gateway.voice.speaks import AudioChunk, Outlet, SpokenSoFar
from parley_gateway.voice.speech import Speech, Step
from parley_gateway.voice.tape import SAMPLE
from parley_protocol.audio import Spoken
from parley_protocol.client import ErrorFrame, ServerFrame, Voice
from parley_protocol.ids import TurnId
from parley_runtime.telemetry import names
from parley_runtime.telemetry.metrics import counter, histogram

READS = 4
"""Pieces of text taken in one go: a long stretch without a word to say holds nobody else up."""


class Answer:
    """A sink of its turn. Nothing happens before :meth:`begin`; the end is told to ``ended``, once."""

    def __init__(
        self,
        session: Session,
        entry: Entry,
        voice: Voice,
        speech: Speech,
        *,
        outlet: Outlet,
        saying: Saying,
        heard: HeardDesk | None,
        ended: Callable[["Answer"], None],
    ) -> None:
        self.speech = speech
        self._voice = voice
        self._source = Source(session, entry, self)
        self._headers = report.headers(entry, "speak")
        """Of its jobs: they are parts of the turn's trace, also when it has ended before it is spoken."""
        self._outlet = outlet
        self._saying = saying
        self._heard = heard
        self._ended = ended
        self._id = saying.begin(self)
        self._alarm = Alarm(self._advance)
        self._begun = self._over = False
        self._first_text_at = 0.0
        self._first_audio = True
        """Is to be given yet."""

    @property
    def turn(self) -> TurnId:
        """Whose answer it is."""
        return self._source.turn

    # --- whoever listens --------------------------------------------------------------------------------------

    def begin(self) -> None:
        """It is its turn to be spoken."""
        self._begun = True
        self._alarm.soon()

    def pause(self) -> None:
        """See :meth:`Mouth.pause`."""
        heard = self.speech.pause(self._saying.now())
        self._outlet.speaks.on_flush(self.turn, self.speech.ms(heard), False)
        self._advance()

    def resume(self) -> None:
        """Go on after :meth:`pause`."""
        self.speech.resume(self._saying.now())
        self._advance()

    def played(self, ms: int) -> None:
        """The client says how much of it has been played."""
        self.speech.playout.report(ms * self.speech.playout.rate // 1000, self._saying.now())

    def stop(self, outcome: str, *, flush: bool = True) -> SpokenSoFar:
        """Speak no more of it; with ``flush``, the listener is told to forget what it has not played. What was heard
        is kept in the turn's row.
        """
        now, source = self._saying.now(), self._source
        heard = self.speech.heard_at(now)
        ms = self.speech.ms(self.speech.playout.heard(now))
        self.end(outcome)
        if self._heard is not None and (not source.closed or heard < len(source.text)):
            self._heard.keep(source.view.turn.key, heard)
        if flush:
            self._outlet.speaks.on_flush(self.turn, ms, True)
        return SpokenSoFar(self.turn, heard, ms)

    def end(self, outcome: str) -> None:
        """Speak no more of it. Idempotent."""
        if self._over:
            return
        self._over = True
        self._alarm.cancel()
        self._source.leave()
        counter(names.SPOKEN).labels(outcome).inc()
        self._saying.end(self._id, hush=bool(self.speech.orders))
        self._ended(self)

    # --- news -------------------------------------------------------------------------------------------------

    def push(self, frame: ServerFrame) -> None:
        """Frames without ``seq``: a turn that was not taken has no answer."""
        if isinstance(frame, ErrorFrame) and frame.turn == self.turn:
            self.end("refused")

    def touch(self, view: View) -> None:  # noqa: ARG002 - of a Sink
        """There may be more text."""
        if self._begun:
            self._alarm.soon()

    def on_spoken(self, part: Spoken) -> None:
        """Audio from a worker."""
        useful = self.speech.on_spoken(part, self._saying.now())
        counter(names.SPOKEN_PARTS).labels("used" if useful else "dropped").inc()
        if self._begun:
            self._advance()

    # --- on it goes -------------------------------------------------------------------------------------------

    def _advance(self) -> None:
        """Read, ask and send as far as can be; then wait for news, or for the time when more may be sent."""
        self._alarm.cancel()
        now = self._saying.now()
        if self._over or not self._follow(now):
            return
        wait_s: float | None = None
        for read in range(READS + 1):
            step = self.speech.step(now, room=self._outlet.room())
            if not self._carry_out(step, now):
                return
            wait_s = step.wait_s
            if not self.speech.hungry or not self._source.read(self.speech.script):
                break
            if self._source.text:
                self._first_text_at = self._first_text_at or now
            if read == READS:
                wait_s = 0.0
        if wait_s is not None:
            self._alarm.after(wait_s)

    def _follow(self, now: float) -> bool:
        """Do as the turn does. False: it is not spoken any more."""
        match self._source.fate:
            case Fate.REFUSED:
                self.end("refused")
                return False
            case Fate.STOPPED:
                self.stop("stopped")
                return False
        if self._source.restarted():
            flushed = self.speech.restart(self._source.text, now)
            if flushed is not None:
                self._outlet.speaks.on_flush(self.turn, self.speech.ms(flushed), False)
        return True

    def _carry_out(self, step: Step, now: float) -> bool:
        """False: it is over, or whoever took its audio has ended it."""
        for ask in step.asks:
            self._saying.ask(self._id, ask, self._voice, self._source.key, self._headers)
        if step.pieces and self._first_audio:
            self._first_audio = False
            histogram(names.FIRST_AUDIO_SECONDS).observe(max(0.0, now - self._first_text_at))
        speaks, rate = self._outlet.speaks, self.speech.playout.rate
        for piece in step.pieces:
            said = self.speech.said_by(piece.at + len(piece.pcm) // SAMPLE)
            speaks.on_audio(AudioChunk(self.turn, piece.sentence, piece.at, rate, piece.pcm, said))
        if step.over:  # heard to its end, as far as the clock tells
            ms, fault = self.speech.ms(self.speech.playout.sent), self.speech.fault
            self.end("spoken" if fault is None else "failed")
            speaks.on_spoken(self.turn, ms, fault)
        return not self._over
