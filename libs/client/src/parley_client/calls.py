"""Calls to the HTTP routes of one gateway."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from parley_client.errors import ApiError, ClientError

if TYPE_CHECKING:
    import ssl

    import httpx  # takes longer to import than all the rest of the command: only a call needs it

T = TypeVar("T")

DEFAULT_URL = "http://127.0.0.1:8000"


class Calls:
    """Typed, with one token."""

    def __init__(
        self,
        url: str,
        *,
        token: str | None,
        timeout_s: float,
        transport: httpx.AsyncBaseTransport | None,
        trusted: ssl.SSLContext | None,
    ) -> None:
        """``trusted``: certificates other than the well-known ones. Raises ClientError where ``url`` is no address."""
        import httpx

        headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._url = http_url(url)
        self._http = httpx.AsyncClient(
            base_url=self._url,
            headers=headers,
            timeout=timeout_s,
            trust_env=False,
            transport=transport,
            verify=trusted or True,
        )

    async def close(self) -> None:
        """No more of them."""
        await self._http.aclose()

    async def read(
        self,
        method: str,
        path: str,
        kind: type[T],
        key: str = "",
        *,
        params: dict[str, Any] | None = None,
        content: bytes | None = None,
        headers: dict[str, str] | None = None,
    ) -> T:
        """What ``key`` of the answer holds; all of it without one. Raises ApiError."""
        import httpx

        try:
            response = await self._http.request(method, path, params=params, content=content, headers=headers)
        except httpx.HTTPError as error:
            why = str(error) or type(error).__name__
            message = f"no answer from {self._url} ({why}); is Parley running there? Start it with ./task up"
            raise ApiError(0, "unavailable", message, retryable=True) from error
        if response.status_code >= 400:
            raise _refusal(response)
        try:
            data = response.json()
            return msgspec.convert(data[key] if key else data, kind)
        except (ValueError, KeyError, TypeError) as error:
            message = f"{self._url} does not answer as a gateway does; is --url the address of one?"
            raise ApiError(response.status_code, "failed", message, retryable=False) from error


def http_url(url: str) -> str:
    """``ws://host``, ``http://host`` and the address of the socket alike become the address of the HTTP routes.

    Raises:
        ClientError: it is none of these.
    """
    address = url.strip().rstrip("/").removesuffix("/v1/connect")
    for ws, web in (("ws://", "http://"), ("wss://", "https://")):
        if address.startswith(ws):
            address = web + address.removeprefix(ws)
    if not address.startswith(("http://", "https://")):
        raise ClientError(f"{url!r} is not an address; use for instance {DEFAULT_URL}")
    return address


def _refusal(response: httpx.Response) -> ApiError:
    """The server's own words where it gave any."""
    try:
        error = response.json()["error"]
        code, message = str(error["code"]), str(error["message"])
        retryable = bool(error.get("retryable", False))
    except (ValueError, KeyError, TypeError):
        code, retryable = "failed", response.status_code >= 500
        message = response.text.strip()[:300] or f"HTTP {response.status_code} without an explanation"
    return ApiError(response.status_code, code, message, retryable=retryable)
