"""``/api/tutors/*``: the web side of tutor sessions, for administrators with a token; and ``/v1/tutors``, where the
owner keeps the tutors.
"""

from collections.abc import Mapping
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from parley_gateway.api.http import JSON, MAX_DIGITS, body, decoded, number, owner, route
from parley_gateway.api.sessions import MAX_STUDENT, Wanted, begun
from parley_gateway.hub import Hub
from parley_gateway.identity import Identity
from parley_protocol.faults import FaultCode, ProtocolError
from parley_runtime.errors import NotFound, Overloaded, ParleyError, Unavailable
from parley_runtime.store.tutor_ports import SessionState, TutorSession
from parley_runtime.telemetry.logging import get_logger

log = get_logger("parley.tutor")

MAX_BODY = 65_536
MAX_NAME = 200
MAX_ADMIN = 256
BOUND = "a request of this kind is small"


class Asked(msgspec.Struct):
    """What may stand in the body or in the query."""

    student_id: int | str | None = None
    kb_id: str | None = None


class NewTutor(msgspec.Struct):
    """A tutor to be added."""

    admin: str
    name: str = ""


def routes(hub: Hub) -> list[BaseRoute]:
    """The web side, and the list of tutors."""
    return [
        route(hub, "/api/tutors/{tutor_id}/sessions", {"POST": begin}, shape=web, who=admin),
        route(hub, "/api/tutors/sessions/{session_id}", {"DELETE": end}, shape=web, who=admin),
        route(hub, "/v1/tutors", {"GET": tutors, "POST": add}, who=owner),
        route(hub, "/v1/tutors/{tutor_id}", {"DELETE": remove}, who=owner),
    ]


def web(code: str, message: str, _: bool) -> Mapping[str, Any]:
    """The shape of the web side's errors."""
    return {"detail": "Not authenticated" if code == FaultCode.UNAUTHORIZED else message}


async def admin(hub: Hub, token: str) -> Identity:
    """An administrator, who always needs a token."""
    return await hub.auth.demand(token)


# --- the web side ---------------------------------------------------------------------------------------------


async def begin(hub: Hub, request: Request, identity: Identity) -> Response:
    """The engine's answer: a new session of one of the caller's tutors."""
    tutor = await _tutor(hub, request, identity)
    asked = await _asked(request)
    student = "" if asked.student_id is None else str(asked.student_id)
    if not 1 <= len(student) <= MAX_STUDENT:
        raise ProtocolError(FaultCode.INVALID, f"student_id is required, with 1 to {MAX_STUDENT} characters")
    try:
        if hub.settings.tutor.engine_url:
            session = await hub.engine.begin(tutor, student, asked.kb_id)
        else:
            wanted = Wanted(tutor_id=tutor, student_id=student, kb_id=asked.kb_id)
            session = await begun(hub, request, identity, wanted)
    except ParleyError as error:
        raise _engine_error(error) from None
    id = session["session_id"]
    try:
        await hub.store.tutors.grant(identity.tenant, id, tutor=tutor, student=student, admin=identity.user)
    except ParleyError:
        await _undo(hub, identity, id)
        raise
    return JSON(session)


async def end(hub: Hub, request: Request, identity: Identity) -> Response:
    """``{"status": "deleted"}``; unknown and foreign sessions are 404 alike."""
    row = await _session(hub, request, identity)
    if row.state is SessionState.REMOTE:
        try:
            await hub.engine.end(row.id)
        except ParleyError as error:
            raise _engine_error(error) from None
    await hub.tutors.end(identity.tenant, row.id)
    return JSON({"status": "deleted"})


async def _tutor(hub: Hub, request: Request, identity: Identity) -> int:
    raw = request.path_params["tutor_id"]
    found = await hub.store.tutors.tutor(identity.tenant, int(raw)) if _is_number(raw) else None
    if found is None or found.admin != identity.user:
        raise NotFound("Tutor not found")
    return found.id


async def _session(hub: Hub, request: Request, identity: Identity) -> TutorSession:
    row = await hub.store.tutors.session(identity.tenant, request.path_params["session_id"])
    if row is None or row.admin != identity.user:
        raise NotFound("Session not found")
    return row


async def _asked(request: Request) -> Asked:
    """From the body where it says something, else from the query."""
    data = await body(request, MAX_BODY, BOUND)
    asked = decoded(data, Asked) if data.strip() else Asked()
    query = request.query_params
    if asked.student_id is None:
        asked.student_id = query.get("student_id")
    if asked.kb_id is None:
        asked.kb_id = query.get("kb_id") or None
    return asked


def _engine_error(error: ParleyError) -> ParleyError:
    message = f"GPU Server error: {error}"
    log.warning("engine refused", code=error.code.value)
    if isinstance(error, Overloaded):
        return Overloaded(message, retry_after_s=error.retry_after_s)
    return Unavailable(message)


async def _undo(hub: Hub, identity: Identity, session: str) -> None:
    """Nobody could be given this session. One that cannot be ended either ends when it has been idle long enough."""
    try:
        if hub.settings.tutor.engine_url:
            await hub.engine.end(session)
        else:
            await hub.tutors.end(identity.tenant, session)
    except ParleyError as error:
        log.warning("a session that nobody has is left to its timeout", reason=type(error).__name__)


# --- the list of tutors ---------------------------------------------------------------------------------------


async def tutors(hub: Hub, request: Request, identity: Identity) -> Response:
    """``{"tutors": [...]}``, by id, after the id ``after``."""
    raw = request.query_params.get("after", "") or "0"
    if not _is_number(raw):
        raise ProtocolError(FaultCode.INVALID, "after must be the id of a tutor, a whole number")
    found = await hub.store.tutors.tutors(identity.tenant, after=int(raw), limit=number(request, "limit", 1000, 1000))
    return JSON({"tutors": found})


async def add(hub: Hub, request: Request, identity: Identity) -> Response:
    """201 and the new tutor."""
    wanted = decoded(await body(request, MAX_BODY, BOUND), NewTutor)
    if not 1 <= len(wanted.admin) <= MAX_ADMIN or not wanted.admin.isprintable() or len(wanted.name) > MAX_NAME:
        raise ProtocolError(
            FaultCode.INVALID, f"admin needs 1 to {MAX_ADMIN} printable characters, and name has {MAX_NAME} at most"
        )
    tutor = await hub.store.tutors.add(identity.tenant, admin=wanted.admin, name=wanted.name)
    log.info("tutor added", tutor=tutor.id)
    return JSON(tutor, 201)


async def remove(hub: Hub, request: Request, identity: Identity) -> Response:
    """``{"removed": 1, "sessions": n}``: the tutor, and his active sessions, whose sockets are closed; 404 for none."""
    raw = request.path_params["tutor_id"]
    ended = await hub.store.tutors.remove(identity.tenant, int(raw)) if _is_number(raw) else None
    if ended is None:
        raise NotFound("Tutor not found")
    hub.tutors.ended(ended)
    log.info("tutor removed", tutor=int(raw), sessions=len(ended))
    return JSON({"removed": 1, "sessions": len(ended)})


def _is_number(raw: str) -> bool:
    return raw.isdecimal() and raw.isascii() and len(raw) <= MAX_DIGITS
