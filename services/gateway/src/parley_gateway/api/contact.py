"""``/v1/contact/*``: the owner's inbox of the contact chat, and his words to everybody. Always with his token."""

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from parley_gateway.api.http import JSON, MAX_DIGITS, body, decoded, number, owner, route
from parley_gateway.hub import Hub
from parley_gateway.identity import Identity
from parley_protocol.faults import FaultCode, ProtocolError

MOST = 1000
"""Messages of one page."""


class Words(msgspec.Struct):
    """What the owner says to everybody."""

    message: str


def routes(hub: Hub) -> list[BaseRoute]:
    """Inbox and broadcast."""
    return [
        route(hub, "/v1/contact/messages", {"GET": messages}, who=owner),
        route(hub, "/v1/contact/broadcast", {"POST": broadcast}, who=owner),
    ]


async def messages(hub: Hub, request: Request, identity: Identity) -> Response:
    """``{"messages": [...], "next": id}``: those after the id ``after``, oldest first; ``next`` is the ``after`` of the
    next page, and an empty page is the end.
    """
    after = _after(request.query_params.get("after", "") or "0")
    found = await hub.store.contact.messages(identity.tenant, after=after, limit=number(request, "limit", 100, MOST))
    return JSON({"messages": found, "next": found[-1].id if found else after})


async def broadcast(hub: Hub, request: Request, identity: Identity) -> Response:
    """``{"reached": n}``: sockets of visitors, at every gateway, that it was written to."""
    words = decoded(await body(request, hub.settings.limits.max_message, "PARLEY_MAX_MESSAGE"), Words)
    if not words.message.strip() or len(words.message) > hub.settings.limits.max_text:
        raise ProtocolError(FaultCode.INVALID, "message must hold what to say, and not more than a question may")
    return JSON({"reached": await hub.contact.broadcast(identity.tenant, words.message)})


def _after(raw: str) -> int:
    if not raw.isdecimal() or len(raw) > MAX_DIGITS:
        raise ProtocolError(FaultCode.INVALID, "after must be the id of a message, a whole number")
    return int(raw)
