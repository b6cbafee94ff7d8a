"""A session: its turns, one after another, and the sockets that follow them.

A turn is published only after the one before it has closed (a bounded queue), and its sockets are told nothing of it
before that end, its own end included: a position names one turn. A second submission of a turn re-attaches to it, and
another text under its id is a conflict. A socket that goes away is no cancel: turns run on, or are left after a time.

A turn is told to whoever asked for it, and to the session's other sockets if it is new: one that was over before it was
asked for here may have been read by them at another gateway.
"""

from parley_gateway.core.effects import Effect, Ended, Opened, Publish, PublishRecord, Tell, TellOne, Touch
from parley_gateway.core.entry import Entry, Phase, Request
from parley_gateway.core.turn import Turn
from parley_gateway.core.view import Sink, View
from parley_protocol.client import Accepted, ErrorFrame
from parley_protocol.events import TurnStatus
from parley_protocol.faults import RETRYABLE, FaultCode, ProtocolError
from parley_protocol.ids import SessionId, Tenant, TurnId, TurnKey

FOLLOW_GRACE_S = 60.0
"""A turn begun elsewhere is given this much longer than a budget, since its start is not known here."""

LEARN_S = 0.5
"""How long a cancel waits for the owner of a turn that was begun elsewhere."""


class Session:
    """State of one session at this gateway. ``sinks`` are its sockets, real or virtual."""

    __slots__ = (
        "abandon_s",
        "checks",
        "entries",
        "guests",
        "id",
        "line",
        "max_open",
        "open",
        "sinks",
        "tenant",
        "user",
    )

    def __init__(self, id: SessionId, tenant: Tenant, user: str, *, max_open: int, abandon_s: float = 0.0) -> None:
        self.id = id
        self.tenant = tenant
        self.user = user
        self.max_open = max_open
        self.abandon_s = abandon_s
        """After so long without a socket here its turns are left, see ``flow``; 0: never."""
        self.entries: dict[TurnId, Entry] = {}
        self.open: list[Entry] = []
        self.line: list[Entry] = []
        """The open turns, and those that ended before an older one did: they are told of in this order."""
        self.sinks: list[Sink] = []
        self.guests = 0
        """Sockets that are about to be attached."""
        self.checks = 0
        """Made so far, of all its turns."""

    def key(self, turn: TurnId) -> TurnKey:
        """The turn's identity everywhere."""
        return TurnKey(self.tenant, self.id, turn)

    # --- sockets ----------------------------------------------------------------------------------------------

    def attach(self, sink: Sink) -> None:
        """The socket hears of turns started from now on."""
        if sink not in self.sinks:
            self.sinks.append(sink)
        for entry in self.open:
            entry.leave_at = 0.0

    def detach(self, sink: Sink, now: float) -> None:
        """The socket is gone. Turns run on; without any socket here, until ``abandon_s`` has passed."""
        if sink in self.sinks:
            self.sinks.remove(sink)
        for entry in self.entries.values():
            entry.views = [view for view in entry.views if view.sink is not sink]
            entry.others = tuple(other for other in entry.others if other is not sink)
        if not self.sinks:
            for entry in self.open:
                entry.alone(now + self.abandon_s if self.abandon_s else 0.0)

    def view(self, entry: Entry, sink: Sink) -> View:
        """The socket's view of the turn, from its first event where it has none yet."""
        for view in entry.views:
            if view.sink is sink:
                return view
        view = View(entry.turn, sink)
        entry.views.append(view)
        return view

    # --- what clients ask -------------------------------------------------------------------------------------

    def start(self, request: Request, sink: Sink, now: float, *, interrupt: bool = False) -> list[Effect]:
        """Take a turn in, after those that are open; ``interrupt`` cancels them. One that is known here is told to
        ``sink`` too, and interrupts nothing.

        Raises:
            ProtocolError: ``conflict`` (another text under this id) or ``overloaded`` (``max_open`` turns wait, or
                twice as many are open, those that are being ended included; then ``interrupt`` ends nothing either).
        """
        known = self.entries.get(request.turn)
        if known is not None:
            return self._again(known, request, sink, now)
        if len(self.open) >= 2 * self.max_open:
            raise ProtocolError(
                FaultCode.OVERLOADED, f"{len(self.open)} turns of this session have not ended yet; wait for one to end"
            )
        effects: list[Effect] = []
        if interrupt:
            for entry in tuple(self.open):
                effects += self.force(entry, TurnStatus.CANCELLED, now)
        waiting = sum(entry.forced is None for entry in self.open)
        if waiting >= self.max_open:
            raise ProtocolError(
                FaultCode.OVERLOADED, f"{waiting} turns of this session wait already; wait for one to end or cancel one"
            )
        entry = Entry(self, Turn(self.key(request.turn)), request, now, request.budget_s)
        self._hold(entry)
        entry.views = [View(entry.turn, each) for each in self.sinks if each is sink]
        entry.others = tuple(each for each in self.sinks if each is not sink)
        return [Opened(entry), *effects, *self.advance()]

    def cancel(self, turn: TurnId, now: float) -> list[Effect]:
        """End a turn with exactly the text delivered. One that is over already is left as it is; one whose text was
        delivered by another gateway is ended when its owner has told the text, or after :data:`LEARN_S`.

        Raises:
            ProtocolError: ``unknown_turn``.
        """
        entry = self.entries.get(turn)
        if entry is None:
            raise ProtocolError(FaultCode.UNKNOWN_TURN, "no such turn in this session; nothing was cancelled")
        if entry.turn.known or entry.ended:
            return self.force(entry, TurnStatus.CANCELLED, now)
        entry.cancel_by = entry.cancel_by or now + LEARN_S
        entry.watch.start(now, "cancel")
        return [Touch(entry)]

    def follow(self, turn: TurnId, fence: int, now: float, budget_s: float, *, over: bool = False) -> Entry:
        """Hold a turn that was begun at another gateway, in the order of the calls; its text is not known yet. One
        whose row is closed (``over``) is older than any that is open, and is told of first.
        """
        entry = Entry(self, Turn(self.key(turn), fence=fence, known=False), None, now, budget_s + FOLLOW_GRACE_S)
        self._hold(entry, first=over)
        return entry

    def _hold(self, entry: Entry, *, first: bool = False) -> None:
        entry.turn.waits = bool(self.line) and not first
        # In the session's order: what is still open comes after it.
        newer = {each.turn.key.turn: self.entries.pop(each.turn.key.turn) for each in self.open} if first else {}
        self.entries[entry.turn.key.turn] = entry
        self.entries |= newer
        self.open.append(entry)
        self.line.insert(0 if first else len(self.line), entry)

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

    def _again(self, entry: Entry, request: Request, sink: Sink, now: float) -> list[Effect]:
        digest = entry.request.digest if entry.request is not None else entry.row_digest
        if digest and digest != request.digest:
            raise ProtocolError(
                FaultCode.CONFLICT, "this turn id was used for another text; start the turn under a new id"
            )
        if (view := self.view(entry, sink)).done:  # whoever asks waits for an end: tell it anew, from the start
            entry.views.remove(view)
            self.view(entry, sink)
        entry.rejoin(now)
        if entry.request is None and not digest and not entry.ended:
            # Nobody knows whether its first gateway got to publish it: publish it; the store lets only one run.
            entry.request = request
            entry.phase = Phase.QUEUED
            entry.again = True
            entry.deadline_at = now + request.budget_s
            return self.advance()
        effects: list[Effect] = [Touch(entry)]
        if entry.phase in (Phase.RUNNING, Phase.FOLLOWED, Phase.ENDED):
            effects.insert(0, TellOne(sink, Accepted(turn=request.turn)))
        return effects

    # --- order ------------------------------------------------------------------------------------------------

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
