"""The chat page at `GET /` and a page for each documented dialect under `/demo/`: static files out of the package, with
no build step and nothing from another host.

Links inside the page are relative, so it also works behind a path prefix that a proxy strips.
"""

import base64
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from types import MappingProxyType
from typing import Final

from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
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

POLICY: Final = (
    "default-src 'self'; connect-src 'self' ws: wss:; object-src 'none'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_INLINE: Final = re.compile(rb"<(script|style)>(.*?)</\1>", re.DOTALL)

SECURITY_HEADERS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "Content-Security-Policy": POLICY,
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
        "Cross-Origin-Opener-Policy": "same-origin",
    }
)

INDEX: Final = "index.html"
ICON: Final = "icon.svg"


@dataclass(frozen=True, slots=True)
class Asset:
    """One file of a page: its bytes, the Content-Type they are served under, a strong ETag of the bytes, and the
    Content-Security-Policy that lets them work and nothing else.
    """

    body: bytes
    content_type: str
    etag: str
    policy: str = POLICY


def policy(body: bytes) -> str:
    """The policy of a file. The scripts and styles written in it are named by their digests: a page that also works
    when it is opened from disk is one file.
    """
    allowed: dict[bytes, list[str]] = {}
    for kind, text in _INLINE.findall(body):
        digest = base64.b64encode(hashlib.sha256(text).digest()).decode()
        allowed.setdefault(kind, []).append(f"'sha256-{digest}'")
    return POLICY + "".join(f"; {kind.decode()}-src 'self' {' '.join(names)}" for kind, names in allowed.items())


def load_assets(*folders: str) -> Mapping[str, Asset]:
    """Read every file of `web`, or of a folder in it, once, by file name.

    Raises RuntimeError where a file has a suffix without a Content-Type, so that a new kind of file cannot be
    served under a guessed one.
    """
    assets: dict[str, Asset] = {}
    for entry in resources.files("parley_gateway").joinpath("web", *folders).iterdir():
        suffix = entry.name[entry.name.rfind(".") :]
        if not entry.is_file() or entry.name.startswith("."):
            continue
        if suffix not in CONTENT_TYPES:
            raise RuntimeError(f"web/{entry.name}: name a Content-Type for {suffix!r} in api/page.py")
        body = entry.read_bytes()
        etag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
        assets[entry.name] = Asset(body, CONTENT_TYPES[suffix], etag, policy(body))
    return MappingProxyType(assets)


def respond(request: Request, asset: Asset) -> Response:
    """The file, or 304 where the client holds these very bytes.

    Clients keep a copy but ask before each use (`no-cache`), so a page never mixes the files of two versions
    for longer than one load.
    """
    headers = {
        **SECURITY_HEADERS,
        "Content-Security-Policy": asset.policy,
        "ETag": asset.etag,
        "Cache-Control": "no-cache",
    }
    if holds(request.headers.get("if-none-match", ""), asset.etag):
        return Response(status_code=304, headers=headers)
    return Response(asset.body, headers={**headers, "Content-Type": asset.content_type})


def holds(if_none_match: str, etag: str) -> bool:
    """Whether an If-None-Match header names this ETag (weak comparison, RFC 9110 section 13.1.2)."""
    tags = [tag.strip().removeprefix("W/") for tag in if_none_match.split(",")]
    return etag in tags or tags == ["*"]


def absent() -> Response:
    """There is no such file."""
    return PlainTextResponse("No such file of the page.\n", status_code=404, headers=dict(SECURITY_HEADERS))


def routes() -> list[BaseRoute]:
    """Routes for `GET` and `HEAD` of `/`, `/favicon.ico`, `/assets/{name}`, `/demo/` and `/demo/{name}`; any other
    method gets 405.

    They are plain HTTP routes: a WebSocket route on `/` may stand beside them. The files are read when this is
    called and never again.
    """
    assets, demo = load_assets(), load_assets("demo")

    async def index(request: Request) -> Response:
        return respond(request, assets[INDEX])

    async def icon(request: Request) -> Response:
        return respond(request, assets[ICON])

    async def named(request: Request) -> Response:
        asset = assets.get(request.path_params["name"])
        return absent() if asset is None else respond(request, asset)

    async def demos(_: Request) -> Response:
        return RedirectResponse("demo/", 308, dict(SECURITY_HEADERS))

    async def demonstration(request: Request) -> Response:
        asset = demo.get(request.path_params.get("name", INDEX))
        return absent() if asset is None else respond(request, asset)

    return [
        Route("/", index, methods=["GET"], name="page"),
        Route("/favicon.ico", icon, methods=["GET"], name="page-icon"),
        Route("/assets/{name}", named, methods=["GET"], name="page-asset"),
        Route("/demo", demos, methods=["GET"], name="demos"),
        Route("/demo/", demonstration, methods=["GET"], name="demo-index"),
        Route("/demo/{name}", demonstration, methods=["GET"], name="demo"),
    ]
