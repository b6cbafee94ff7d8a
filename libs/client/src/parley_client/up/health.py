"""Asks a service over HTTP whether it is ready, and which engines it chose."""

from collections.abc import Iterable
from dataclasses import dataclass

import httpx

_WITHIN = httpx.Timeout(2.0)


@dataclass(frozen=True, order=True)
class Engine:
    """An engine that a service chose for a stage, and why."""

    stage: str
    name: str
    why: str


async def readiness(client: httpx.AsyncClient, health: str) -> tuple[bool, str]:
    """(is it ready, what it says about it) for the service at `health`; a service that is not there is not ready. The
    sample bases are not there yet: they are loaded once everything else is ready.
    """
    try:
        answer = await client.get(f"{health}/readyz?without=bases", timeout=_WITHIN)
    except httpx.HTTPError as error:
        return False, f"no answer from {health}/readyz ({type(error).__name__})"
    return answer.status_code == httpx.codes.OK, " ".join(answer.text.split())[:400]


async def engines(client: httpx.AsyncClient, addresses: Iterable[str]) -> list[Engine]:
    """The engines of the services at `addresses`, each once; a service without a status page adds none."""
    found: set[Engine] = set()
    for health in addresses:
        try:
            answer = await client.get(f"{health}/statusz", timeout=_WITHIN)
            status = answer.json() if answer.status_code == httpx.codes.OK else {}
        except (httpx.HTTPError, ValueError):
            continue
        for row in status.get("engines", []) if isinstance(status, dict) else []:
            if isinstance(row, dict):
                found.add(Engine(*(str(row.get(key, "")) for key in ("stage", "name", "why"))))
    return sorted(found)
