"""Events of workers, rows of the store and the passing of time, against one turn of a session."""

from parley_gateway.core.effects import Effect, SendPrefix, SendStop, Touch, Watch
from parley_gateway.core.entry import Entry, Phase
from parley_gateway.core.session import Session
from parley_gateway.core.turn import Verdict
from parley_protocol.control import Begin, Prefix
from parley_protocol.events import Event, Refusal, Snapshot, Terminal, TurnStatus
from parley_protocol.faults import FaultCode
from parley_runtime.store.ports import TurnRow

CONFLICT = "this turn id was used for another text; start the turn under a new id"
RECHECK_S = 1.0
"""A turn past its deadline whose row cannot be read is looked at again after this time."""

_DELIVERED = frozenset({Verdict.EXTENDED, Verdict.MARKED, Verdict.REPLACED})


def on_event(entry: Entry, fence: int, event: Event, sender: str, now: float) -> tuple[Verdict, list[Effect]]:
    """One event of a worker, in order of arrival."""
    session: Session = entry.session
    if isinstance(event, Refusal):
        return Verdict.DUPLICATE, _on_refusal(entry, event, now)
    effects = session.accept(entry, now)
    verdict = entry.turn.take(fence, event, now)
    if verdict in _DELIVERED:
        effects += _delivered(entry, event, now)
    elif verdict is Verdict.GAP:
        entry.watch.start(now, "gap")
    elif verdict is Verdict.FINISHED:
        effects += session.finish(entry, now)
    elif not isinstance(event, Terminal):
        effects += _stale(entry, verdict, sender)
    return verdict, effects


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
    if verdict in (Verdict.CLOSED, Verdict.FROZEN):
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
    """Raise the fence, then answer with the text delivered; a run that comes too late is stopped instead."""
    turn = entry.turn
    if turn.begin(begin.fence):
        text = turn.text if turn.known else None
        return [SendPrefix(begin.worker, Prefix(begin.key, begin.fence, gateway, text))]
    return [SendStop(turn.key, 0 if turn.closed or turn.frozen else turn.fence, begin.worker)]


def on_row(entry: Entry, row: TurnRow | None, now: float) -> list[Effect]:
    """The turn's row as just read; None where there is none (yet)."""
    session: Session = entry.session
    if entry.ended:
        return []
    if row is not None:
        if _conflicts(entry, row):
            return session.refuse(entry, FaultCode.CONFLICT, CONFLICT, now)
        entry.row_digest = row.digest
        if row.closed:
            entry.turn.close(terminal_of(row))
            return session.finish(entry, now)
        entry.turn.begin(row.fence)
    if not entry.checking:
        return []
    entry.checking = False
    return session.force(entry, TurnStatus.EXPIRED, now)


def on_row_unread(entry: Entry, now: float) -> list[Effect]:
    """The store did not answer: nothing is decided without it."""
    if entry.checking:
        entry.checking = False
        entry.deadline_at = now + RECHECK_S
    return []


def _conflicts(entry: Entry, row: TurnRow) -> bool:
    """Whether the row is of another text than this client's. A forced row (cancel, expiry) has no digest."""
    return entry.request is not None and bool(row.digest) and row.digest != entry.request.digest


def terminal_of(row: TurnRow) -> Terminal:
    """A closed row as the event that tells of it."""
    return Terminal(row.n, row.status, row.text, row.sources, row.usage, row.hops, row.fault, row.marks)


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
    if now >= entry.deadline_at and not entry.checking and entry.forced is None:
        entry.checking = True
        effects.append(Watch(entry, "deadline", attach=False))
    if now >= entry.watch.due:
        effects += _watch(entry, now)
    return effects


def _watch(entry: Entry, now: float) -> list[Effect]:
    if entry.phase in (Phase.QUEUED, Phase.PUBLISHING) and entry.forced is None:
        entry.watch.flowed(now)
        return []
    attach = entry.watch.fire(now)
    return [Watch(entry, entry.watch.cause, attach=attach)]


def watch_now(entry: Entry, now: float, cause: str) -> None:
    """Own reconnect, a pause of the loop, a resume: what was heard before may not be all."""
    if not entry.ended and entry.phase is not Phase.QUEUED:
        entry.watch.start(now, cause)
