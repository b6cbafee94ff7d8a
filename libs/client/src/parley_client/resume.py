"""What a client must remember to come back: session, position and the turns under way. Pure: no I/O, no waiting."""

from typing import Protocol

from parley_client.errors import ClientError, TurnLost, TurnRefused
from parley_client.options import Sound
from parley_client.turn import Turn
from parley_protocol.client import Accepted, Done, ErrorFrame, Hello, ServerFrame, TurnFrame, TurnStart, Welcome
from parley_protocol.speech import AnswerAudio


class Joins(Protocol):
    """Whoever has turns that the server names."""

    def join(self, id: str) -> Turn | None:
        """This one, told of for the first time; None: it is not theirs."""

    def on_audio(self, header: AnswerAudio, pcm: bytes) -> None:
        """Of any answer."""

    def on_sound(self, sound: Sound) -> None:
        """Of any turn."""


class GapFound(ClientError):
    """A frame did not follow the one before: reconnect and resume."""

    retryable = True


_UNSAID = "the connection was lost while this turn was being said; say it again"


class Memory:
    """Everything that survives a connection."""

    def __init__(self, *, session: str | None, position: str | None, token: str | None) -> None:
        self.session = session
        self.position = position
        self.token = token
        self.talks: list[Joins] = []
        self._turns: dict[str, Turn] = {}
        self._starts: dict[str, TurnStart] = {}
        self._cancels: set[str] = set()
        self._speaking: set[str] = set()
        self._overheard: Turn | None = None
        """What this connection was told of a turn before it was asked for here: the server goes on where it is."""

    def hello(self) -> Hello:
        """The first frame of the next connection."""
        self._overheard = None  # the next one is told it from its start
        for turn in [self._turns[id] for id in self._speaking]:
            self.give_up(turn, TurnLost(_UNSAID))
        pending = tuple(turn for turn in self._turns if turn not in self._starts)
        return Hello(session=self.session, position=self.position, pending=pending, token=self.token)

    def unsent(self) -> list[TurnStart]:
        """Turns not yet accepted, in order: sending one again is harmless, the same id is the same turn."""
        return list(self._starts.values())

    def begin(self, start: TurnStart, turn: Turn) -> None:
        """Remember a turn before its frame is sent."""
        self._starts[start.turn] = start
        self._turns[start.turn] = turn

    def speak(self, turn: Turn) -> None:
        """Remember a turn that is being said on this connection."""
        self._turns[turn.id] = turn
        self._speaking.add(turn.id)

    def said(self, turn: Turn) -> None:
        """It has been said to its end: from here on it survives the connection."""
        self._speaking.discard(turn.id)

    def cancel(self, turn: str) -> None:
        """Remember that the turn is to end; nothing where it is over."""
        if turn in self._turns:
            self._cancels.add(turn)

    def cancels(self) -> list[str]:
        """Turns to be cancelled and not over: asking for it again is harmless."""
        return sorted(self._cancels)

    def adopt(self, turn: Turn) -> None:
        """Remember a turn that an earlier client of the session had started."""
        self._turns[turn.id] = turn

    def take(self, frame: ServerFrame) -> None:
        """Act on a frame. Raises GapFound where a turn's frames are not contiguous."""
        match frame:
            case Welcome():
                known, self.session = self.session, frame.session
                if known is not None and known != frame.session:
                    self._begin_anew()
                elif frame.gap:
                    self._rebase()
            case Accepted():
                self._accepted(frame.turn)
            case ErrorFrame():
                self._refused(frame)
            case _ if isinstance(frame, TurnFrame):
                self._event(frame)
            case _:
                pass

    def _accepted(self, id: str) -> None:
        self._starts.pop(id, None)
        if (turn := self._find(id)) is None:
            return
        self._speaking.discard(id)
        if (overheard := self._overheard) is not None and overheard.id == id:
            self._overheard = None
            for frame in overheard.take():
                self._feed(turn, frame)
        turn.accepted.set()
        turn.taken.set()

    def _find(self, id: str) -> Turn | None:
        """A turn that is known here, or becomes so as one that is being said."""
        if id not in self._turns:
            joined = next((turn for talk in self.talks if (turn := talk.join(id)) is not None), None)
            if joined is not None:
                self.speak(joined)
        return self._turns.get(id)

    def _begin_anew(self) -> None:
        """The server gave another session: nothing more will be heard of what it had accepted in the old one."""
        self.position = None
        why = "the server does not know this session any more, so this turn's end cannot be read; ask again"
        for id in [id for id in self._turns if id not in self._starts]:
            self._forget(id).fail(TurnLost(why))

    def _forget(self, id: str) -> Turn:
        self._starts.pop(id, None)
        self._cancels.discard(id)
        self._speaking.discard(id)
        return self._turns.pop(id)

    def give_up(self, turn: Turn, error: ClientError) -> None:
        """Wait for the end of ``turn`` no longer; what still comes of it is passed over."""
        if self._turns.get(turn.id) is turn:
            self._forget(turn.id)
        turn.fail(error)

    def _rebase(self) -> None:
        """After a gap the server may number anew and send what it knows from the start."""
        self.position = None
        for turn in self._turns.values():
            turn.rebase()

    def _event(self, frame: TurnFrame) -> None:
        turn = self._find(frame.turn)
        if turn is None or (self._overheard is not None and self._overheard.id == frame.turn):
            self._overhear(frame)
            return
        expected = turn.expects(frame)
        if expected is None:
            raise GapFound(f"frame {frame.seq} of a turn came instead of {turn.next_seq}")
        if not expected:
            return
        self._starts.pop(frame.turn, None)
        self._feed(turn, frame)

    def _feed(self, turn: Turn, frame: TurnFrame) -> None:
        self.position = frame.position
        turn.feed(frame)
        if isinstance(frame, Done):
            self._forget(turn.id)

    def _overhear(self, frame: TurnFrame) -> None:
        """A frame of a turn that is not accepted here. It is no position: whoever asks for the turn on another
        connection has read nothing of it. Turns are told one after another, so one is kept at most, and until its end:
        whoever asks after that is told it anew.
        """
        if frame.seq == 0:
            self._overheard = Turn(frame.turn, _nobody)
        overheard = self._overheard
        if overheard is None or overheard.id != frame.turn:
            return
        if isinstance(frame, Done) or not overheard.expects(frame):
            self._overheard = None
        else:
            overheard.feed(frame)

    def _refused(self, frame: ErrorFrame) -> None:
        if frame.turn is None or self._find(frame.turn) is None:
            return
        turn = self._forget(frame.turn)
        after = (frame.retry_after_ms or 0) / 1000
        turn.fail(TurnRefused(frame.code, frame.message, retryable=frame.retryable, retry_after_s=after))

    def fail_all(self, error: ClientError) -> None:
        """End every turn for its caller."""
        for turn in self._turns.values():
            turn.fail(error)
        self._turns.clear()
        self._starts.clear()
        self._cancels.clear()
        self._speaking.clear()


async def _nobody(turn: str) -> None:
    """Nobody has asked for the turn here, so nobody cancels it."""
