"""Events of workers, rows of the store and the passing of time, against one turn of a session."""

from parley_gateway.core.effects import Effect, PublishRecord, SendLeave, SendPrefix, SendStop, TellOne, Touch, Watch
from parley_gateway.core.entry import Check, Entry, Phase
from parley_gateway.core.session import Session
from parley_gateway.core.turn import Verdict
from parley_gateway.core.view import Sink
from parley_protocol.client import Accepted
from parley_protocol.control import Begin, Prefix
from parley_protocol.events import Event, Refusal, Snapshot, Terminal, TurnStatus
from parley_protocol.faults import FaultCode
from parley_runtime.store.ports import TurnRow

CONFLICT = "this turn id was used for another text; start the turn under a new id"
NOBODY = "this turn was not taken: its client went away while it waited"
RECHECK_S = 1.0
"""A turn past its deadline whose row cannot be read is looked at again after this time."""
LEAVE_AGAIN_S = 10.0
"""A turn that was left and goes on is left again after this time: leaving may be lost, and a new run asks everybody."""
RECORDED_S = (5.0, 10.0, 20.0, 40.0, 60.0)
"""A forced record that was confirmed so long ago has closed its row, or has been lost with its queue. Each that follows
is given longer, the last wait repeats: it may be the recorder that is slow.
"""

_DELIVERED = frozenset({Verdict.EXTENDED, Verdict.MARKED, Verdict.REPLACED})


def on_event(entry: Entry, fence: int, event: Event, sender: str, now: float) -> tuple[Verdict, list[Effect]]:
    """One event of a worker, in order of arrival."""
    session: Session = entry.session
    if isinstance(event, Refusal):
        return Verdict.DUPLICATE, _on_refusal(entry, event, now)
    effects = _introduce(entry, fence, event) if entry.others else []
    effects += session.accept(entry, now)
    verdict = entry.turn.take(fence, event, now)
    if verdict in _DELIVERED:
        effects += _delivered(entry, event, now)
        if entry.turn.waits:
            watch_now(session.line[0], now, "gap")  # it has ended, or this one would not run
    elif verdict is Verdict.GAP:
        entry.watch.start(now, "gap")
    elif verdict is Verdict.FINISHED:
        effects += session.finish(entry, now)
    elif not isinstance(event, Terminal):
        effects += _stale(entry, verdict, sender)
    return verdict, effects


def _introduce(entry: Entry, fence: int, event: Event) -> list[Effect]:
    """Whether the session's other sockets are to hear of the turn. Only its own submission, or somebody who has read
    the row, brings a first run's items here: they are new. A later run asks every gateway, even if its turn is over.
    """
    if isinstance(event, Terminal):
        return _tell_others(entry, new=event.submission in entry.submissions)
    if isinstance(event, Snapshot):
        return [Watch(entry, "begun", attach=False)]
    return _tell_others(entry, new=True) if fence == 1 else []


def join(entry: Entry, sink: Sink) -> list[Effect]:
    """The socket, which did not ask for the turn, is told of it once it proves to be new."""
    entry.others = (*(other for other in entry.others if other is not sink), sink)
    terminal = entry.turn.terminal
    if not entry.ended or terminal is None:
        return []
    return _tell_others(entry, new=terminal.submission in entry.submissions)


def _tell_others(entry: Entry, *, new: bool) -> list[Effect]:
    session: Session = entry.session
    others, entry.others = entry.others, ()
    joining = [sink for sink in others if new and all(view.sink is not sink for view in entry.views)]
    for sink in joining:
        session.view(entry, sink)
    if not joining or entry.phase not in (Phase.RUNNING, Phase.ENDED):
        return []  # they hear with the others that the turn is taken
    return [*(TellOne(sink, Accepted(turn=entry.turn.key.turn)) for sink in joining), Touch(entry)]


def _delivered(entry: Entry, event: Event, now: float) -> list[Effect]:
    turn = entry.turn
    if turn.known:
        entry.watch.flowed(now)
        if turn.text and not entry.first_at:
            entry.first_at = now
    if isinstance(event, Snapshot) and event.ending:
        entry.watch.ending(now)
    if entry.cancel_by and turn.known:
        session: Session = entry.session
        return [Touch(entry), *session.force(entry, TurnStatus.CANCELLED, now)]
    return [Touch(entry)]


def _stale(entry: Entry, verdict: Verdict, sender: str) -> list[Effect]:
    if not sender:
        return []
    if verdict is Verdict.SUPERSEDED:
        return [SendStop(entry.turn.key, entry.turn.fence, sender)]
    if verdict is Verdict.CLOSED or (verdict is Verdict.FROZEN and entry.recorded):
        return [SendStop(entry.turn.key, 0, sender)]
    return []


def _on_refusal(entry: Entry, event: Refusal, now: float) -> list[Effect]:
    session: Session = entry.session
    if entry.ended or event.submission != entry.submission:
        return []
    return session.refuse(entry, _code(event.fault.code), event.fault.message, now)


def _code(text: str) -> FaultCode:
    try:
        return FaultCode(text)
    except ValueError:
        return FaultCode.FAILED


def on_begin(entry: Entry, begin: Begin, gateway: str) -> list[Effect]:
    """Raise the fence, then answer with the text delivered; a run that comes too late is stopped.

    A frozen turn answers too: who asks may be about to end it, and that record may come before ours. A run that asks is
    let be until our record is safe: its job may be the only message that can still end the turn.
    """
    turn = entry.turn
    raised = turn.begin(begin.fence)
    effects: list[Effect] = []
    if raised or (turn.frozen and not turn.closed):
        text = turn.text if turn.known else None
        effects.append(SendPrefix(begin.worker, Prefix(begin.key, begin.fence, gateway, text)))
    if not raised and (turn.closed or not turn.frozen or entry.recorded):
        effects.append(SendStop(turn.key, 0 if turn.closed or turn.frozen else turn.fence, begin.worker))
    return effects


def on_row(entry: Entry, row: TurnRow | None, now: float, *, fresh: bool = True) -> list[Effect]:
    """The turn's row as read; None where there is none (yet). ``fresh``: it was read for what is being checked, or
    later. An older read tells what has happened, but not that nothing has happened since: it ends no open turn.
    """
    session: Session = entry.session
    if entry.ended:
        return []
    check = entry.checked() if fresh else Check.NONE
    effects: list[Effect] = []
    if row is not None:
        if _conflicts(entry, row):
            return session.refuse(entry, FaultCode.CONFLICT, CONFLICT, now)
        entry.row_digest = row.digest
        # Nobody has read the end of an open one, and who had begun to read it here has asked for it.
        effects += _tell_others(entry, new=not row.closed or row.submission in entry.submissions)
        if row.closed:
            entry.turn.close(terminal_of(row))
            return [*effects, *session.finish(entry, now)]
        entry.turn.begin(row.fence)
    if check is Check.NONE:
        return [*effects, *_record_again(entry, now)]
    if check is Check.ABANDONED:
        if not _alone(entry) or entry.detached_fence < entry.turn.fence:
            return effects  # somebody has come back, or a newer run has begun that may be followed
        entry.abandoned = entry.forced is None
    return [*effects, *session.force(entry, TurnStatus.EXPIRED, now)]


def _record_again(entry: Entry, now: float) -> list[Effect]:
    """The row is open. A broker confirms what it put into a queue, and a queue can be deleted with what is in it."""
    if entry.forced is None or not entry.recorded_at:
        return []
    if now < entry.recorded_at + RECORDED_S[min(entry.records, len(RECORDED_S)) - 1]:
        return []
    entry.recorded_at = 0.0
    return [PublishRecord(entry, entry.forced)]


def on_row_unread(entry: Entry, now: float, *, fresh: bool = True) -> list[Effect]:
    """The store did not answer: nothing is decided without it. ``fresh`` as for :func:`on_row`."""
    if fresh and entry.checked() is Check.DEADLINE:
        entry.deadline_at = now + RECHECK_S
    return []


def on_detached(entry: Entry, fence: int) -> list[Effect]:
    """The owner of a turn that was left here says that no gateway follows its run with ``fence``: read the row and end
    the turn, unless the row knows of a newer run or somebody has come back.
    """
    waits = entry.checking is Check.NONE and entry.forced is None and not entry.ended
    if not waits or fence < entry.turn.fence or not _alone(entry):
        return []
    entry.check(Check.ABANDONED)
    entry.detached_fence = fence
    return [Watch(entry, "abandoned", attach=False)]


def _alone(entry: Entry) -> bool:
    session: Session = entry.session
    return entry.left and not session.sinks and not session.guests


def _conflicts(entry: Entry, row: TurnRow) -> bool:
    """Whether the row is of another text than this client's. One closed by force where nobody knew its text has
    no digest.
    """
    return entry.request is not None and bool(row.digest) and row.digest != entry.request.digest


def terminal_of(row: TurnRow) -> Terminal:
    """A closed row as the event that tells of it."""
    return Terminal(
        row.n,
        row.status,
        row.text,
        row.sources,
        row.usage,
        row.hops,
        row.fault,
        row.marks,
        row.submission,
        row.ending,
    )


def on_tick(entry: Entry, now: float) -> list[Effect]:
    """Call at ``entry.due()`` or later."""
    session: Session = entry.session
    turn = entry.turn
    if entry.ended:
        return []
    held = turn.hold_expired(now)
    if held is Verdict.FINISHED:
        return session.finish(entry, now)
    if held is Verdict.GAP:
        entry.watch.start(now, "gap")
    effects: list[Effect] = []
    if entry.cancel_by and now >= entry.cancel_by:
        effects += session.force(entry, TurnStatus.CANCELLED, now)
    if entry.leave_at and now >= entry.leave_at:
        effects += _leave(entry, now)
    if now >= entry.deadline_at and entry.checking is Check.NONE and entry.forced is None:
        entry.check(Check.DEADLINE)
        effects.append(Watch(entry, "deadline", attach=False))
    if now >= entry.watch.due:
        effects += _watch(entry, now)
    return effects


def _watch(entry: Entry, now: float) -> list[Effect]:
    if entry.phase in (Phase.HEARING, Phase.QUEUED, Phase.PUBLISHING) and entry.forced is None:
        entry.watch.flowed(now)
        return []
    watch = entry.watch
    attach = watch.fire(now) and not entry.left
    return [Watch(entry, watch.cause, attach=attach, taken=attach and watch.first and watch.cause == "resume")]


def _leave(entry: Entry, now: float) -> list[Effect]:
    """Nobody has listened here for the session's ``abandon_s``.

    A gateway does not know of the sockets of others, and must not end what one of them follows. The owner of the run
    knows: everybody who follows is on its list, and whoever is taken off by mistake comes back within the 2 s of a
    watch. So this gateway takes itself off, and ends the turn only once the owner says that its list has stayed empty
    (``Detached``). Silence ends nothing: then the turn runs on to its end or its deadline. A turn that waits for
    others of its session was promised to nobody, and is dropped.
    """
    session: Session = entry.session
    if entry.forced is not None:
        entry.leave_at = 0.0
        return []
    entry.leave_at = now + LEAVE_AGAIN_S
    if entry.phase is Phase.QUEUED and not entry.again:
        return session.refuse(entry, FaultCode.UNAVAILABLE, NOBODY, now)
    if entry.phase not in (Phase.RUNNING, Phase.FOLLOWED):
        return []
    entry.left = True
    return [SendLeave(entry.turn.key)]


def watch_now(entry: Entry, now: float, cause: str) -> None:
    """Own reconnect, a pause of the loop, a resume: what was heard before may not be all."""
    if not entry.ended and entry.phase not in (Phase.HEARING, Phase.QUEUED):
        entry.watch.start(now, cause)
