"""What an HTTP status of an OpenAI-compatible server means to us.

A server's own words may quote the prompt, so only its error code is passed on.
"""

import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import msgspec

from parley_runtime.errors import EngineError, EngineRejected

_CODE = re.compile(r"[A-Za-z0-9_.\- ]{1,64}")
_TOO_LONG = re.compile(
    rb"context.{0,40}(?:length|window|size)|maximum.{0,40}tokens|too (?:long|many tokens)", re.I | re.S
)
_RETRYABLE = frozenset({408, 409, 425, 429})
_HINTS = {
    401: "the key was refused: set PARLEY_OPENAI_API_KEY",
    403: "the key may not do this: check PARLEY_OPENAI_API_KEY",
    404: "no such model or path: check PARLEY_OPENAI_MODEL, and that PARLEY_OPENAI_BASE_URL ends in /v1 or the like",
    405: "no chat completions at this path: check PARLEY_OPENAI_BASE_URL",
    413: "the prompt is too large for the server",
}


def explain(status: int, body: bytes, where: str, retry_after_s: float) -> EngineError | EngineRejected:
    """The error for a ``status`` that is not 200."""
    code = _code(body)
    said = f"{where} answered HTTP {status}" + (f" ({code})" if code else "")
    if status == 429:
        return EngineError(f"{said}: too many requests; lower PARLEY_SEATS if this lasts", retry_after_s=retry_after_s)
    if status >= 500 or status in _RETRYABLE:
        return EngineError(said, retry_after_s=retry_after_s)
    if 300 <= status < 400:
        return EngineRejected(f"{said}: it redirects; set PARLEY_OPENAI_BASE_URL to the final address")
    if status < 300:
        return EngineRejected(f"{said}: not an answer to a chat completion; check PARLEY_OPENAI_BASE_URL")
    if _TOO_LONG.search(body):
        return EngineRejected(f"{said}: the prompt is longer than the model's context")
    return EngineRejected(f"{said}: {_HINTS.get(status, 'the server refuses the request itself')}")


def retry_after(value: str, now: datetime | None = None) -> float:
    """Seconds that a Retry-After header asks for (RFC 9110, section 10.2.3); 0 where it says nothing usable."""
    value = value.strip()
    if value.isdigit():
        return float(min(int(value), 86_400))
    try:
        when = parsedate_to_datetime(value)
    except (ValueError, TypeError):
        return 0.0
    if when.tzinfo is None:
        when = when.replace(tzinfo=UTC)
    return max(0.0, (when - (now or datetime.now(UTC))).total_seconds())


def _code(body: bytes) -> str:
    try:
        error = msgspec.json.decode(body)["error"]
        code = str(error.get("code") or error.get("type") or "")
    except (msgspec.DecodeError, KeyError, TypeError, AttributeError):
        return ""
    return code if _CODE.fullmatch(code) else ""
