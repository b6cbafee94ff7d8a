"""Mouths: the answers of sessions, spoken to whoever listens.

A mouth is one more sink of a turn: it reads the answer's text as it grows, asks workers for one sentence after another,
and hands audio on as fast as it is played. Queues, links and tasks do not grow with the mouths.
"""

import asyncio
import secrets
from collections import deque
from collections.abc import Callable

from parley_gateway import report
from parley_gateway.core.session import Session
from parley_gateway.core.view import View
from parley_gateway.voice.answer import Answer, AudioChunk, Speaks, SpokenSoFar, check_voice
from parley_gateway.voice.heard import HeardDesk
from parley_gateway.voice.mouth_settings import MouthSettings
from parley_gateway.voice.speech import CHUNK, Ask, Speech, Step
from parley_gateway.voice.tape import SAMPLE
from parley_protocol import codec
from parley_protocol.audio import Speak, Spoken
from parley_protocol.client import ErrorFrame, ServerFrame, Voice
from parley_protocol.control import Audience, Hush
from parley_protocol.events import TurnStatus
from parley_protocol.ids import TurnId, TurnKey
from parley_protocol.routes import WORK, Stage
from parley_runtime.control import ControlPlane
from parley_runtime.errors import ParleyError
from parley_runtime.ports import Clock, Link, Message
from parley_runtime.telemetry import names
from parley_runtime.telemetry.logging import get_logger
from parley_runtime.telemetry.metrics import counter, histogram

__all__ = ["AudioChunk", "Mouth", "Mouths", "Speaks", "SpokenSoFar", "check_voice"]

log = get_logger("parley.mouth")

READS = 4
"""Pieces of text taken in one go: a long stretch without a word to say holds nobody else up."""


class Mouth:
    """Of one socket. Made by :meth:`Mouths.open`; ``voice`` is that of the answers to come."""

    def __init__(
        self,
        mouths: "Mouths",
        session: Session,
        voice: Voice,
        speaks: Speaks,
        settings: MouthSettings,
        *,
        given: bool,
        room: Callable[[], bool],
    ) -> None:
        self.voice = voice
        self._settings = settings
        self._given = given
        self._has_room = room
        self._mouths = mouths
        self._session = session
        self._speaks = speaks
        self._answers: deque[Answer] = deque()
        """The first one is being spoken."""
        self._timer: asyncio.TimerHandle | None = None
        self._soon: asyncio.Handle | None = None
        self._loop = asyncio.get_running_loop()

    @property
    def speaking(self) -> TurnId | None:
        """The turn whose answer is being spoken, as far as the listener goes: until it has been played."""
        return self._answers[0].turn if self._answers else None

    @property
    def paused(self) -> bool:
        """Whether it waits for :meth:`resume`."""
        return bool(self._answers) and self._answers[0].speech.playout.paused

    def say(self, turn: TurnId) -> None:
        """Speak this turn's answer from its beginning, after those that are being spoken. A turn that is not open here,
        or is spoken already, is left alone.
        """
        entry = self._session.entries.get(turn)
        if entry is None or any(answer.turn == turn for answer in self._answers):
            return
        if len(self._answers) >= self._mouths.settings.waiting:
            counter(names.SPOKEN).labels("refused").inc()
            log.info("answer not spoken", reason="waiting", setting="PARLEY_SPEAK_WAITING")
            return
        speech = Speech(self._settings, self.voice.rate, given=self._given)
        view = self._session.view(entry, self)
        headers = report.headers(entry, "speak")
        answer = Answer(self._mouths.name(), turn, view, speech, self.voice, headers)
        self._answers.append(answer)
        self._mouths.hold(answer.id, self)
        self._wake()

    def pause(self) -> None:
        """The listener hears no more of it, at once. What follows :meth:`resume` goes on where they stopped hearing."""
        if self._answers and not self.paused:
            answer = self._answers[0]
            heard = answer.speech.pause(self._mouths.now())
            self._speaks.on_flush(answer.turn, answer.ms(heard), False)
            self._advance()

    def resume(self) -> None:
        """Go on after :meth:`pause`."""
        if self.paused:
            self._answers[0].speech.resume(self._mouths.now())
            self._advance()

    def interrupt(self) -> SpokenSoFar | None:
        """Stop, and drop whatever was to be spoken. None where nothing was being said."""
        said = None
        while self._answers:
            first = said is None
            stopped = self._stop(self._answers[0], "interrupted", flush=first)
            said = said or stopped
        return said

    def drop(self, turn: TurnId) -> None:
        """This turn's answer is not to be spoken, or not any more."""
        for index, answer in enumerate(self._answers):
            if answer.turn == turn:
                self._stop(answer, "stopped", flush=index == 0)
                return

    def played(self, turn: TurnId, ms: int) -> None:
        """The client says how much of this answer has been played."""
        if self._answers and self._answers[0].turn == turn and not self.paused:
            answer = self._answers[0]
            answer.speech.playout.report(ms * answer.speech.playout.rate // 1000, self._mouths.now())

    def close(self) -> None:
        """Nobody listens any more. Idempotent."""
        while self._answers:
            self._end(self._answers[0], "closed")
        for handle in (self._timer, self._soon):
            if handle is not None:
                handle.cancel()
        self._timer = self._soon = None

    # --- a sink of turns --------------------------------------------------------------------------------------

    def push(self, frame: ServerFrame) -> None:
        """Frames without ``seq``: a turn that was not taken has no answer."""
        if isinstance(frame, ErrorFrame):
            for answer in [answer for answer in self._answers if answer.turn == frame.turn]:
                self._end(answer, "refused")

    def touch(self, view: View) -> None:  # noqa: ARG002 - of a Sink
        """There may be more text."""
        self._wake()

    # --- inside -----------------------------------------------------------------------------------------------

    def on_spoken(self, part: Spoken) -> None:
        """Audio from a worker."""
        answer = next((answer for answer in self._answers if answer.id == part.speech), None)
        if answer is None:
            return
        useful = answer.speech.on_spoken(part, self._mouths.now())
        counter(names.SPOKEN_PARTS).labels("used" if useful else "dropped").inc()
        if answer is self._answers[0]:
            self._advance()

    def _wake(self) -> None:
        if self._soon is None:
            self._soon = self._loop.call_soon(self._advance)

    def _advance(self) -> None:
        """Read, ask and send as far as can be; then wait for news, or for the time when more may be sent."""
        if self._soon is not None:
            self._soon.cancel()
            self._soon = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if not self._answers:
            return
        answer, now = self._answers[0], self._mouths.now()
        if not self._follow(answer, now):
            return
        wait_s: float | None = None
        for read in range(READS + 1):
            step = answer.speech.step(now, room=self._has_room())
            self._carry_out(answer, step, now)
            if step.over:
                self._over(answer)
                return
            wait_s = step.wait_s
            if not answer.speech.hungry or not self._read(answer, now):
                break
            if read == READS:
                wait_s = 0.0
        if wait_s is not None:
            self._timer = self._loop.call_later(wait_s, self._advance)

    def _follow(self, answer: Answer, now: float) -> bool:
        """What became of the turn. False: it is not spoken any more."""
        turn, entry = answer.view.turn, self._session.entries.get(answer.turn)
        if entry is None or (entry.ended and not turn.closed):  # it was never taken
            self._end(answer, "refused")
            self._wake()
            return False
        stopped = turn.frozen and not turn.closed
        if stopped or (turn.terminal is not None and turn.closed and turn.terminal.status is not TurnStatus.COMPLETED):
            self._stop(answer, "stopped")
            return False
        if answer.restarts != turn.restarts:
            answer.restarts = turn.restarts
            flushed = answer.speech.restart(turn.text, now)
            if flushed is not None:
                self._speaks.on_flush(answer.turn, answer.ms(flushed), False)
        return True

    def _read(self, answer: Answer, now: float) -> bool:
        """Take some text. False where there is none at present."""
        turn, speech = answer.view.turn, answer.speech
        if not turn.known or turn.waits:
            return False
        text = turn.text[speech.script.at : speech.script.at + CHUNK]
        if text:
            answer.first_text_at = answer.first_text_at or now
            speech.script.feed(text)
        elif turn.closed:
            answer.view.done = True
            speech.script.end()
        return bool(text) or turn.closed

    def _carry_out(self, answer: Answer, step: Step, now: float) -> None:
        for ask in step.asks:
            self._mouths.ask(answer, ask, self._session.key(answer.turn))
        if step.pieces and not answer.told:
            answer.told = True
            histogram(names.FIRST_AUDIO_SECONDS).observe(max(0.0, now - answer.first_text_at))
        rate = answer.speech.playout.rate
        for piece in step.pieces:
            said = answer.speech.said_by(piece.at + len(piece.pcm) // SAMPLE)
            self._speaks.on_audio(AudioChunk(answer.turn, piece.sentence, piece.at, rate, piece.pcm, said))

    def _over(self, answer: Answer) -> None:
        """Heard to its end, as far as the clock tells."""
        ms, fault = answer.ms(answer.speech.playout.sent), answer.speech.fault
        self._end(answer, "spoken" if fault is None else "failed")
        self._speaks.on_spoken(answer.turn, ms, fault)
        self._wake()

    def _stop(self, answer: Answer, outcome: str, *, flush: bool = True) -> SpokenSoFar:
        now = self._mouths.now()
        heard = answer.speech.heard_at(now)
        ms = answer.ms(answer.speech.playout.heard(now))
        turn = answer.view.turn
        self._end(answer, outcome)
        if not turn.closed or heard < len(turn.text):
            self._mouths.heard.keep(turn.key, heard)
        if flush:
            self._speaks.on_flush(answer.turn, ms, True)
        self._wake()
        return SpokenSoFar(answer.turn, heard, ms)

    def _end(self, answer: Answer, outcome: str) -> None:
        self._answers.remove(answer)
        answer.view.done = True
        entry = self._session.entries.get(answer.turn)
        if entry is not None:
            entry.views = [view for view in entry.views if view is not answer.view]
        self._mouths.let_go(answer, outcome)


class Mouths:
    """All mouths of a gateway: what they ask for goes out here, and what is said comes in."""

    def __init__(
        self,
        gateway: str,
        settings: MouthSettings,
        clock: Clock,
        publisher: Link,
        control: ControlPlane,
        heard: HeardDesk,
    ) -> None:
        self.settings = settings
        self.heard = heard
        self._gateway = gateway
        self._clock = clock
        self._publisher = publisher
        self._control = control
        self._incarnation = secrets.token_hex(4)
        self._count = 0
        self._speeches: dict[str, Mouth] = {}
        self._tasks: set[asyncio.Task[None]] = set()

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
        return Mouth(self, session, voice, speaks, settings or self.settings, given=settings is not None, room=room)

    def on_spoken(self, part: Spoken) -> bool:
        """From the event queue. False: nobody here has asked for it, or listens any more."""
        mouth = self._speeches.get(part.speech)
        if mouth is None:
            return False
        mouth.on_spoken(part)
        return True

    async def close(self) -> None:
        """Let nobody wait for what is being published; keep what was heard."""
        await self.heard.close()
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # --- for mouths -------------------------------------------------------------------------------------------

    def now(self) -> float:
        """Monotonic seconds."""
        return self._clock.monotonic()

    def name(self) -> str:
        """For one more speech: unique in the installation."""
        self._count += 1
        return f"{self._gateway}/{self._incarnation}/{self._count}"

    def hold(self, speech: str, mouth: Mouth) -> None:
        """Give ``mouth`` what comes for this speech."""
        self._speeches[speech] = mouth

    def let_go(self, answer: Answer, outcome: str) -> None:
        """Nobody waits for this speech any more; whoever is saying some of it may stop."""
        self._speeches.pop(answer.id, None)
        counter(names.SPOKEN).labels(outcome).inc()
        if answer.speech.orders:
            self._control.post(Audience.WORKERS.value, Hush(answer.id))

    def ask(self, answer: Answer, ask: Ask, key: TurnKey) -> None:
        """Have a sentence said. What gets lost on the way is asked for again by the mouth."""
        job = Speak(
            speech=answer.id,
            index=ask.index,
            text=ask.text,
            gateway=self._gateway,
            rate=answer.voice.rate,
            voice=answer.voice.voice,
            language=answer.voice.language,
            speed=answer.voice.speed,
            key=key,
            attempt=ask.attempt,
            budget_s=self.settings.longest_s,
            sent_at=self._clock.wall(),
        )
        if ask.attempt:
            counter(names.SPEAK_AGAIN).inc()
        # Once it is asked for again, nobody waits for this one.
        message = Message(codec.pack(job), answer.headers, expires_s=self.settings.ask_s)
        task = asyncio.get_running_loop().create_task(self._publish(message))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _publish(self, message: Message) -> None:
        try:
            await self._publisher.publish(WORK, Stage.SPEAK, message, timeout_s=self.settings.ask_s)
        except ParleyError as error:
            log.info("sentence was not asked for; again soon", reason=type(error).__name__)
