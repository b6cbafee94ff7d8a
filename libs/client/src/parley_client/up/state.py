"""What a broker of our own remembers between starts: its ports, its login, and which kind of broker it is."""

import hashlib
import json
import secrets
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from parley_client.up import ports

_NAME = "broker.json"
_USER = "parley"


@dataclass(frozen=True)
class BrokerState:
    """Kept in the data folder, readable by its owner only. `kind` is "package", "docker" or "" when never started."""

    kind: str
    amqp_port: int
    dist_port: int
    epmd_port: int
    password: str

    @property
    def url(self) -> str:
        """Where the services find the broker. Holds the password."""
        return f"amqp://{_USER}:{self.password}@127.0.0.1:{self.amqp_port}/"

    @property
    def user(self) -> str:
        """The only user this broker knows."""
        return _USER


def label(folder: Path) -> str:
    """A name for the broker of `folder`, the same each time and unlike that of any other folder."""
    return f"parley-{hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:10]}"


def recall(folder: Path) -> BrokerState:
    """The remembered state, with another port for each that is taken by now; fresh where nothing is remembered."""
    try:
        old = json.loads((folder / _NAME).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        old = {}
    if not isinstance(old, dict):
        old = {}
    chosen: list[int] = []
    for name in ("amqp_port", "dist_port", "epmd_port"):
        chosen.append(ports.remembered_or_free(old.get(name), chosen))
    password = str(old.get("password") or secrets.token_urlsafe(18))
    return BrokerState(str(old.get("kind", "")), chosen[0], chosen[1], chosen[2], password)


def remember(folder: Path, state: BrokerState, kind: str) -> BrokerState:
    """Writes the state down, readable by the owner only, and returns it with its kind."""
    folder.mkdir(parents=True, exist_ok=True)
    state = replace(state, kind=kind)
    private_text(folder / _NAME, json.dumps(asdict(state)))
    return state


def private_text(path: Path, text: str) -> None:
    """Writes a file that only its owner can read, at once or not at all."""
    fresh = path.with_name(f"{path.name}.new")
    fresh.touch(mode=0o600)
    fresh.write_text(text, encoding="utf-8")
    fresh.replace(path)
