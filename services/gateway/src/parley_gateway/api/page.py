"""The chat page at `GET /`: static files out of the package, with no build step and nothing from another host.

Links inside the page are relative, so it also works behind a path prefix that a proxy strips.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from types import MappingProxyType
from typing import Final

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

CONTENT_TYPES: Final[Mapping[str, str]] = MappingProxyType(
    {
        ".html": "text/html; charset=utf-8",
        ".css": "text/css; charset=utf-8",
        ".js": "text/javascript; charset=utf-8",
        ".svg": "image/svg+xml",
        ".webmanifest": "application/manifest+json",
    }
)

SECURITY_HEADERS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "Content-Security-Policy": (
            "default-src 'self'; connect-src 'self' ws: wss:; object-src 'none'; "
            "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        ),
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
        "Cross-Origin-Opener-Policy": "same-origin",
    }
)

INDEX: Final = "index.html"
ICON: Final = "icon.svg"


@dataclass(frozen=True, slots=True)
class Asset:
    """One file of the page: its bytes, the Content-Type they are served under, and a strong ETag of the bytes."""

    body: bytes
    content_type: str
    etag: str


def load_assets() -> Mapping[str, Asset]:
    """Read every file of the page once, by file name.

    Raises RuntimeError where a file has a suffix without a Content-Type, so that a new kind of file cannot be
    served under a guessed one.
    """
    assets: dict[str, Asset] = {}
    for entry in resources.files("parley_gateway").joinpath("web").iterdir():
        suffix = entry.name[entry.name.rfind(".") :]
        if not entry.is_file() or entry.name.startswith("."):
            continue
        if suffix not in CONTENT_TYPES:
            raise RuntimeError(f"web/{entry.name}: name a Content-Type for {suffix!r} in api/page.py")
        body = entry.read_bytes()
        etag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
        assets[entry.name] = Asset(body=body, content_type=CONTENT_TYPES[suffix], etag=etag)
    return MappingProxyType(assets)


def respond(request: Request, asset: Asset) -> Response:
    """The file, or 304 where the client holds these very bytes.

    Clients keep a copy but ask before each use (`no-cache`), so a page never mixes the files of two versions
    for longer than one load.
    """
    headers = {**SECURITY_HEADERS, "ETag": asset.etag, "Cache-Control": "no-cache"}
    if holds(request.headers.get("if-none-match", ""), asset.etag):
        return Response(status_code=304, headers=headers)
    return Response(asset.body, headers={**headers, "Content-Type": asset.content_type})


def holds(if_none_match: str, etag: str) -> bool:
    """Whether an If-None-Match header names this ETag (weak comparison, RFC 9110 section 13.1.2)."""
    tags = [tag.strip().removeprefix("W/") for tag in if_none_match.split(",")]
    return etag in tags or tags == ["*"]


def routes() -> list[BaseRoute]:
    """Routes for `GET` and `HEAD` of `/`, `/favicon.ico` and `/assets/{name}`; any other method gets 405.

    They are plain HTTP routes: a WebSocket route on `/` may stand beside them. The files are read when this is
    called and never again.
    """
    assets = load_assets()

    async def index(request: Request) -> Response:
        return respond(request, assets[INDEX])

    async def icon(request: Request) -> Response:
        return respond(request, assets[ICON])

    async def named(request: Request) -> Response:
        asset = assets.get(request.path_params["name"])
        if asset is None:
            return PlainTextResponse("No such file of the page.\n", status_code=404, headers=dict(SECURITY_HEADERS))
        return respond(request, asset)

    return [
        Route("/", index, methods=["GET"], name="page"),
        Route("/favicon.ico", icon, methods=["GET"], name="page-icon"),
        Route("/assets/{name}", named, methods=["GET"], name="page-asset"),
    ]
