"""Whether the gateway lives, and whether the installation is ready. No token is asked for, and nothing is waited for.

``/livez``, ``/healthz`` and ``/health`` answer while the process lives. ``/readyz`` is ready while this gateway, the
broker, workers of each stage and the bases of ``PARLEY_READY_BASES`` are; what it says of workers and bases was looked
up by :class:`parley_gateway.readiness.Readiness` a moment ago. ``?without=workers,bases`` leaves checks out: a balancer
that should send to this gateway whatever its workers do asks so.
"""

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from parley_gateway.hub import Hub


def routes(hub: Hub) -> list[BaseRoute]:
    """The four of them."""

    async def alive(_: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def health(_: Request) -> Response:
        service, broker = hub.settings.server.service_name, "down" if hub.degraded else "up"
        return JSONResponse({"status": "healthy", "service": service, "broker": broker})

    async def readyz(request: Request) -> Response:
        reasons = hub.process.reasons()
        if hub.draining:
            reasons["gateway"] = "draining"
        without = set(request.query_params.get("without", "").split(","))
        if not without >= {"workers", "bases"}:
            reasons |= await hub.readiness.ask()
        for name in without:
            reasons.pop(name, None)
        bad = any(reasons.values())
        return JSONResponse({"status": "not ready" if bad else "ready", "checks": reasons}, 503 if bad else 200)

    return [
        Route("/livez", alive),
        Route("/healthz", alive),
        Route("/health", health),
        Route("/readyz", readyz),
    ]
