"""The turns of one client that have not ended. Pure."""

from parley_client.errors import ClientError
from parley_client.turn import Turn
from parley_protocol.client import TurnStart


class UnderWay:
    """By their ids, until their end has been read or nobody waits for it any more."""

    def __init__(self) -> None:
        self._turns: dict[str, Turn] = {}
        self._starts: dict[str, TurnStart] = {}
        self._cancels: set[str] = set()
        self._speaking: set[str] = set()

    def begin(self, turn: Turn, start: TurnStart | None = None) -> None:
        """Remember a turn before its frame is sent; without one: that an earlier client of the session had started."""
        self._turns[turn.id] = turn
        if start is not None:
            self._starts[turn.id] = start

    def speak(self, turn: Turn) -> None:
        """Remember a turn that is being said on this connection."""
        self._turns[turn.id] = turn
        self._speaking.add(turn.id)

    def said(self, turn: str) -> None:
        """It has been said to its end: from here on it survives the connection."""
        self._speaking.discard(turn)

    def accepted(self, turn: str) -> None:
        """The server has it: it need not be sent again."""
        self._starts.pop(turn, None)

    def cancel(self, turn: str) -> None:
        """Remember that the turn is to end; nothing where it is over."""
        if turn in self._turns:
            self._cancels.add(turn)

    # --- what there is ----------------------------------------------------------------------------------------

    def get(self, turn: str) -> Turn | None:
        """The one of this id."""
        return self._turns.get(turn)

    @property
    def all(self) -> list[Turn]:
        """Every one."""
        return list(self._turns.values())

    @property
    def unsent(self) -> list[TurnStart]:
        """Turns not yet accepted, in order: sending one again is harmless, the same id is the same turn."""
        return list(self._starts.values())

    @property
    def pending(self) -> list[Turn]:
        """The others."""
        return [turn for id, turn in self._turns.items() if id not in self._starts]

    @property
    def speaking(self) -> list[Turn]:
        """Those that are being said on this connection."""
        return [self._turns[id] for id in self._speaking]

    @property
    def cancels(self) -> list[str]:
        """Turns to be cancelled and not over: asking for it again is harmless."""
        return sorted(self._cancels)

    # --- their end --------------------------------------------------------------------------------------------

    def forget(self, turn: str) -> Turn:
        """Its end is known."""
        self._starts.pop(turn, None)
        self._cancels.discard(turn)
        self._speaking.discard(turn)
        return self._turns.pop(turn)

    def give_up(self, turn: Turn, error: ClientError) -> None:
        """Wait for the end of ``turn`` no longer; what still comes of it is passed over."""
        if self._turns.get(turn.id) is turn:
            self.forget(turn.id)
        turn.fail(error)
