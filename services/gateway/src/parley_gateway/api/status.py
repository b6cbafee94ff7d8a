"""``/v1/status`` and ``/v1/dead``: the operator's view. With tokens in use, for owners only."""

import asyncio
import contextlib

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from parley_gateway.api.http import JSON, number, owner_only, route
from parley_gateway.contact import NOTICE_HEADERS
from parley_gateway.hub import Hub
from parley_gateway.identity import Identity
from parley_gateway.virtual import ask
from parley_protocol import codec
from parley_protocol.client import Accepted
from parley_protocol.control import Presence
from parley_protocol.faults import FaultCode, ProtocolError
from parley_protocol.routes import WORK, Stage, stage_queue, topology
from parley_protocol.work import DeadInfo, DropDead, Generate, ListDead, Record, Retrieve
from parley_runtime.errors import NotFound, ParleyError
from parley_runtime.ports import Message


def routes(hub: Hub) -> list[BaseRoute]:
    """Status and dead letters."""
    return [
        route(hub, "/v1/status", {"GET": status}),
        route(hub, "/v1/dead", {"GET": dead}),
        route(hub, "/v1/dead/{id}", {"GET": dead_one, "DELETE": drop}),
        route(hub, "/v1/dead/{id}/retry", {"POST": retry}),
    ]


async def status(hub: Hub, _: Request, identity: Identity) -> Response:
    """``{"broker", "queues": [...], "processes": [...]}``; processes are those that answered within 0.3 s.

    It answers while the broker is away too: then ``broker`` says so and the lists hold what is known without it.
    """
    owner_only(hub, identity)
    queues, processes = await asyncio.gather(_queues(hub), _processes(hub))
    return JSON({"broker": hub.degraded or "up", "queues": queues, "processes": processes})


async def _queues(hub: Hub) -> list[dict[str, str | int]]:
    """Depths of all queues, asked for at once; none where the broker does not tell."""
    names = [queue.name for queue in topology().queues]
    if hub.degraded:
        return []
    found = await asyncio.gather(*(hub.publisher.depth(name) for name in names), return_exceptions=True)
    rows: list[dict[str, str | int]] = []
    for name, depth in zip(names, found, strict=True):
        if isinstance(depth, tuple):
            rows.append({"name": name, "ready": depth[0], "consumers": depth[1]})
        elif isinstance(depth, BaseException) and not isinstance(depth, ParleyError):
            raise depth
    return rows


async def _processes(hub: Hub) -> list[Presence]:
    """Whoever answers; without the broker only this process."""
    return [hub.process.presence()] if hub.degraded else await hub.calls.hail()


async def dead(hub: Hub, request: Request, identity: Identity) -> Response:
    """``{"dead": [...]}``, newest first, without bodies; with ``before`` those parked before the one with that id."""
    owner_only(hub, identity)
    limit, before = number(request, "limit", 100, 1000), request.query_params.get("before", "")
    return JSON({"dead": await _dead(hub, identity, limit=limit, before=before)})


async def dead_one(hub: Hub, request: Request, identity: Identity) -> Response:
    """One dead letter with its body (base64 of MessagePack)."""
    owner_only(hub, identity)
    return JSON(await _one(hub, request, identity))


async def drop(hub: Hub, request: Request, identity: Identity) -> Response:
    """Remove one dead letter for good: ``{"removed": n}``, 0 where it was gone already: asking again is safe."""
    owner_only(hub, identity)
    id = request.path_params["id"]

    def command(call: str, reply_to: str) -> DropDead:
        return DropDead(call=call, reply_to=reply_to, tenant=identity.tenant, id=id)

    return JSON({"removed": (await hub.calls.knowledge(command)).removed})


async def retry(hub: Hub, request: Request, identity: Identity) -> Response:
    """Ask a parked turn's question again, as a new turn of the asker in a new session: ``{"turn", "session"}``. A
    notice to the owner is sent again: both are empty then.
    """
    owner_only(hub, identity)
    row = await _one(hub, request, identity)
    if row.queue == stage_queue(Stage.NOTIFY):
        notice = msgspec.structs.replace(codec.unpack_notice(row.body), tries=0)
        await hub.publisher.publish(WORK, Stage.NOTIFY, Message(codec.pack(notice), NOTICE_HEADERS))
        return JSON({"turn": "", "session": ""})
    job = _asked(row.body)
    owner = Identity(job.key.tenant, identity.user, known=identity.known)
    session = hub.sessions.make(owner)
    async with contextlib.aclosing(ask(hub, owner, job.question, kb=job.kb, session=session)) as frames:
        async for frame in frames:
            if isinstance(frame, Accepted):
                return JSON({"turn": frame.turn, "session": session})
    raise ProtocolError(FaultCode.FAILED, "the turn ended before it was accepted")


def _asked(body: bytes) -> Retrieve | Generate | Record:
    """The job whose question is to be asked again. Raises ProtocolError ``unsupported`` where there is none."""
    with contextlib.suppress(ProtocolError):
        job = codec.unpack_job(body)
        if isinstance(job, Retrieve | Generate | Record) and job.question:
            return job
    raise ProtocolError(FaultCode.UNSUPPORTED, "this message holds no question that could be asked again")


async def _one(hub: Hub, request: Request, identity: Identity) -> DeadInfo:
    found = await _dead(hub, identity, id=request.path_params["id"])
    if not found:
        raise NotFound("no dead letter has this id; parley dead list shows those there are")
    return found[0]


async def _dead(
    hub: Hub, identity: Identity, *, limit: int = 1, id: str = "", before: str = ""
) -> tuple[DeadInfo, ...]:
    def command(call: str, reply_to: str) -> ListDead:
        return ListDead(call=call, reply_to=reply_to, tenant=identity.tenant, limit=limit, id=id, before=before)

    return (await hub.calls.knowledge(command)).dead
