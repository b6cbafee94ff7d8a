"""What a client must remember to come back: session, position and the turns under way. Pure: no I/O, no waiting."""

from typing import Protocol

from parley_client.errors import ClientError, TurnLost, TurnRefused
from parley_client.options import Sound
from parley_client.turn import Turn
from parley_client.underway import UnderWay
from parley_protocol.client import Accepted, Done, ErrorFrame, Hello, ServerFrame, TurnFrame, Welcome
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
        self.turns = UnderWay()
        self._overheard: Turn | None = None
        """What this connection was told of a turn before it was asked for here: the server goes on where it is."""

    def hello(self) -> Hello:
        """The first frame of the next connection."""
        self._overheard = None  # the next one is told it from its start
        for turn in self.turns.speaking:
            self.turns.give_up(turn, TurnLost(_UNSAID))
        pending = tuple(turn.id for turn in self.turns.pending)
        return Hello(session=self.session, position=self.position, pending=pending, token=self.token)

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
        self.turns.accepted(id)
        if (turn := self._find(id)) is None:
            return
        self.turns.said(id)
        if (overheard := self._overheard) is not None and overheard.id == id:
            self._overheard = None
            for frame in overheard.take():
                self._feed(turn, frame)
        turn.accepted.set()
        turn.taken.set()

    def _find(self, id: str) -> Turn | None:
        """A turn that is known here, or becomes so as one that is being said."""
        if self.turns.get(id) is None:
            joined = next((turn for talk in self.talks if (turn := talk.join(id)) is not None), None)
            if joined is not None:
                self.turns.speak(joined)
        return self.turns.get(id)

    def _begin_anew(self) -> None:
        """The server gave another session: nothing more will be heard of what it had accepted in the old one."""
        self.position = None
        why = "the server does not know this session any more, so this turn's end cannot be read; ask again"
        for turn in self.turns.pending:
            self.turns.give_up(turn, TurnLost(why))

    def _rebase(self) -> None:
        """After a gap the server may number anew and send what it knows from the start."""
        self.position = None
        for turn in self.turns.all:
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
        self.turns.accepted(frame.turn)
        self._feed(turn, frame)

    def _feed(self, turn: Turn, frame: TurnFrame) -> None:
        self.position = frame.position
        turn.feed(frame)
        if isinstance(frame, Done):
            self.turns.forget(turn.id)

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
        turn = self.turns.forget(frame.turn)
        after = (frame.retry_after_ms or 0) / 1000
        turn.fail(TurnRefused(frame.code, frame.message, retryable=frame.retryable, retry_after_s=after))


async def _nobody(turn: str) -> None:
    """Nobody has asked for the turn here, so nobody cancels it."""
