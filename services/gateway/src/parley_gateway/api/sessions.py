"""``/v1/sessions``: the engine's side of tutor sessions. Errors are ``{"detail": ...}``, as its clients know them."""

from collections.abc import Mapping
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from parley_gateway.api.http import JSON, body, decoded, route
from parley_gateway.dialects.tutor import SYSTEM
from parley_gateway.dialects.tutor_frames import engine_url
from parley_gateway.hub import Hub
from parley_gateway.identity import ANONYMOUS, Identity
from parley_protocol.faults import FaultCode, ProtocolError

MAX_STUDENT = 128
MAX_NUMBER = 2**53


class Wanted(msgspec.Struct):
    """A session that is asked for. Unknown fields are ignored."""

    tutor_id: int
    student_id: int | str
    kb_id: str | None = None


def routes(hub: Hub) -> list[BaseRoute]:
    """Begin, look at, delete."""
    return [
        route(hub, "/v1/sessions", {"POST": begin}, shape=detail, who=service),
        route(hub, "/v1/sessions/{session_id}", {"GET": show, "DELETE": end}, shape=detail, who=service),
    ]


def detail(_: str, message: str, __: bool) -> Mapping[str, Any]:
    """The shape of this dialect's errors."""
    return {"detail": message}


async def service(hub: Hub, token: str) -> Identity:
    """A service with a token of this installation, where tokens are in use and the dialect is not open."""
    return ANONYMOUS if SYSTEM in hub.settings.access.open_dialects else await hub.auth.identify(token)


async def begin(hub: Hub, request: Request, identity: Identity) -> Response:
    """``{"session_id", "engine_url", "engine_token", "status": "active"}``; 404 for an unknown base, 503 where full."""
    wanted = decoded(await body(request, hub.settings.limits.max_message, "PARLEY_MAX_MESSAGE"), Wanted)
    return JSON(await begun(hub, request, identity, wanted))


async def begun(hub: Hub, request: Request, identity: Identity, wanted: Wanted) -> dict[str, Any]:
    """The body of a new session. Raises as ``TutorDesk.begin``; ProtocolError where a field is out of range."""
    student = str(wanted.student_id)
    if not 0 <= wanted.tutor_id < MAX_NUMBER:
        raise ProtocolError(FaultCode.INVALID, "tutor_id must be a whole number, 0 or above")
    if not 1 <= len(student) <= MAX_STUDENT:
        raise ProtocolError(FaultCode.INVALID, f"student_id must have 1 to {MAX_STUDENT} characters")
    desk = hub.tutors
    session = await desk.begin(identity.tenant, tutor=wanted.tutor_id, student=student, kb=wanted.kb_id)
    token = desk.tokens.make(session)
    url = engine_url(hub.settings.tutor.websocket_url, request.headers, request.url.scheme, session, token)
    return {"session_id": session, "engine_url": url, "engine_token": token, "status": "active"}


async def show(hub: Hub, request: Request, identity: Identity) -> Response:
    """The session without its token."""
    row = await hub.tutors.session(identity.tenant, request.path_params["session_id"])
    student = int(row.student) if row.student.isdecimal() and len(row.student) < 16 else row.student
    named = {"session_id": row.id, "tutor_id": row.tutor, "student_id": student, "kb_id": row.kb}
    return JSON({**named, "status": row.state.value})


async def end(hub: Hub, request: Request, identity: Identity) -> Response:
    """``{"status": "deleted"}``; its sockets are closed."""
    await hub.tutors.end(identity.tenant, request.path_params["session_id"])
    return JSON({"status": "deleted"})
