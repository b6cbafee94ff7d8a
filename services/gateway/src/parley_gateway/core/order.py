"""The turns of one session, one after another: each is published, and told of, when those before it have ended."""

from parley_gateway.core.effects import Effect, Ended, Publish, PublishRecord, Tell, Touch
from parley_gateway.core.entry import Entry, Phase
from parley_protocol.client import Accepted, ErrorFrame
from parley_protocol.events import TurnStatus
from parley_protocol.faults import RETRYABLE, FaultCode
from parley_protocol.ids import TurnId

UNHEARD = "this turn was ended before it had been heard; nothing was asked, and its id is free"
_UNHEARD = {TurnStatus.CANCELLED: FaultCode.CANCELLED, TurnStatus.EXPIRED: FaultCode.EXPIRED}


class Order:
    """The turns held, from being taken in to being forgotten."""

    __slots__ = ("entries", "line", "open")

    def __init__(self) -> None:
        self.entries: dict[TurnId, Entry] = {}
        self.open: list[Entry] = []
        self.line: list[Entry] = []
        """The open turns, and those that ended before an older one did: they are told of in this order."""

    def hold(self, entry: Entry, *, first: bool = False) -> None:
        """Take the turn in, behind the others, or before those that are still open."""
        entry.turn.waits = bool(self.line) and not first
        # In the session's order: what is still open comes after it.
        newer = {each.turn.key.turn: self.entries.pop(each.turn.key.turn) for each in self.open} if first else {}
        self.entries[entry.turn.key.turn] = entry
        self.entries |= newer
        self.open.append(entry)
        self.line.insert(0 if first else len(self.line), entry)

    def advance(self) -> list[Effect]:
        """Publish the first turn that is not over, or its forced end, where it has not been."""
        if not self.open:
            return []
        head = self.open[0]
        if head.phase is not Phase.QUEUED:
            return []
        if head.forced is not None:
            return self._close(head, head.forced)
        head.phase = Phase.PUBLISHING
        return [Publish(head)]

    def accept(self, entry: Entry, now: float) -> list[Effect]:
        """The job is confirmed, or an event shows that it was: say ``accepted``, once."""
        if entry.phase is not Phase.PUBLISHING:
            return []
        entry.phase = Phase.RUNNING
        entry.accepted_at = now
        if entry.turn.known:
            entry.watch.flowed(now)
        return [Tell(entry, Accepted(turn=entry.turn.key.turn))]

    def refuse(
        self, entry: Entry, code: FaultCode, message: str, now: float, *, retry_after_ms: int | None = None
    ) -> list[Effect]:
        """The turn was not taken: its clients are told and it is forgotten. A turn being ended by force stays."""
        if entry.ended or entry.forced is not None:
            return []
        entry.phase = Phase.ENDED
        entry.ended_at = now
        self.open.remove(entry)
        self.line.remove(entry)
        del self.entries[entry.turn.key.turn]
        frame = ErrorFrame(
            code=code.value,
            message=message,
            retryable=code in RETRYABLE,
            retry_after_ms=retry_after_ms,
            turn=entry.turn.key.turn,
        )
        return [Tell(entry, frame), *self._tell_on(), Ended(entry, taken=False), *self.advance()]

    def force(self, entry: Entry, status: TurnStatus, now: float) -> list[Effect]:
        """Freeze the output and have the turn closed as it stands; one that waits for others, when it comes to its
        turn. The row decides what its end is.
        """
        if entry.ended or entry.forced is not None:
            return []
        if entry.phase is Phase.HEARING:  # nothing stands for it anywhere: there is nothing to close
            return self.refuse(entry, _UNHEARD.get(status, FaultCode.FAILED), UNHEARD, now)
        entry.forced = status
        entry.turn.freeze()
        entry.watch.flowed(now)
        return self._close(entry, status)

    def _close(self, entry: Entry, status: TurnStatus) -> list[Effect]:
        """Once, and in order: rows are numbered as they are made, and a position says which were read."""
        if entry.closing or (entry.phase is Phase.QUEUED and entry is not self.open[0]):
            return []
        entry.closing = True
        return [PublishRecord(entry, status)]

    def finish(self, entry: Entry, now: float) -> list[Effect]:
        """The turn's terminal is in: exactly one ``done`` for each view, then the next turn's turn."""
        effects = self.accept(entry, now)
        entry.phase = Phase.ENDED
        entry.ended_at = now
        if entry.turn.text and not entry.first_at:
            entry.first_at = now
        entry.turn.latency = entry.latency(now)
        self.open.remove(entry)
        return [*effects, Touch(entry), *self._tell_on(), Ended(entry), *self.advance()]

    def forget(self, entry: Entry) -> None:
        """Drop a turn that is over; its row remains."""
        self.entries.pop(entry.turn.key.turn, None)

    def _tell_on(self) -> list[Effect]:
        """Let the turns speak for which nothing older is open any more."""
        effects: list[Effect] = []
        while self.line:
            head = self.line[0]
            if head.turn.waits:
                head.turn.waits = False
                effects.append(Touch(head))
            if not head.ended:
                break
            self.line.pop(0)
        return effects
