"""The shape of the native protocol's server frames, as its documentation gives it."""

from typing import Any, Final

STATUSES: Final = frozenset({"completed", "cancelled", "failed", "expired"})
TURN_FRAMES: Final[dict[str, tuple[tuple[str, type], ...]]] = {
    "turn.status": (("stage", str),),
    "transcript.partial": (("text", str),),
    "transcript.final": (("text", str),),
    "retrieval": (("intent", str), ("route", str), ("sources", list)),
    "answer.delta": (("text", str),),
    "turn.restarted": (("attempt", int),),
    "turn.done": (("status", str), ("text", str), ("sources", list), ("latency", dict)),
}
"""Frames with ``turn``, ``seq`` and ``position``, and their other fields."""
OTHERS: Final[dict[str, tuple[tuple[str, type], ...]]] = {
    "welcome": (("session", str), ("resumed", bool), ("gap", bool)),
    "turn.accepted": (("turn", str),),
    "error": (("code", str), ("message", str), ("retryable", bool)),
    "degraded": (("reason", str),),
    "restored": (),
    "draining": (("reconnect_in_ms", int),),
    "pong": (),
}


def flaw(frame: dict[str, Any]) -> str:
    """What is wrong with a frame's shape; "" where nothing is."""
    kind = frame.get("type")
    if kind in TURN_FRAMES:
        seq, turn, position = frame.get("seq"), frame.get("turn"), frame.get("position")
        if type(seq) is not int or seq < 0 or type(turn) is not str or type(position) is not str or not position:
            return f"{kind} without a proper turn, seq or position"
        fields = TURN_FRAMES[kind]
    elif kind in OTHERS:
        fields = OTHERS[kind]
    else:
        return f"a frame of type {kind!r}"
    for name, wanted in fields:
        if type(frame.get(name)) is not wanted:
            return f"{kind} without a proper {name}"
    if kind == "answer.delta" and not frame["text"]:
        return "an empty delta"
    if kind == "turn.done" and frame["status"] not in STATUSES:
        return f"turn.done with status {frame['status']!r}"
    return ""
