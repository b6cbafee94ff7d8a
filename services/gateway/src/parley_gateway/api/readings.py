"""``/v1/readings``: measured data in and out. What is brought in is read and stored by a rag worker."""

from datetime import UTC, datetime

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from parley_gateway.api.http import JSON, body, number, route
from parley_gateway.hub import Hub
from parley_gateway.identity import Identity
from parley_protocol.faults import FaultCode, ProtocolError
from parley_protocol.readings import DropReadings, PutReadings, SeriesInfo
from parley_runtime.store.reading_ports import EVER, microseconds, stamp

MOST_SERIES = 10_000
MOST_READINGS = 1_000
_TRUE = ("1", "true", "yes", "on")


def routes(hub: Hub) -> list[BaseRoute]:
    """Bring in, list, remove."""
    return [route(hub, "/v1/readings", {"POST": put, "GET": listing, "DELETE": drop})]


async def put(hub: Hub, request: Request, identity: Identity) -> Response:
    """One reading, a list of them, or CSV: ``{"stored", "refused": [{"line", "reason"}]}``. Visible when this returns.

    ``?all_or_nothing=1``: nothing is stored where anything is refused. Where more are refused than are named,
    ``refused_count`` says how many.
    """
    data = await body(request, hub.settings.limits.max_readings, "PARLEY_MAX_READINGS")
    if not data.strip():
        raise ProtocolError(FaultCode.INVALID, "the body is empty; send readings as JSON or CSV")
    media_type = request.headers.get("content-type", "").split(";")[0].strip().lower()
    whole = request.query_params.get("all_or_nothing", "").lower() in _TRUE

    def command(call: str, reply_to: str) -> PutReadings:
        tenant = identity.tenant
        return PutReadings(
            call=call, reply_to=reply_to, tenant=tenant, data=data, media_type=media_type, all_or_nothing=whole
        )

    reply = await hub.calls.knowledge(command, timeout_s=hub.settings.turns.ingest_s)
    answer = {"stored": reply.stored, "refused": reply.refused}
    if reply.refused_count > len(reply.refused):
        answer["refused_count"] = reply.refused_count
    return JSON(answer)


async def listing(hub: Hub, request: Request, identity: Identity) -> Response:
    """Without ``metric`` what is held: ``{"series": [...]}``. With it ``{"readings": [...]}``, newest first, of
    ``sensor`` (or all), from ``from`` on, before ``to``; the next page is before the last one's timestamp.
    """
    query, readings = request.query_params, hub.store.readings
    metric = query.get("metric", "")
    if not metric:
        series = await readings.series(identity.tenant, limit=MOST_SERIES)
        rows = [
            SeriesInfo(metric=one.metric, sensor=one.sensor, unit=one.unit, newest=stamp(one.newest)) for one in series
        ]
        return JSON({"series": rows})
    span = _time(query.get("from", ""), "from", EVER[0]), _time(query.get("to", ""), "to", EVER[1])
    limit = number(request, "limit", 100, MOST_READINGS)
    found = await readings.select(identity.tenant, metric, sensor=query.get("sensor", ""), span=span, limit=limit)
    return JSON({"readings": [reading.told() for reading in found]})


async def drop(hub: Hub, request: Request, identity: Identity) -> Response:
    """Remove the readings of ``metric``, of ``sensor`` or of all sensors: ``{"removed": n}``."""
    metric, sensor = request.query_params.get("metric", ""), request.query_params.get("sensor", "")
    if not metric:
        raise ProtocolError(FaultCode.INVALID, "the query needs metric, and sensor where only one is meant")

    def command(call: str, reply_to: str) -> DropReadings:
        return DropReadings(call=call, reply_to=reply_to, tenant=identity.tenant, metric=metric, sensor=sensor)

    return JSON({"removed": (await hub.calls.knowledge(command)).removed})


def _time(text: str, name: str, default: int) -> int:
    """RFC 3339; without an offset UTC."""
    if not text:
        return default
    try:
        found = datetime.fromisoformat(text.replace(" ", "+"))  # a plus that was not encoded
    except ValueError:
        raise ProtocolError(FaultCode.INVALID, f"{name} must be a time like 2026-01-31T08:00:00Z") from None
    return microseconds(found if found.tzinfo is not None else found.replace(tzinfo=UTC))
