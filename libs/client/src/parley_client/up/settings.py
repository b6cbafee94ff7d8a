"""What `parley up` is asked to do, from its flags, the environment and `.env`; and how its settings are documented."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from parley_client.up.container import DEFAULT_IMAGE
from parley_client.up.errors import ConfigurationError

MOST_PROCESSES = 64
"""Of one role; more on one machine is a slip of the finger."""
DISPENSABLE = frozenset({"asr"})
"""Roles without which everything but their own part works."""


@dataclass(frozen=True)
class Documented:
    """One key for docs/settings.md and .env.example."""

    env: str
    default: str
    help: str


DOCUMENTED = (
    Documented("AMQP_URL", "", "The broker to use, amqp://USER:PASSWORD@HOST:PORT/VHOST; empty: start one of our own"),
    Documented("PARLEY_BROKER", "auto", "Kind of the broker of our own: auto, docker or package"),
    Documented("PARLEY_RABBITMQ_IMAGE", DEFAULT_IMAGE, "Image of the broker of our own in Docker"),
    Documented("PARLEY_BROKER_MANAGEMENT", "0", "1: the broker of our own serves its management pages on port 15672"),
    Documented("PARLEY_DATA", ".parley", "Folder of logs, queues, database and secrets that `parley up` writes"),
    Documented("PARLEY_HOST", "127.0.0.1", "Address the gateways listen on"),
    Documented("PARLEY_PORT", "8000", "TCP port of the first gateway; the others take the next ones"),
    Documented("PARLEY_STORE", "", "SQLAlchemy URL of the store; empty: SQLite in PARLEY_DATA"),
)
"""The keys that `parley up` itself reads. Everything else in the environment goes to the services as it is."""


@dataclass(frozen=True)
class UpSettings:
    """One `parley up`. `env` is the merged environment; `counts` how many processes of each role."""

    root: Path
    data: Path
    host: str
    port: int
    counts: Mapping[str, int]
    env: Mapping[str, str] = field(repr=False)
    sample: bool = True

    @property
    def address(self) -> str:
        """Where a person on this machine finds the first gateway."""
        return f"{'https' if self.certificate else 'http'}://{self.reachable}:{self.port}"

    @property
    def certificate(self) -> str:
        """File with the certificate of gateways that speak TLS themselves; "" where they do not."""
        return self.env.get("PARLEY_TLS_CERT", "")

    @property
    def reachable(self) -> str:
        """The host part of an address that reaches the gateways from this machine."""
        host = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(self.host, self.host)  # noqa: S104 - not bound
        return f"[{host}]" if ":" in host else host


def project_folder(start: Path) -> Path:
    """The nearest folder at or above `start` that holds the project; `start` itself where none does."""
    for folder in (start, *start.parents):
        if (folder / "Taskfile.yml").is_file() and (folder / "libs" / "client").is_dir():
            return folder
    return start


def number(env: Mapping[str, str], key: str, default: int) -> int:
    """The whole number `key` says; raises ConfigurationError for anything else."""
    raw = env.get(key, "").strip()
    try:
        return int(raw) if raw else default
    except ValueError:
        raise ConfigurationError(f"{key} is {raw!r}: it must be a whole number.") from None


def checked_counts(counts: Mapping[str, int]) -> Mapping[str, int]:
    """`counts` as they are; raises ConfigurationError for a role with too many processes, or with none where Parley
    cannot be used without.
    """
    for role, count in counts.items():
        least = 0 if role in DISPENSABLE else 1
        if not least <= count <= MOST_PROCESSES:
            raise ConfigurationError(f"{count} {role} processes: choose from {least} to {MOST_PROCESSES}.")
    return counts
