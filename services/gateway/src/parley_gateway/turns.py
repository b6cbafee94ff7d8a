"""Turning what a client asks into a request of the session: checks with words that say what to do."""

import hashlib
import math
from typing import Any

import msgspec

from parley_gateway.config import GatewaySettings
from parley_gateway.core.entry import Request
from parley_protocol.client import TurnStart
from parley_protocol.faults import FaultCode, ProtocolError
from parley_protocol.ids import MAX_TURN_ID
from parley_protocol.work import ChatMessage, Sampling

ASK_AGAIN = "this gateway is going away; reconnect and send the turn again"
DEFAULT_KB = "default"
MAX_KB = 64
_digests = msgspec.msgpack.Encoder(order="deterministic")


def request_of(frame: TurnStart, settings: GatewaySettings) -> Request:
    """A typed turn. Raises ProtocolError ``invalid`` that names the field."""
    return make_request(
        frame.turn,
        frame.text,
        kb=frame.kb,
        context=frame.context,
        budget_s=budget_of(frame.deadline_ms, settings),
        max_text=settings.limits.max_text,
    )


def budget_of(deadline_ms: int | None, settings: GatewaySettings) -> float:
    """Seconds for a turn whose client asks for ``deadline_ms``. Raises ProtocolError ``invalid``."""
    if deadline_ms is None:
        return settings.turns.budget_s
    if deadline_ms <= 0:
        raise _invalid("deadline_ms must be above 0, or left out")
    return min(settings.turns.budget_s, deadline_ms / 1000)


def make_request(
    turn: str,
    text: str,
    *,
    kb: str | None,
    budget_s: float,
    max_text: int,
    context: dict[str, Any] | None = None,
    messages: tuple[ChatMessage, ...] = (),
    sampling: Sampling | None = None,
    engine: str = "",
    user: str = "",
    spoken: bool = False,
) -> Request:
    """A checked request. Raises ProtocolError ``invalid`` that names the field."""
    check_turn(turn)
    if not text.strip():
        raise _invalid("text is empty; ask something")
    if len(text) > max_text:
        raise _invalid(f"text has {len(text)} characters; {max_text} are the most")
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise _invalid("text holds half of a surrogate pair; send well-formed Unicode")
    name = kb or DEFAULT_KB
    if len(name) > MAX_KB:
        raise _invalid(f"kb has more than {MAX_KB} characters")
    if not math.isfinite(budget_s):
        raise _invalid("the deadline must be a number")
    chosen = sampling or Sampling()
    return Request(
        turn=turn,
        text=text,
        kb=name,
        budget_s=budget_s,
        digest=_digest(text, name, context, messages),
        context=context,
        messages=messages,
        sampling=chosen,
        engine=engine,
        user=user,
        spoken=spoken,
    )


def check_turn(turn: str) -> None:
    """Raises ProtocolError ``invalid`` unless ``turn`` can be a turn's id."""
    if not 1 <= len(turn) <= MAX_TURN_ID or not turn.isprintable():
        raise _invalid(f"turn must be 1 to {MAX_TURN_ID} printable characters")


def _digest(text: str, kb: str, context: dict[str, Any] | None, messages: tuple[ChatMessage, ...]) -> str:
    try:
        return hashlib.sha256(_digests.encode((text, kb, context, messages))).hexdigest()
    except (OverflowError, RecursionError, ValueError, TypeError):
        raise _invalid("context is nested too deeply or holds a number beyond 64 bits") from None


def _invalid(message: str) -> ProtocolError:
    return ProtocolError(FaultCode.INVALID, message)
