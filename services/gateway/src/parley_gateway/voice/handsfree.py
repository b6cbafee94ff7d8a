"""Hands free: one stream of speech, each utterance of which may be a turn, and may interrupt the one before."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from parley_gateway.core import spoken
from parley_gateway.core.effects import Effect
from parley_gateway.core.entry import Entry
from parley_gateway.core.session import Session
from parley_gateway.core.view import Sink
from parley_gateway.turns import DEFAULT_KB, check_turn
from parley_gateway.voice.ear import Ear
from parley_gateway.voice.early import ahead_of
from parley_gateway.voice.events import HearingEvent
from parley_gateway.voice.floor import Act
from parley_gateway.voice.keeper import FloorKeeper
from parley_gateway.voice.talk import GONE, NO_SPEECH, Room, code_of, hearing_of, request_of
from parley_gateway.voice.words import join
from parley_protocol.audio import Ended, Failed, Heard, Partial, SpeechStarted, SpeechStopped
from parley_protocol.client import AudioStart, ErrorFrame, SpeechStartedFrame, SpeechStoppedFrame
from parley_protocol.faults import RETRYABLE, FaultCode, ProtocolError
from parley_protocol.ids import TurnId
from parley_runtime.telemetry import names
from parley_runtime.telemetry.metrics import counter

if TYPE_CHECKING:
    from parley_gateway.hub import Hub
    from parley_gateway.identity import Identity

CUTOFF_MS = 1000
"""Speech that goes on so soon after silence had ended it says that it had not come to its end."""


class HandsFree:
    """One ``audio.start`` with ``hands_free``. What it shares with ``Talk`` is told there."""

    def __init__(
        self, hub: Hub, identity: Identity, session: Session, sink: Sink, frame: AudioStart, room: Room
    ) -> None:
        """Raises ProtocolError: see ``Ears.open``; ``invalid`` names the field."""
        self.turn = frame.turn
        self._hub = hub
        self._session = session
        self._sink = sink
        self._frame = frame
        self._utterance: TurnId = ""
        self._pieces: list[str] = []
        self._entry: Entry | None = None
        self._dropped = False
        """The utterance at hand is not asked, whatever it says: it was cancelled, or found no room."""
        self._ended_ms = 0
        """Where in the stream silence has ended the last utterance; 0: it has not."""
        check_turn(f"{frame.turn}.99999")
        request_of(hub, frame, frame.turn, "?")
        self._ear: Ear = hub.ears.open(identity, session.id, hearing_of(frame, hub), self, kb=frame.kb or DEFAULT_KB)
        self._ahead = ahead_of(hub, identity, session.id, frame.kb or DEFAULT_KB, self._ear.context)
        self._floor = FloorKeeper(hub, session, room, self._ear)
        if frame.interrupt:
            self._floor.interrupt()

    @property
    def stopped(self) -> bool:
        """No audio is expected any more."""
        return self._ear.ended

    def audio(self, data: bytes) -> None:
        """A binary frame. Raises ProtocolError where the stream cannot go on."""
        if self._ear.lease.over:
            return  # the client has been told
        try:
            self._ear.feed(data)
        except ProtocolError as error:
            self._lost(error.code, str(error))
            raise

    def look(self) -> None:
        """The utterance's turn may have been ended: what is said on is not asked."""
        if self._entry is not None and self._entry.ended:
            self._entry = None
            self._dropped = True
            self._ahead.drop()

    def stop(self) -> None:
        """``audio.stop``."""
        self._ear.end()

    def gone(self) -> None:
        """The socket is gone. What was said before an ``audio.stop`` is asked all the same."""
        self._floor.room = None
        if not self.stopped:
            self._ear.drop()
            self._lost(FaultCode.CANCELLED, GONE)

    # --- what is heard ----------------------------------------------------------------------------------------

    def on_hearing(self, event: HearingEvent) -> None:
        """See :class:`parley_gateway.voice.events.Hears`. Whoever speaks is heard in the same tick."""
        now = self._hub.now()
        self.look()
        match event:
            case SpeechStarted():
                self._ahead.drop()
                self._sink.push(SpeechStartedFrame(turn=self._name(event.utterance), ms=event.ms))
                if self._ended_ms and event.ms < self._ended_ms + CUTOFF_MS:
                    counter(names.SPEECH_CUTOFFS).inc()
                self._ended_ms = 0
                self._floor.started(now)
            case SpeechStopped():
                self._sink.push(SpeechStoppedFrame(turn=self._name(event.utterance), ms=event.ms))
                self._floor.stopped(now)
            case Partial():
                self._said(join(*self._pieces, event.text), now, paused=event.paused)
            case Heard():
                self._heard(event, now)
            case Failed():
                self._sink.push(_error(self.turn, code_of(event.fault.code), event.fault.message))
                self._lost(code_of(event.fault.code), event.fault.message)
            case Ended():
                self._floor.lost()
            case _:
                pass
        self._floor.promise(now)

    def _name(self, utterance: int) -> TurnId:
        """One that was cut for its length keeps its first name."""
        self._utterance = self._utterance or f"{self.turn}.{utterance}"
        return self._utterance

    def _said(self, text: str, now: float, *, paused: bool = False) -> None:
        self._floor.said(text, now)
        if text and self._floor.taken and self._hold():
            assert self._entry is not None
            self._ahead.said(text, paused=paused)
            self._apply(spoken.partial(self._entry, text))
        else:
            self._ahead.drop()

    def _heard(self, event: Heard, now: float) -> None:
        self._name(event.utterance)
        self._pieces.append(event.text)
        text = join(*self._pieces)
        if event.cut:
            self._said(text, now)
            return
        if self._floor.heard(text, now) is Act.TAKE and self._hold():
            self._ask(text, now)
        elif self._entry is not None:
            self._apply(spoken.unheard(self._entry, FaultCode.NO_SPEECH, NO_SPEECH, now))
        self._ahead.drop()
        self._entry, self._utterance, self._pieces, self._dropped = None, "", [], False
        self._ended_ms = (
            0 if event.marked or not text else event.end_ms + self._ear.listen.hearing.endpointing.silence_ms
        )

    def _ask(self, text: str, now: float) -> None:
        assert self._entry is not None
        try:
            asked = request_of(self._hub, self._frame, self._utterance, text)
            request = msgspec.structs.replace(asked, early=self._ahead.take(text))
            self._apply(spoken.heard(self._entry, request, now, said_at=self._ear.said_at))
            if (room := self._floor.room) is not None and self._frame.speak is not None:
                room.speak(self._utterance, self._frame.speak)
        except ProtocolError as error:
            self._apply(spoken.unheard(self._entry, error.code, str(error), now))

    def _hold(self) -> bool:
        """Whether the utterance has its turn in the session's order."""
        if self._entry is None and not self._dropped:
            longest_s = self._hub.settings.ears.longest_s + self._hub.settings.turns.budget_s
            try:
                self._entry, effects = spoken.listen(
                    self._session,
                    self._utterance,
                    self._sink,
                    self._hub.now(),
                    longest_s=longest_s,
                    parent=self._ear.context,
                )
            except ProtocolError as error:
                self._dropped = True
                self._sink.push(_error(self._utterance, error.code, str(error)))
                return False
            self._apply(effects)
        return self._entry is not None

    def _lost(self, code: FaultCode, message: str) -> None:
        """The stream is over; what was being said is not asked."""
        self._ahead.drop()
        self._floor.end()
        if self._entry is not None:
            entry, self._entry = self._entry, None
            self._apply(spoken.unheard(entry, code, message, self._hub.now()))

    def _apply(self, effects: list[Effect]) -> None:
        self._hub.dispatch.apply(effects)
        if self._entry is not None:
            self._hub.dispatch.promise(self._entry)


def _error(turn: TurnId, code: FaultCode, message: str) -> ErrorFrame:
    return ErrorFrame(code=code.value, message=message, retryable=code in RETRYABLE, turn=turn)
