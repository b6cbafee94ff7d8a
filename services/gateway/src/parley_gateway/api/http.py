"""What the HTTP routes share: who asks, bounded bodies, errors in one shape, a counter per route."""

import contextlib
import math
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from parley_gateway.auth import credential
from parley_gateway.hub import Hub
from parley_gateway.identity import Identity
from parley_protocol.faults import RETRYABLE, FaultCode, ProtocolError
from parley_runtime.errors import EngineError, Overloaded, ParleyError, Retryable
from parley_runtime.telemetry import names
from parley_runtime.telemetry.logging import get_logger
from parley_runtime.telemetry.metrics import counter

log = get_logger("parley.http")

T = TypeVar("T")

MAX_DIGITS = 12
"""Digits of a number that a client may send; Python refuses to read very long ones."""
Handler = Callable[[Hub, Request, Identity], Awaitable[Response]]
Shape = Callable[[str, str, bool], Mapping[str, Any]]
"""(code, message, retryable) as the body of an error."""
Who = Callable[[Hub, str], Awaitable[Identity]]
"""Who asks, by the token; raises ProtocolError where he may not."""

STATUS: Mapping[FaultCode, int] = {
    FaultCode.BAD_FRAME: 400,
    FaultCode.INVALID: 400,
    FaultCode.UNAUTHORIZED: 401,
    FaultCode.FORBIDDEN: 403,
    FaultCode.NOT_FOUND: 404,
    FaultCode.UNKNOWN_KB: 404,
    FaultCode.UNKNOWN_TURN: 404,
    FaultCode.CONFLICT: 409,
    FaultCode.TOO_LARGE: 413,
    FaultCode.RATE_LIMITED: 429,
    FaultCode.OVERLOADED: 503,
    FaultCode.UNAVAILABLE: 503,
    FaultCode.EXPIRED: 504,
    FaultCode.ABANDONED: 504,
    FaultCode.ENGINE_FAILED: 502,
    FaultCode.UNSUPPORTED: 400,
}
"""HTTP status of a fault; 500 for the others."""


def plain_error(code: str, message: str, retryable: bool) -> Mapping[str, Any]:
    """Parley's own shape."""
    return {"error": {"code": code, "message": message, "retryable": retryable}}


class JSON(Response):
    """A JSON answer by msgspec, structs included."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        return msgspec.json.encode(content)


def refusal(code: FaultCode, message: str, shape: Shape, *, retry_after_s: float = 0.0) -> Response:
    """An error as an answer."""
    retryable = code in RETRYABLE
    headers = {"Retry-After": str(max(1, math.ceil(retry_after_s)))} if retryable else {}
    if code is FaultCode.UNAUTHORIZED:
        headers["WWW-Authenticate"] = "Bearer"
    return JSON(shape(code.value, message, retryable), STATUS.get(code, 500), headers=headers)


async def anyone(hub: Hub, token: str) -> Identity:
    """Whoever a token stands for, where tokens are in use."""
    return await hub.auth.identify(token)


async def owner(hub: Hub, token: str) -> Identity:
    """The owner, who always needs a token."""
    identity = await hub.auth.demand(token)
    if not identity.owner:
        raise ProtocolError(FaultCode.FORBIDDEN, "this needs a token whose claim owner is true")
    return identity


def route(
    hub: Hub, path: str, methods: Mapping[str, Handler], *, shape: Shape = plain_error, who: Who = anyone
) -> Route:
    """A route whose handlers are given the identity of the asker; their errors become answers of ``shape``.

    A ParleyError or ProtocolError keeps its words; anything else is logged whole and answered with ``failed``.
    """

    async def endpoint(request: Request) -> Response:
        response = await _answer(hub, request, methods[_method(request)], shape, who)
        counter(names.HTTP_REQUESTS).labels(path, str(response.status_code)).inc()
        return response

    return Route(path, endpoint, methods=list(methods))


def unrouted(_: Request, error: Exception) -> Response:
    """A path that nothing is served at, or a method that it does not take, in the shape of every other error, and with
    the ``detail`` that clients of the documented systems read.
    """
    assert isinstance(error, HTTPException)
    code, text = FaultCode.INVALID, f"{error.detail}: this path takes other methods"
    if error.status_code == 404:
        code, text = (
            FaultCode.NOT_FOUND,
            "nothing is served at this path; is a name in it encoded, and is it one of /v1?",
        )
    counter(names.HTTP_REQUESTS).labels("none", str(error.status_code)).inc()
    shown = {**plain_error(code.value, text, False), "detail": text}
    return JSON(shown, error.status_code, headers=error.headers)


def _method(request: Request) -> str:
    return "GET" if request.method == "HEAD" else request.method


async def _answer(hub: Hub, request: Request, handler: Handler, shape: Shape, who: Who) -> Response:
    try:
        token = credential(request.headers, [], request.scope.get("query_string", b""))
        return await handler(hub, request, await who(hub, token))
    except ProtocolError as error:
        return refusal(error.code, str(error), shape)
    except ParleyError as error:
        after = (
            error.retry_after_s if isinstance(error, Overloaded | EngineError) else float(isinstance(error, Retryable))
        )
        return refusal(error.code, str(error), shape, retry_after_s=after)
    except ClientDisconnect:
        return Response(status_code=499)
    except Exception:
        log.exception("request failed on a defect", path=request.url.path)
        return refusal(FaultCode.FAILED, "the request failed on a defect of the server; its log says more", shape)


async def body(request: Request, limit: int, setting: str) -> bytes:
    """The whole body. Raises ProtocolError ``too_large`` as soon as it is known to exceed ``limit`` bytes."""
    too_large = ProtocolError(FaultCode.TOO_LARGE, f"the body has more than {limit:,} bytes; see {setting}")
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and (len(declared) > MAX_DIGITS or int(declared) > limit):
        raise too_large
    parts: list[bytes] = []
    size = 0
    async with contextlib.aclosing(request.stream()) as stream:
        async for part in stream:
            size += len(part)
            if size > limit:
                raise too_large
            parts.append(part)
    return b"".join(parts)


def decoded(data: bytes, kind: type[T]) -> T:
    """JSON as ``kind``. Raises ProtocolError ``bad_frame`` that names the field."""
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise ProtocolError(FaultCode.BAD_FRAME, f"the body cannot be taken: {str(error)[:200]}") from error
    except RecursionError:
        raise ProtocolError(FaultCode.BAD_FRAME, "the body is nested too deeply") from None


def number(request: Request, name: str, default: int, most: int) -> int:
    """A query parameter between 1 and ``most``. Raises ProtocolError ``invalid``."""
    raw = request.query_params.get(name, "")
    if not raw:
        return default
    if not raw.isdecimal() or len(raw) > MAX_DIGITS or not 1 <= int(raw) <= most:
        raise ProtocolError(FaultCode.INVALID, f"{name} must be a whole number from 1 to {most}")
    return int(raw)


def owner_only(hub: Hub, identity: Identity) -> None:
    """Raises ProtocolError ``forbidden`` where tokens are in use and this one is not the owner's."""
    if hub.auth.required and not identity.owner:
        raise ProtocolError(FaultCode.FORBIDDEN, "this needs a token whose claim owner is true")
