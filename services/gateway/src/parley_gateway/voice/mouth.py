"""Mouths: the answers of sessions, spoken to whoever listens.

A mouth is a queue of answers. The first one is being spoken: it reads the text of its turn as that grows, asks workers
for one sentence after another, and hands audio on as fast as it is played. Queues, links and tasks do not grow with the
mouths.
"""

from collections import deque
from collections.abc import Callable

from parley_gateway.core.session import Session
from parley_gateway.voice.answer import Answer
from parley_gateway.voice.heard import HeardDesk
from parley_gateway.voice.mouth_settings import MouthSettings
from parley_gateway.voice.saying import Saying
from parley_gateway.voice.speaks import AudioChunk, Outlet, Speaks, SpokenSoFar, check_voice
from parley_gateway.voice.speech import Speech
from parley_protocol.audio import Spoken
from parley_protocol.client import Voice
from parley_protocol.ids import TurnId
from parley_runtime.telemetry import names
from parley_runtime.telemetry.logging import get_logger
from parley_runtime.telemetry.metrics import counter

__all__ = ["AudioChunk", "Mouth", "Mouths", "Speaks", "SpokenSoFar", "check_voice"]

log = get_logger("parley.mouth")


class Mouth:
    """Of one socket. Made by :meth:`Mouths.open`; ``voice`` is that of the answers to come."""

    def __init__(
        self, mouths: "Mouths", session: Session, voice: Voice, outlet: Outlet, settings: MouthSettings
    ) -> None:
        self.voice = voice
        self._mouths = mouths
        self._session = session
        self._outlet = outlet
        self._settings = settings
        self._answers: deque[Answer] = deque()
        """The first one is being spoken."""

    @property
    def speaking(self) -> TurnId | None:
        """The turn whose answer is being spoken, as far as the listener goes: until it has been played."""
        return self._answers[0].turn if self._answers else None

    @property
    def paused(self) -> bool:
        """Whether it waits for :meth:`resume`."""
        return bool(self._answers) and self._answers[0].speech.playout.paused

    def say(self, turn: TurnId, *, first: int = 0, counts: bool = True) -> None:
        """Speak this turn's answer from sentence ``first`` on, after those that are being spoken. A turn that is not
        held here, or is spoken already, is left alone. ``counts``: if it is interrupted, what was heard is what the
        conversation goes on with.
        """
        entry = self._session.entries.get(turn)
        if entry is None or any(answer.turn == turn for answer in self._answers):
            return
        if len(self._answers) >= self._mouths.settings.waiting:
            counter(names.SPOKEN).labels("refused").inc()
            log.info("answer not spoken", reason="waiting", setting="PARLEY_SPEAK_WAITING")
            return
        answer = Answer(
            self._session,
            entry,
            self.voice,
            Speech(self._settings, self.voice.rate, given=self._outlet.given, first=first),
            outlet=self._outlet,
            saying=self._mouths.saying,
            heard=self._mouths.heard if counts else None,
            ended=self._on_ended,
        )
        self._answers.append(answer)
        if answer is self._answers[0]:
            answer.begin()

    def pause(self) -> None:
        """The listener hears no more of it, at once. What follows :meth:`resume` goes on where they stopped hearing."""
        if self._answers and not self.paused:
            self._answers[0].pause()

    def resume(self) -> None:
        """Go on after :meth:`pause`."""
        if self.paused:
            self._answers[0].resume()

    def interrupt(self) -> SpokenSoFar | None:
        """Stop, and drop whatever was to be spoken. None where nothing was being said."""
        said = None
        while self._answers:
            first = said is None
            stopped = self._answers[0].stop("interrupted", flush=first)
            said = said or stopped
        return said

    def drop(self, turn: TurnId) -> None:
        """This turn's answer is not to be spoken, or not any more."""
        for index, answer in enumerate(self._answers):
            if answer.turn == turn:
                answer.stop("stopped", flush=index == 0)
                return

    def played(self, turn: TurnId, ms: int) -> None:
        """The client says how much of this answer has been played."""
        if self._answers and self._answers[0].turn == turn and not self.paused:
            self._answers[0].played(ms)

    def close(self) -> None:
        """Nobody listens any more. Idempotent."""
        while self._answers:
            self._answers[0].end("closed")

    def _on_ended(self, answer: Answer) -> None:
        self._answers.remove(answer)
        if self._answers:
            self._answers[0].begin()


class Mouths:
    """All mouths of a gateway. ``saying`` takes what workers say of what they were asked for."""

    def __init__(self, settings: MouthSettings, saying: Saying, heard: HeardDesk) -> None:
        self.settings = settings
        self.saying = saying
        self.heard = heard

    def open(
        self,
        session: Session,
        voice: Voice,
        speaks: Speaks,
        *,
        settings: MouthSettings | None = None,
        room: Callable[[], bool] = lambda: True,
    ) -> Mouth:
        """A mouth for a socket of this session. ``settings``: for a client that keeps what it is sent and plays it by
        its own clock; an answer is over for it when all of it has been given. ``room``: whether the socket takes more;
        while it does not, audio waits here, unsent, and no more of it than ever.

        Raises:
            ProtocolError: ``invalid``: the voice has a rate or a speed that nobody speaks with.
        """
        check_voice(voice)
        outlet = Outlet(speaks, given=settings is not None, room=room)
        return Mouth(self, session, voice, outlet, settings or self.settings)

    def on_spoken(self, part: Spoken) -> bool:
        """From the event queue. False: nobody here has asked for it, or listens any more."""
        return self.saying.on_spoken(part)

    async def close(self) -> None:
        """Let nobody wait for what is being published; keep what was heard."""
        await self.heard.close()
        await self.saying.close()
