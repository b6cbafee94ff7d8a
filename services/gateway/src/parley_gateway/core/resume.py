"""``hello`` with a session: which turns a returning client has to hear of, and from where."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from parley_gateway.core import flow
from parley_gateway.core.effects import Effect, Opened, Touch
from parley_gateway.core.entry import Entry
from parley_gateway.core.session import Session
from parley_gateway.core.view import Sink
from parley_protocol.ids import TurnId
from parley_protocol.position import Position
from parley_runtime.store.ports import TurnRow


@dataclass(slots=True)
class Resumption:
    """``gap``: something the client asks about is known neither here nor to the store, could not be read, or its window
    has passed. Then the socket's views begin anew: the first frame of each turn has ``seq`` 0.
    """

    gap: bool = False
    effects: list[Effect] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Returning:
    """What the client says, what the store said (``after``: the turns after the position's), and now."""

    position: Position | None
    pending: Sequence[TurnId]
    rows: Mapping[TurnId, TurnRow | None]
    """Of the turns that the store was asked for; None where it has no row."""
    after: Sequence[TurnRow]
    now: float
    window_s: float
    budget_s: float
    over: frozenset[TurnId]
    """What :func:`over` gave before the store was asked."""
    gap: bool = False
    """Something that the client asks about could not be read."""


def to_read(session: Session, position: Position | None, pending: Sequence[TurnId]) -> list[TurnId]:
    """Turns whose rows must be read before the client is answered: those not known here to be over."""
    asked = [position.turn, *pending] if position is not None else list(pending)
    # A turn that runs on here may have been told to its end elsewhere.
    running = [entry.turn.key.turn for entry in session.open if entry.turn.key.turn not in asked]
    return [turn for turn in dict.fromkeys(asked) if not _is_over(session, turn)] + running


def over(session: Session) -> frozenset[TurnId]:
    """Turns known here to be over. Take it before the store is asked: their rows are closed by then, so that the store
    knows which of them began after the position.
    """
    return frozenset(turn for turn, entry in session.entries.items() if entry.ended)


def _is_over(session: Session, turn: TurnId) -> bool:
    return turn in session.entries and session.entries[turn].ended


def resume(session: Session, sink: Sink, client: Returning) -> Resumption:
    """Give the socket its views. Send ``welcome`` before carrying out the effects."""
    result = Resumption(client.gap)
    position = client.position
    if position is not None:
        _position(session, sink, position, client, result)
    for turn in client.pending:
        if position is None or turn != position.turn:
            _follow(session, sink, turn, client.rows.get(turn), client, result)
    for after in client.after:
        _follow(session, sink, after.key.turn, after, client, result)
    for entry in _later(session, client, result):
        row = client.rows.get(entry.turn.key.turn)
        if not result.gap and _came_meanwhile(entry, client):
            result.effects += flow.join(entry, sink)
        elif result.gap or not _was_read(entry, row, client):
            entry.rejoin(client.now)
            session.view(entry, sink)
            result.effects.append(Touch(entry))
        if row is not None:
            result.effects += flow.on_row(entry, row, client.now, fresh=False)
    return result


def _came_meanwhile(entry: Entry, client: Returning) -> bool:
    """Whether somebody else asked here for the turn while the store was asked: its row was not read. It may be new, or
    over for long, and then the client may have read it before its position.
    """
    turn = entry.turn.key.turn
    if client.position is None or turn == client.position.turn or turn in client.pending:
        return False
    return turn not in client.rows and all(after.key.turn != turn for after in client.after)


def _was_read(entry: Entry, row: TurnRow | None, client: Returning) -> bool:
    """Whether the client read the end of a turn that is open here: at another gateway, before its position."""
    position, turn = client.position, entry.turn.key.turn
    if position is None or turn in client.pending or any(after.key.turn == turn for after in client.after):
        return False
    if turn == position.turn:
        return position.done
    return row is not None and row.closed


def _position(session: Session, sink: Sink, position: Position, client: Returning, result: Resumption) -> None:
    row = client.rows.get(position.turn)
    entry = session.entries.get(position.turn)
    if entry is None and row is None and position.turn not in client.pending:
        result.gap = True  # nor is it known what came after it
        return
    if position.done:
        return
    entry = _follow(session, sink, position.turn, row, client, result)
    if position.at > len(entry.turn.text) and entry.turn.known and not entry.turn.frozen:
        # Asked here too, but answered through another gateway: its text is yet to be told.
        entry.turn.known = False
        for view in entry.views:
            view.doubt()
        flow.watch_now(entry, client.now, "resume")
    if row is not None and row.closed and row.closed_ago_s >= client.window_s:
        result.gap = True
    if not result.gap:
        session.view(entry, sink).resume(position)


def _follow(
    session: Session, sink: Sink, turn: TurnId, row: TurnRow | None, client: Returning, result: Resumption
) -> Entry:
    entry = session.entries.get(turn)
    if entry is None:
        entry = _begin(session, turn, row, client.now, client.budget_s)
        result.effects.append(Opened(entry))
    entry.rejoin(client.now)
    session.view(entry, sink)
    result.effects.append(Touch(entry))
    if row is not None:
        result.effects += flow.on_row(entry, row, client.now, fresh=False)
    return entry


def _begin(session: Session, turn: TurnId, row: TurnRow | None, now: float, budget_s: float) -> Entry:
    over = row is not None and row.closed
    entry = session.follow(turn, row.fence if row is not None else 1, now, budget_s, over=over)
    flow.watch_now(entry, now, "resume")
    return entry


def hold(session: Session, turn: TurnId, row: TurnRow, now: float, budget_s: float) -> list[Effect]:
    """Have a turn held here that is not, and that the store knows."""
    entry = _begin(session, turn, row, now, budget_s)
    return [Opened(entry), *flow.on_row(entry, row, now, fresh=False)]


def _later(session: Session, client: Returning, result: Resumption) -> list[Entry]:
    """Turns known here that ran on when the store was asked, or have begun since. What had ended before is in ``after``
    if the client is to hear of it.

    After a gap that cannot be relied on: then whatever stands behind the position's turn here is told. That order is
    this gateway's own, since a turn that ended elsewhere is held only once somebody asks for it.
    """
    entries = list(session.entries.values())
    if not result.gap:
        return [entry for entry in entries if entry.turn.key.turn not in client.over]
    turns = [entry.turn.key.turn for entry in entries]
    first = len(turns)
    if client.position is not None and client.position.turn in turns:
        first = turns.index(client.position.turn) + 1
    return entries[first:] + [entry for entry in entries[:first] if not entry.ended]
