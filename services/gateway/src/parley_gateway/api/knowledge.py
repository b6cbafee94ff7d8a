"""``/v1/kb``: knowledge bases over HTTP. The work is a rag worker's; this asks and waits."""

import functools

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from parley_gateway.api.http import JSON, body, number, route
from parley_gateway.hub import Hub
from parley_gateway.identity import Identity
from parley_protocol.faults import FaultCode, ProtocolError
from parley_protocol.work import DeleteDocument, ListDocuments, PutDocument, SearchPassages


def routes(hub: Hub) -> list[BaseRoute]:
    """Bases, documents, search."""
    return [
        route(hub, "/v1/kb", {"GET": bases}),
        route(hub, "/v1/kb/{name}", {"DELETE": drop}),
        route(hub, "/v1/kb/{name}/documents", {"GET": documents, "PUT": put, "DELETE": remove}),
        route(hub, "/v1/kb/{name}/search", {"GET": search}),
    ]


async def bases(hub: Hub, _: Request, identity: Identity) -> Response:
    """``{"bases": [...]}``."""
    command = functools.partial(_list, tenant=identity.tenant)
    return JSON({"bases": (await hub.calls.knowledge(command)).bases})


async def documents(hub: Hub, request: Request, identity: Identity) -> Response:
    """``{"documents": [...]}``, by path after ``after``, ``limit`` at most."""
    command = functools.partial(
        _list,
        tenant=identity.tenant,
        kb=request.path_params["name"],
        after=request.query_params.get("after", ""),
        limit=number(request, "limit", 1000, 1000),
    )
    return JSON({"documents": (await hub.calls.knowledge(command)).documents})


async def put(hub: Hub, request: Request, identity: Identity) -> Response:
    """The body becomes the document at ``path``: 201 created, 200 replaced or unchanged. Visible when this returns."""
    path, name = _path(request), request.path_params["name"]
    data = await body(request, hub.settings.limits.max_document, "PARLEY_MAX_DOCUMENT")
    if not data:
        raise ProtocolError(FaultCode.INVALID, "the body is empty; send the document's bytes")
    media_type = request.headers.get("content-type", "").split(";")[0].strip()

    def command(call: str, reply_to: str) -> PutDocument:
        tenant = identity.tenant
        return PutDocument(
            call=call, reply_to=reply_to, tenant=tenant, kb=name, path=path, data=data, media_type=media_type
        )

    info = (await hub.calls.knowledge(command, timeout_s=hub.settings.turns.ingest_s)).documents[0]
    return JSON(msgspec.to_builtins(info), 201 if info.outcome == "created" else 200)


async def remove(hub: Hub, request: Request, identity: Identity) -> Response:
    """``{"removed": n}``."""
    return await _delete(hub, identity, request.path_params["name"], _path(request))


async def drop(hub: Hub, request: Request, identity: Identity) -> Response:
    """The whole base: ``{"removed": n}``."""
    return await _delete(hub, identity, request.path_params["name"], "")


async def search(hub: Hub, request: Request, identity: Identity) -> Response:
    """``{"sources": [...]}`` for ``q``, best first."""
    query, name = request.query_params.get("q", ""), request.path_params["name"]
    if not query.strip() or len(query) > hub.settings.limits.max_text:
        raise ProtocolError(FaultCode.INVALID, "q must hold what to look for, and not more than a question may")
    limit = number(request, "limit", 5, 50)

    def command(call: str, reply_to: str) -> SearchPassages:
        return SearchPassages(call=call, reply_to=reply_to, tenant=identity.tenant, kb=name, query=query, limit=limit)

    return JSON({"sources": (await hub.calls.knowledge(command)).sources})


async def _delete(hub: Hub, identity: Identity, kb: str, path: str) -> Response:
    def command(call: str, reply_to: str) -> DeleteDocument:
        return DeleteDocument(call=call, reply_to=reply_to, tenant=identity.tenant, kb=kb, path=path)

    return JSON({"removed": (await hub.calls.knowledge(command)).removed})


def _list(call: str, reply_to: str, *, tenant: str, kb: str = "", after: str = "", limit: int = 1000) -> ListDocuments:
    return ListDocuments(call=call, reply_to=reply_to, tenant=tenant, kb=kb, after=after, limit=limit)


def _path(request: Request) -> str:
    path = request.query_params.get("path", "")
    if not path:
        raise ProtocolError(FaultCode.INVALID, "the query needs path, the document's path within the base")
    return path
