"""The outermost ASGI application: one origin check for sockets and HTTP, cross-origin answers, socket paths."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from starlette.routing import compile_path

from parley_gateway.doors import deny
from parley_gateway.origin import Origins
from parley_runtime.telemetry.logging import get_logger

log = get_logger("parley.front")

Scope = dict[str, Any]
App = Callable[[Scope, Any, Any], Awaitable[None]]

METHODS = b"GET, POST, PUT, DELETE"
ALLOWED_HEADERS = b"Authorization, Content-Type, Idempotency-Key"
MAX_AGE = b"600"


class Counted:
    """``app`` with its requests kept in ``requests`` while they are being answered; ``answered`` is set after each."""

    def __init__(self, app: App, requests: set[object], answered: asyncio.Event) -> None:
        self._app = app
        self._requests = requests
        self._answered = answered

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
        token = object()
        self._requests.add(token)
        try:
            await self._app(scope, receive, send)
        finally:
            self._requests.discard(token)
            self._answered.set()


class Front:
    """Routes sockets by path, which may hold parameters (``/ws/review/{task}``), and everything else to ``http``.
    ``prefixes`` are taken off paths first, the longest that fits.
    """

    def __init__(self, http: App, sockets: Mapping[str, App], origins: Origins, prefixes: Sequence[str] = ()) -> None:
        self._http = http
        self._sockets = {path: app for path, app in sockets.items() if "{" not in path}
        self._patterns = [(compile_path(path)[0], app) for path, app in sockets.items() if "{" in path]
        self._paths = "\n".join(sorted(sockets))
        self._origins = origins
        self._prefixes = tuple(sorted(prefixes, key=len, reverse=True))

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
        scope = self._stripped(scope)
        origin, host = _headers(scope)
        if not self._origins.allows(origin, host):
            await self._foreign(scope, receive, send, origin)
        elif scope["type"] == "websocket":
            await self._socket(scope, receive, send)
        elif origin and scope["method"] == "OPTIONS":
            await _preflight(send, origin)
        elif scope["path"].startswith("/v1/") and scope["path"] in self._sockets:
            await _upgrade(send)
        elif origin:
            await self._http(scope, receive, _with_origin(send, origin))
        else:
            await self._http(scope, receive, send)

    def _stripped(self, scope: Scope) -> Scope:
        """Without the prefix that a proxy has left in the path."""
        path: str = scope["path"]
        for prefix in self._prefixes:
            if path == prefix or path.startswith(prefix + "/"):
                return {**scope, "path": path[len(prefix) :] or "/"}
        return scope

    async def _socket(self, scope: Scope, receive: Any, send: Any) -> None:
        app = self._sockets.get(scope["path"])
        if app is not None:
            await app(scope, receive, send)
            return
        for pattern, parametric in self._patterns:
            match = pattern.match(scope["path"])
            if match is not None:
                await parametric({**scope, "path_params": match.groupdict()}, receive, send)
                return
        await receive()
        log.info("connect refused", reason="path", setting="PARLEY_PATH_PREFIXES")
        await deny(send, 404, f"no socket is served at this path; these are:\n{self._paths}\n", {})

    async def _foreign(self, scope: Scope, receive: Any, send: Any, origin: str) -> None:
        text = "pages of this origin may not connect; name it in PARLEY_ORIGINS to allow it\n"
        log.warning("origin refused", origin=origin[:200], setting="PARLEY_ORIGINS", kind=scope["type"])
        if scope["type"] == "websocket":
            await receive()
            await deny(send, 403, text, {})
            return
        await _answer(send, 403, [(b"content-type", b"text/plain; charset=utf-8")], text.encode())


def _headers(scope: Scope) -> tuple[str, str]:
    """(Origin, Host) of the request."""
    origin = host = ""
    for name, value in scope["headers"]:
        if name == b"origin":
            origin = value.decode("latin-1")
        elif name == b"host":
            host = value.decode("latin-1")
    return origin, host


async def _answer(send: Any, status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
    headers = [*headers, (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def _upgrade(send: Any) -> None:
    """Somebody has taken the request for a socket apart, or never made one."""
    text = (
        "a WebSocket is served at this path, and this request does not ask for one; a proxy on the way must pass "
        "Upgrade and Connection on, as infra/nginx does\n"
    )
    log.info("request refused", reason="no upgrade")
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"upgrade", b"websocket")]
    await _answer(send, 426, headers, text.encode())


async def _preflight(send: Any, origin: str) -> None:
    headers = [
        *_cross(origin),
        (b"access-control-allow-methods", METHODS),
        (b"access-control-allow-headers", ALLOWED_HEADERS),
        (b"access-control-max-age", MAX_AGE),
    ]
    await _answer(send, 204, headers, b"")


def _with_origin(send: Any, origin: str) -> Any:
    async def wrapped(message: Any) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message.get("headers", []), *_cross(origin)]}
        await send(message)

    return wrapped


def _cross(origin: str) -> list[tuple[bytes, bytes]]:
    return [
        (b"access-control-allow-origin", origin.encode("latin-1")),
        (b"access-control-expose-headers", b"Retry-After"),
        (b"vary", b"Origin"),
    ]
