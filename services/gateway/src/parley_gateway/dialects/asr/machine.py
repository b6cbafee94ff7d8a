"""What the realtime ASR dialect says when: a state machine. Pure: events in, effects out.

An interim text is acknowledged and nothing else: each text is the whole hypothesis, so it is replaced by the next one,
and only the final one is judged. One question is answered at a time; later ones wait, at most ``limit``.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from parley_gateway.dialects.asr import frames
from parley_gateway.dialects.asr.frames import Action, Chunk, Code, Frame, Status


@dataclass(frozen=True, slots=True, eq=False)
class Asked:
    """A question, and the session that it belongs to."""

    text: str
    session: str


@dataclass(frozen=True, slots=True)
class Say:
    """Write a frame; ``kind`` names it in the log."""

    kind: str
    frame: Frame


@dataclass(frozen=True, slots=True)
class Begin:
    """Have the question answered; report with ``piece``, then ``ended`` or ``failed``."""

    asked: Asked


@dataclass(frozen=True, slots=True)
class Cancel:
    """End the answer with exactly what was said of it; report as ever, or ``give_up`` where its end does not come."""

    asked: Asked


Effect = Say | Begin | Cancel


class Machine:
    """One socket. ``judge`` says whether a text holds a question."""

    __slots__ = ("_current", "_index", "_judge", "_limit", "_stage", "_waiting", "session")

    def __init__(self, session: str, judge: Callable[[str], bool], *, limit: int) -> None:
        self.session = session
        self._judge = judge
        self._limit = limit
        self._waiting: deque[Asked] = deque()
        self._current: Asked | None = None
        self._index = 0
        self._stage = Status.LISTENING
        """Where it goes when nothing is being answered: listening, paused, or idle after a stop."""

    @property
    def busy(self) -> bool:
        """Whether an answer is under way or will begin by itself."""
        return self._current is not None or (bool(self._waiting) and self._stage is not Status.PAUSED)

    @property
    def waiting(self) -> int:
        """Questions that wait."""
        return len(self._waiting)

    def greet(self) -> list[Effect]:
        """The socket is open."""
        return [Say("ack", frames.connected(self.session)), _status(Status.LISTENING)]

    # --- what the client says ---------------------------------------------------------------------------------

    def chunk(self, chunk: Chunk) -> list[Effect]:
        """Acknowledged first, whatever comes of it."""
        self.session = chunk.session or self.session
        paused = self._stage is Status.PAUSED
        effects: list[Effect] = [Say("ack", frames.acked(self.session, paused=paused))]
        if paused:
            return effects
        if self._stage is Status.IDLE:
            self._stage = Status.LISTENING
            effects.append(_status(Status.LISTENING))
        if not chunk.final:
            return effects
        text = chunk.text.strip()
        if text and self._judge(text):
            return effects + self._take(Asked(text, self.session))
        return effects if len(effects) > 1 else [*effects, _status(Status.LISTENING)]

    def heard(self, text: str) -> list[Effect]:
        """A final text that was heard here, and not sent by the client: there is nothing to acknowledge."""
        return self.chunk(Chunk(text, final=True))[1:]

    def control(self, action: Action) -> list[Effect]:
        """The status is the answer: at once, or for a pause when the answer under way has ended."""
        match action:
            case Action.PAUSE:
                self._stage = Status.PAUSED
                return [] if self._current is not None else [_status(Status.PAUSED)]
            case Action.RESUME:
                self._stage = Status.LISTENING
                return [_status(Status.LISTENING), *self._next()]
            case Action.STOP:
                self._stage = Status.IDLE
                self._waiting.clear()
                return [_status(Status.IDLE)] if self._current is None else [Cancel(self._current)]

    # --- what becomes of a question ---------------------------------------------------------------------------

    def piece(self, asked: Asked, text: str, *, anew: bool = False) -> list[Effect]:
        """More of its answer; ``anew``: what was said of it is void."""
        if asked is not self._current or not text:
            return []
        frame = frames.answer(self._index, text, restarted=anew and self._index > 0)
        self._index += 1
        return [Say("answer", frame)]

    def ended(self, asked: Asked) -> list[Effect]:
        """Its answer is whole, or was stopped."""
        if asked is not self._current:
            return []
        return [Say("answer", frames.answer(self._index, "", final=True)), *self._over()]

    def failed(self, asked: Asked, frame: Frame) -> list[Effect]:
        """It has no answer; ``frame`` says why. After a stop nobody asks any more."""
        if self._stage is Status.IDLE:
            return self.ended(asked)
        return [Say("error", frame), *self._over()] if asked is self._current else []

    def give_up(self, asked: Asked) -> list[Effect]:
        """Its end did not come in time after a stop. What comes of it later is not said."""
        return self.ended(asked)

    def _take(self, asked: Asked) -> list[Effect]:
        if self._current is None and not self._waiting:
            return self._begin(asked)
        if len(self._waiting) >= self._limit:
            said = f"已有 {self._limit} 个问题在等待回答：请等一个回答结束后再问"
            return [Say("error", frames.error(Code.OVERLOADED, said))]
        self._waiting.append(asked)
        return []

    def _begin(self, asked: Asked) -> list[Effect]:
        self._current = asked
        self._index = 0
        return [_status(Status.ANALYZING), _status(Status.QUERYING), Begin(asked)]

    def _over(self) -> list[Effect]:
        self._current = None
        effects: list[Effect] = [_status(Status.IDLE)]
        if self._stage is not Status.IDLE:
            effects.append(_status(self._stage))
        return effects + self._next()

    def _next(self) -> list[Effect]:
        if self._current is None and self._waiting and self._stage is Status.LISTENING:
            return self._begin(self._waiting.popleft())
        return []


def _status(stage: Status) -> Say:
    return Say("status", frames.status(stage))
