"""Which processes `up` runs, and what each finds in its environment."""

import secrets
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from parley_client.up import ports
from parley_client.up.child import Command
from parley_client.up.sample import BASES
from parley_client.up.settings import UpSettings

MODULES = {"gateway": "parley_gateway", "rag": "parley_rag", "inference": "parley_inference", "asr": "parley_asr"}
STOP_ORDER: tuple[tuple[str, ...], ...] = (("gateway",), ("rag", "inference", "asr"))
"""Gateways first, so that nothing new comes in while the workers finish."""


@dataclass(frozen=True)
class Service:
    """One process: how to start it, and where it says that it is ready (`health` + "/readyz")."""

    role: str
    command: Command
    health: str

    @property
    def name(self) -> str:
        """What people see: "inference-2"."""
        return self.command.name

    def fresh(self) -> Command:
        """The command with a process id of its own, so that a new run never meets what the one before left behind."""
        env = {**self.command.env, "PARLEY_PROCESS_ID": f"{self.name}-{secrets.token_hex(3)}"}
        return replace(self.command, env=env)


def check_ports(settings: UpSettings) -> None:
    """Raises ConfigurationError when a gateway's port cannot be listened on. Nothing has been started by then."""
    for index in range(settings.counts["gateway"]):
        ports.require(settings.host, settings.port + index, "PARLEY_PORT (or --port)")


def services(settings: UpSettings, amqp_url: str) -> list[Service]:
    """Every process of this `up`, gateways first."""
    shared = dict(settings.env)
    shared["AMQP_URL"] = amqp_url
    shared["PARLEY_DATA"] = str(settings.data)
    shared["PARLEY_HOST"] = settings.host
    shared["PYTHONUNBUFFERED"] = "1"
    if not shared.get("PARLEY_STORE"):
        shared["PARLEY_STORE"] = f"sqlite+aiosqlite:///{settings.data / 'parley.db'}"
    shared.setdefault("PARLEY_ASR_VOCABULARIES", str(settings.data / "vocabularies"))
    if (listeners := settings.counts.get("asr", 0)) > 1:
        shared.setdefault("PARLEY_ASR_SHARING", str(listeners))
    if settings.sample:
        shared.setdefault("PARLEY_READY_BASES", ",".join(BASES))
    taken = {settings.port + index for index in range(settings.counts["gateway"])}
    found: list[Service] = []
    for role, module in MODULES.items():
        for index in range(settings.counts.get(role, 0)):
            own = {"PARLEY_PORT": str(settings.port + index)} if role == "gateway" else {}
            if role == "gateway" and not settings.certificate:
                health = f"http://{settings.reachable}:{settings.port + index}"
            else:
                taken.add(port := ports.free_port(taken))
                own["PARLEY_HEALTH_PORT"] = str(port)
                health = f"http://127.0.0.1:{port}"
            found.append(_service(settings, role, index, {**shared, **own}, health, module))
    return found


def _service(
    settings: UpSettings, role: str, index: int, shared: Mapping[str, str], health: str, module: str
) -> Service:
    name = f"{role}-{index + 1}"
    own = {"PARLEY_EXTRA_PORTS": ""} if index else {}  # they are the first gateway's
    env = {**shared, **own}
    argv = (sys.executable, "-m", module)
    return Service(role, Command(name, argv, log_file(settings.data, name), env, settings.root), health)


def log_file(data: Path, name: str) -> Path:
    """Where the lines of the process `name` go."""
    return data / "logs" / f"{name}.log"
