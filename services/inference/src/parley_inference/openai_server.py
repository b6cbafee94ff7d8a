"""What every engine asks of an OpenAI-compatible server: an address, a key, one pooled client, an answer at start."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress

import httpx

from parley_runtime.errors import ConfigError, EngineError, Unavailable

END_S = 0.05
"""Seconds that the end of a whole answer may take after its last event."""


def check(prefix: str, base_url: str, api_key: str) -> None:
    """Raises ValueError where ``<prefix>_BASE_URL`` is no address, or ``<prefix>_API_KEY`` no header can carry."""
    if base_url and not base_url.startswith(("http://", "https://")):
        raise ValueError(f"{prefix}_BASE_URL: must begin with http:// or https://")
    if not api_key.isascii() or not api_key.isprintable():
        raise ValueError(f"{prefix}_API_KEY: holds characters that no HTTP header can carry")


def shown(url: str) -> str:
    """``url`` without user and password."""
    return str(httpx.URL(url).copy_with(username=None, password=None)) if "@" in url else url


def open_client(prefix: str, base_url: str, api_key: str, *, connect_s: float, kept: int) -> httpx.AsyncClient:
    """One connection per request (which the seats bound), ``kept`` of them while idle. Raises ConfigError where there
    is no address.
    """
    if not base_url:
        raise ConfigError(f"{prefix}_BASE_URL is not set")
    return httpx.AsyncClient(
        base_url=base_url.rstrip("/") + "/",
        headers={"Authorization": f"Bearer {api_key}"} if api_key else {},
        timeout=httpx.Timeout(None, connect=connect_s),
        limits=httpx.Limits(max_connections=None, max_keepalive_connections=kept, keepalive_expiry=30.0),
    )


async def models(client: httpx.AsyncClient, prefix: str, base_url: str, probe_s: float) -> httpx.Response:
    """The server's answer to ``/models``, whatever it says; it shows that the server is there.

    Raises:
        ConfigError: the key is refused.
        Unavailable: no answer within ``probe_s``.
    """
    where = shown(base_url)
    try:
        async with asyncio.timeout(probe_s):
            response = await client.get("models")
    except (TimeoutError, httpx.HTTPError) as error:
        raise Unavailable(
            f"{where} does not answer /models within {probe_s:g} s ({type(error).__name__}): "
            f"start the server or change {prefix}_BASE_URL"
        ) from error
    if response.status_code in (401, 403):
        raise ConfigError(f"{where} refused the key: set {prefix}_API_KEY")
    return response


async def send(
    client: httpx.AsyncClient, request: httpx.Request, deadline: float, *, prefix: str, where: str
) -> httpx.Response:
    """The beginning of the answer. Raises EngineError."""
    try:
        async with asyncio.timeout_at(deadline):
            return await client.send(request, stream=True)
    except (TimeoutError, httpx.ConnectTimeout) as error:
        raise EngineError(f"{where} did not answer in time ({prefix}_FIRST_BYTE_S)") from error
    except httpx.HTTPError as error:
        raise EngineError(
            f"{where} cannot be reached ({type(error).__name__}): check the server and {prefix}_BASE_URL"
        ) from error


async def chunk(chunks: AsyncIterator[bytes], deadline: float, *, prefix: str, where: str, what: str) -> bytes:
    """The next bytes of ``what``; empty at its end. Raises EngineError."""
    try:
        async with asyncio.timeout_at(deadline):
            return await anext(chunks, b"")
    except TimeoutError as error:
        raise EngineError(f"{where} sent nothing for too long ({prefix}_FIRST_BYTE_S, {prefix}_CHUNK_S)") from error
    except httpx.HTTPError as error:
        raise EngineError(f"{where} cut {what} off ({type(error).__name__})") from error


async def leave(response: httpx.Response, chunks: AsyncIterator[bytes], *, whole: bool) -> None:
    """Close the answer. After a whole one its very end is read, so that the connection can be used again."""
    if whole:
        with suppress(TimeoutError, httpx.HTTPError):
            async with asyncio.timeout(END_S):
                while await anext(chunks, b""):
                    pass
    await response.aclose()
    # Reading what was buffered before ends httpx's nested generators now, rather than whenever they are collected.
    with suppress(httpx.HTTPError, httpx.StreamError):
        while await anext(chunks, b""):
            pass
