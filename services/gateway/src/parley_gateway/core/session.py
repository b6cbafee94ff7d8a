"""A session: its turns, one after another, and the sockets that follow them.

A turn is published only after the one before it has closed (a bounded queue), and its sockets are told nothing of it
before that end, its own end included: a position names one turn. A second submission of a turn re-attaches to it, and
another text under its id is a conflict. A socket that goes away is no cancel: turns run on, or are left after a time.

A turn is told to whoever asked for it, and to the session's other sockets if it is new: one that was over before it was
asked for here may have been read by them at another gateway.
"""

from parley_gateway.core.effects import Effect, Opened, TellOne, Touch
from parley_gateway.core.entry import Entry, Phase, Request
from parley_gateway.core.order import Order
from parley_gateway.core.turn import Turn
from parley_gateway.core.view import Sink, View
from parley_protocol.client import Accepted
from parley_protocol.events import TurnStatus
from parley_protocol.faults import FaultCode, ProtocolError
from parley_protocol.ids import SessionId, Tenant, TurnId, TurnKey

FOLLOW_GRACE_S = 60.0
"""A turn begun elsewhere is given this much longer than a budget, since its start is not known here."""

LEARN_S = 0.5
"""How long a cancel waits for the owner of a turn that was begun elsewhere."""


class Session(Order):
    """State of one session at this gateway. ``sinks`` are its sockets, real or virtual."""

    __slots__ = ("abandon_s", "checks", "guests", "id", "max_open", "sinks", "tenant", "user")

    def __init__(self, id: SessionId, tenant: Tenant, user: str, *, max_open: int, abandon_s: float = 0.0) -> None:
        super().__init__()
        self.id = id
        self.tenant = tenant
        self.user = user
        self.max_open = max_open
        self.abandon_s = abandon_s
        """After so long without a socket here its turns are left, see ``flow``; 0: never."""
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
        self.hold(entry)
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
        self.hold(entry, first=over)
        return entry

    def _again(self, entry: Entry, request: Request, sink: Sink, now: float) -> list[Effect]:
        if entry.phase is Phase.HEARING:
            raise ProtocolError(FaultCode.CONFLICT, "this turn is being spoken; start another one under a new id")
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
