"""A turn as a session holds it: its acceptance, its views, and where it stands between the client and the store."""

import enum
from typing import Any

import msgspec

from parley_gateway.core.turn import Turn
from parley_gateway.core.view import Sink, View
from parley_gateway.core.watch import WatchSchedule
from parley_protocol.client import Latency
from parley_protocol.events import TurnStatus
from parley_protocol.work import ChatMessage, Early, Sampling


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """What a client asked. ``budget_s`` is the turn's deadline from the moment it is taken in."""

    turn: str
    text: str
    kb: str
    budget_s: float
    digest: str
    context: dict[str, Any] | None = None
    messages: tuple[ChatMessage, ...] = ()
    sampling: Sampling = Sampling()
    engine: str = ""
    user: str = ""
    spoken: bool = False
    """``text`` is the transcript, which is the turn's first item."""
    early: Early | None = None
    """What was found while it was being spoken. No part of what is asked."""

    def slim(self) -> "Request":
        """What is still asked of a turn that is over: whether it was this one."""
        return msgspec.structs.replace(self, text="", context=None, messages=(), early=None)


class Phase(enum.Enum):
    """``HEARING``: it is being spoken. ``QUEUED``: waits for the turns before it. ``PUBLISHING``: its job is on its
    way. ``RUNNING``: accepted. ``FOLLOWED``: begun at another gateway, or by one that has gone. ``ENDED``: closed, or
    never taken.
    """

    HEARING = "hearing"
    QUEUED = "queued"
    PUBLISHING = "publishing"
    RUNNING = "running"
    FOLLOWED = "followed"
    ENDED = "ended"


class Check(enum.Enum):
    """Why a fresh read of the row is awaited, after which an open turn is ended by force. ``DEADLINE``: its time is
    over. ``ABANDONED``: nobody follows it, here or at any other gateway.
    """

    NONE = "none"
    DEADLINE = "deadline"
    ABANDONED = "abandoned"


class Entry:
    """One turn of one session. Times are monotonic seconds, 0 for "not yet"."""

    __slots__ = (
        "abandoned",
        "accepted_at",
        "again",
        "cancel_by",
        "check_id",
        "checking",
        "closing",
        "deadline_at",
        "detached_fence",
        "due_at",
        "elsewhere",
        "ended_at",
        "first_at",
        "forced",
        "heard",
        "leave_at",
        "left",
        "others",
        "parent",
        "phase",
        "recorded",
        "recorded_at",
        "records",
        "request",
        "row_digest",
        "said_at",
        "session",
        "span",
        "started_at",
        "submissions",
        "turn",
        "views",
        "watch",
    )

    def __init__(self, session: Any, turn: Turn, request: Request | None, now: float, budget_s: float) -> None:
        self.session = session
        self.turn = turn
        self.request = request
        self.row_digest = ""
        """Digest of the stored row, where a row is known."""
        self.phase = Phase.QUEUED if request is not None else Phase.FOLLOWED
        self.views: list[View] = []
        self.others: tuple[Sink, ...] = ()
        """Sockets that did not ask, but are to be told if the turn is new: it may be known to be over elsewhere."""
        self.watch = WatchSchedule(now)
        self.submissions: tuple[str, ...] = ()
        """Under which it was published here, the latest last."""
        self.again = False
        self.started_at = now
        self.accepted_at = 0.0
        self.first_at = 0.0
        self.ended_at = 0.0
        self.deadline_at = now + budget_s
        self.checking, self.check_id = Check.NONE, 0
        """Another one for each check of the session; 0: none. A read answers the check that it was issued under."""
        self.detached_fence = 0
        """The run that nobody follows, while ``checking`` is ABANDONED."""
        self.abandoned = False
        """Ended by force because nobody followed it."""
        self.heard = 0
        """Code points of the text when the last socket of the session went away."""
        self.leave_at = 0.0
        """When workers are told, or told again, that nobody listens here; 0: somebody does, or turns run on."""
        self.left = False
        """They have been told: nothing is asked of them until somebody listens again."""
        self.elsewhere = False
        """Another gateway has taken the turn over from here."""
        self.forced: TurnStatus | None = None
        self.recorded = False
        """The forced record is confirmed: something durable ends the turn now, and its runs may be stopped."""
        self.recorded_at = 0.0
        """When it was confirmed last; 0 while one is on the way."""
        self.records = 0
        """Forced records confirmed so far."""
        self.closing = False
        """Its forced record is on the way."""
        self.cancel_by = 0.0
        """A cancel waits until then to learn what text was delivered; 0: none waits."""
        self.due_at = 0.0
        """When the shell has promised to look at this turn again."""
        self.span: Any = None
        self.parent: Any = None
        """What the span belongs to: the stream that the turn was spoken in."""
        self.said_at = 0.0
        """End of its speech; 0: it was typed."""

    @property
    def ended(self) -> bool:
        return self.phase is Phase.ENDED

    @property
    def submission(self) -> str:
        """The latest one; empty where it was not published here."""
        return self.submissions[-1] if self.submissions else ""

    def alone(self, leave_at: float) -> None:
        """The last socket of the session has gone."""
        self.heard = len(self.turn.text)
        self.leave_at = leave_at

    def check(self, why: Check) -> None:
        """Decide nothing before a read that is issued from now on."""
        self.checking = why
        self.session.checks += 1
        self.check_id = self.session.checks

    def checked(self) -> Check:
        """What was waited for; nothing is any more."""
        why, self.checking, self.check_id = self.checking, Check.NONE, 0
        return why

    def rejoin(self, now: float) -> None:
        """Somebody listens here again: what happened meanwhile is asked for."""
        if self.left or self.elsewhere:
            self.left = self.elsewhere = False
            if not self.ended and self.phase is not Phase.QUEUED:
                self.watch.flowed(now)  # a watch that has slowed down begins anew
                self.watch.start(now, "resume")

    def record_confirmed(self, now: float) -> None:
        """The broker has the forced record."""
        self.recorded = True
        self.recorded_at = now
        self.records += 1

    def latency(self, now: float) -> Latency:
        """Milliseconds since the turn was taken in."""

        def since(at: float) -> float:
            return round(max(0.0, at - self.started_at) * 1000, 3) if at else 0.0

        return Latency(accepted_ms=since(self.accepted_at), first_token_ms=since(self.first_at), total_ms=since(now))

    def due(self) -> float:
        """The next time at which something may have to be done without an event."""
        times = [self.watch.due]
        if self.turn.hold_until:
            times.append(self.turn.hold_until)
        if self.leave_at:
            times.append(self.leave_at)
        if self.checking is Check.NONE and self.forced is None:
            times.append(self.deadline_at)
        if self.cancel_by and self.forced is None:
            times.append(self.cancel_by)
        return min(times)
