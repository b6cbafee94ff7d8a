"""``/v1/status`` and ``/v1/dead``: the operator's view. With tokens in use, for owners only."""

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from parley_gateway.api.http import JSON, number, owner_only, route
from parley_gateway.hub import Hub
from parley_gateway.identity import Identity
from parley_gateway.virtual import ask
from parley_protocol import codec
from parley_protocol.client import Accepted
from parley_protocol.faults import FaultCode, ProtocolError
from parley_protocol.routes import topology
from parley_protocol.work import DeadInfo, Generate, ListDead, Record, Retrieve
from parley_runtime.errors import NotFound


def routes(hub: Hub) -> list[BaseRoute]:
    """Status and dead letters."""
    return [
        route(hub, "/v1/status", {"GET": status}),
        route(hub, "/v1/dead", {"GET": dead}),
        route(hub, "/v1/dead/{id}", {"GET": dead_one}),
        route(hub, "/v1/dead/{id}/retry", {"POST": retry}),
    ]


async def status(hub: Hub, _: Request, identity: Identity) -> Response:
    """``{"broker", "queues": [...], "processes": [...]}``; processes are those that answered within 0.3 s."""
    owner_only(hub, identity)
    queues = []
    for queue in topology().queues:
        depth = await hub.publisher.depth(queue.name)
        if depth is not None:
            queues.append({"name": queue.name, "ready": depth[0], "consumers": depth[1]})
    processes = [msgspec.to_builtins(presence) for presence in await hub.calls.hail()]
    return JSON({"broker": hub.degraded or "up", "queues": queues, "processes": processes})


async def dead(hub: Hub, request: Request, identity: Identity) -> Response:
    """``{"dead": [...]}``, newest first, without bodies."""
    owner_only(hub, identity)
    return JSON({"dead": await _dead(hub, identity, limit=number(request, "limit", 100, 1000))})


async def dead_one(hub: Hub, request: Request, identity: Identity) -> Response:
    """One dead letter with its body (base64 of MessagePack)."""
    owner_only(hub, identity)
    return JSON(await _one(hub, request, identity))


async def retry(hub: Hub, request: Request, identity: Identity) -> Response:
    """Ask a parked turn's question again, as a new turn of the asker in a new session: ``{"turn", "session"}``."""
    owner_only(hub, identity)
    row = await _one(hub, request, identity)
    job = codec.unpack_job(row.body)
    if not isinstance(job, Retrieve | Generate | Record) or not job.question:
        raise ProtocolError(FaultCode.UNSUPPORTED, "this message holds no question that could be asked again")
    owner = Identity(job.key.tenant, identity.user, known=identity.known)
    session = hub.sessions.make(owner)
    async for frame in ask(hub, owner, job.question, kb=job.kb, session=session):
        if isinstance(frame, Accepted):
            return JSON({"turn": frame.turn, "session": session})
    raise ProtocolError(FaultCode.FAILED, "the turn ended before it was accepted")


async def _one(hub: Hub, request: Request, identity: Identity) -> DeadInfo:
    found = await _dead(hub, identity, id=request.path_params["id"])
    if not found:
        raise NotFound("no dead letter has this id; parley dead list shows those there are")
    return found[0]


async def _dead(hub: Hub, identity: Identity, *, limit: int = 1, id: str = "") -> tuple[DeadInfo, ...]:
    def command(call: str, reply_to: str) -> ListDead:
        return ListDead(call=call, reply_to=reply_to, tenant=identity.tenant, limit=limit, id=id)

    return (await hub.calls.knowledge(command)).dead
