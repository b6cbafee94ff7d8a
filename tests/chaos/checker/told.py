"""Rules over what clients are told, frame by frame."""

from collections.abc import Callable
from typing import Final

from ..history import Received
from .frames import TURN_FRAMES, flaw
from .parties import Client, Session
from .state import State
from .tracks import Frame, Socket
from .turns import own, turn_frame

WINDOW_S: Final = 600.0
"""How long a client may be away and still get exactly what it missed."""
REFUSALS: Final = frozenset({"overloaded", "unavailable", "conflict", "unknown_turn"})
"""Codes that refuse something the clients of a run may well do. They send no frame that is wrong by itself, and no rate
is set.
"""


def received(state: State, received: Received) -> None:
    """Any frame that a client has read."""
    client, frame, at = state.client(received.client), received.frame, received.at
    state.findings.note(received)
    state.counts["frames"] += 1
    socket = client.socket(received.socket)
    if wrong := flaw(frame):
        state.breach("malformed", client, str(frame.get("turn", "")), at, wrong)
        return
    kind = frame["type"]
    if kind in TURN_FRAMES:
        turn_frame(state, client, socket, frame, kind, at)
    elif kind in _PLAIN:
        _PLAIN[kind](state, client, socket, frame, at)


def _welcome(state: State, client: Client, socket: Socket, frame: Frame, at: float) -> None:
    hello = socket.hello or {}
    asked, given = hello.get("session"), str(frame["session"])
    session = state.sessions.setdefault(given, client.session if client.session.id in ("", given) else Session())
    if asked is not None and asked != given:
        state.breach("session-lost", client, "", at, "the session that hello named was not taken up")
    elif frame["gap"]:
        _gap(state, client, socket, hello, at)
    client.join(session, given)
    socket.gap = bool(frame["gap"])
    state.counts["resumes"] += asked is not None


def _gap(state: State, client: Client, socket: Socket, hello: Frame, at: float) -> None:
    state.counts["gaps said"] += 1
    read_at = client.read_at(str(hello.get("position")))
    if read_at is not None and at - read_at < WINDOW_S:
        turn = socket.base[0] if socket.base is not None else ""
        state.breach("early-gap", client, turn, at, f"gap said {at - read_at:.1f} s after the position was read")


def _accepted(state: State, client: Client, socket: Socket, frame: Frame, at: float) -> None:
    turn = frame["turn"]
    if not own(state, client, turn, at, "turn.accepted"):
        return
    track, session = state.track(client, turn), client.session
    track.accepted += 1
    if turn in socket.starts:
        track.ask_again(socket)  # it may have been sent before its end was read
    if track.accepted_at is None:
        track.accepted_at = at
    if not session.partial and track.accepted > session.starts[turn]:
        what = f"{track.accepted} times accepted, {session.starts[turn]} times asked"
        state.breach("accepted-twice", client, turn, at, what)


def _error(state: State, client: Client, socket: Socket, frame: Frame, at: float) -> None:
    code, turn = frame["code"], frame.get("turn")
    state.counts[f"refused {code}"] += 1
    if code not in REFUSALS:
        state.breach("error", client, str(turn or ""), at, f"{code}: {frame['message']}")
    if code == "overloaded" and not frame.get("retry_after_ms"):
        state.breach("retry-time", client, str(turn or ""), at, "overloaded without retry_after_ms")
    track = client.tracks.get(turn) if turn is not None else None
    if track is None or code == "unknown_turn" or track.end is not None:
        return
    if code == "conflict" or not track.spoken:
        track.refused = code
        client.line.pop(track.turn, None)


def _degraded(state: State, client: Client, socket: Socket, frame: Frame, at: float) -> None:
    state.counts["degraded"] += 1
    if socket.degraded:
        state.breach("outage-pair", client, "", at, "degraded was said twice without restored between")
    socket.degraded = True


def _restored(state: State, client: Client, socket: Socket, frame: Frame, at: float) -> None:
    if not socket.degraded and not socket.unknown:
        state.breach("outage-pair", client, "", at, "restored was said without degraded before")
    socket.degraded = False


_PLAIN: Final[dict[str, Callable[[State, Client, Socket, Frame, float], None]]] = {
    "welcome": _welcome,
    "turn.accepted": _accepted,
    "error": _error,
    "degraded": _degraded,
    "restored": _restored,
}
