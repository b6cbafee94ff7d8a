"""A RabbitMQ node of our own from the system's package, beside any broker that already runs.

Own node name, ports on 127.0.0.1, data, plugins file, cookie and port mapper (epmd); the system's service, its
configuration in /etc/rabbitmq and the epmd on port 4369 are never touched.
"""

import asyncio
import fcntl
import os
import shutil
from collections.abc import Callable
from pathlib import Path

from parley_client.up import state
from parley_client.up.child import Child, Command, start
from parley_client.up.errors import UpError
from parley_client.up.ready import wait_ready
from parley_client.up.report import Step

READY_WITHIN = 90.0
"""Seconds a node may take to accept a login; a cold start takes 3 to 10."""
FORMER_WITHIN = 20.0
"""Seconds to wait for a former node of the same folder, told to stop by the death of its parent, to be gone."""


def server() -> Path | None:
    """The package's start script, the one that does not change user; None when RabbitMQ is not installed."""
    for folder in (Path("/usr/lib/rabbitmq/bin"), Path("/opt/homebrew/sbin"), Path("/usr/local/sbin")):
        if (folder / "rabbitmq-server").exists() and shutil.which("erl"):
            return folder / "rabbitmq-server"
    return None


class NodeBroker:
    """RabbitMQ from the system's package, run as this user with everything it writes under `folder`."""

    kind = "package"

    def __init__(self, folder: Path, logs: Path, on_line: Callable[[str], None], *, management: bool = False) -> None:
        self._folder = folder.resolve()
        self._logs = logs.resolve()
        self._on_line = on_line
        self._management = management
        self._epmd: Child | None = None
        self._node: Child | None = None
        self._lock: int | None = None

    async def start(self, step: Step) -> str:
        """Starts the node and returns its URL once it accepts a login. Raises UpError with the last log lines."""
        program = server()
        if program is None:
            raise UpError("RabbitMQ is not installed.")
        self._folder.mkdir(parents=True, exist_ok=True)
        await self._take_lock(step)
        found = state.remember(self._folder, state.recall(self._folder), self.kind)
        env = self._write_files(found)
        mapper = ("epmd", "-port", str(found.epmd_port), "-address", "127.0.0.1")
        self._epmd = await start(Command("epmd", mapper, self._logs / "epmd.log", env), _ignore)
        self._node = await start(
            Command("broker", (str(program),), self._logs / "broker.log", env, self._folder, self._lock), self._on_line
        )
        step.now("waiting for RabbitMQ to accept a login")
        product = await wait_ready(found.url, self._node, READY_WITHIN)
        step.done = f"broker: {product} from the system's package, its own node on 127.0.0.1:{found.amqp_port}"
        return found.url

    async def wait(self) -> int:
        """Waits until the node ends; returns its exit code."""
        if self._node is None:
            raise UpError("The broker was not started.")
        return await self._node.wait()

    async def stop(self, within: float) -> None:
        """Stops the node so that its queues are on disk, then its port mapper; kills what takes longer."""
        if self._node is not None:
            await self._node.stop(within)
        if self._epmd is not None:
            await self._epmd.stop(2.0)
        if self._lock is not None:
            os.close(self._lock)
        self._node = self._epmd = self._lock = None

    async def _take_lock(self, step: Step) -> None:
        """The node inherits the lock, so it stays taken until the node itself is gone, whatever happens to us."""
        if self._lock is not None:
            return
        lock = os.open(self._folder / "node.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            async with asyncio.timeout(FORMER_WITHIN):
                while not _locked(lock):
                    step.now("waiting for the former broker of this folder to stop")
                    await asyncio.sleep(0.25)
        except BaseException as error:
            os.close(lock)
            if isinstance(error, TimeoutError):
                raise UpError(
                    f"Another broker runs on {self._folder}: stop it (`python -m parley_client.up.broker stop "
                    f"--data {self._folder.parent}`), or use another folder with --data."
                ) from None
            raise
        self._lock = lock

    def _write_files(self, found: state.BrokerState) -> dict[str, str]:
        home = self._folder / "home"
        home.mkdir(exist_ok=True)
        self._logs.mkdir(parents=True, exist_ok=True)
        state.private_text(self._folder / "rabbitmq.conf", _configuration(found, self._management))
        (self._folder / "rabbitmq-env.conf").write_text("", encoding="utf-8")
        plugins = "[rabbitmq_management]." if self._management else "[]."
        (self._folder / "enabled_plugins").write_text(plugins, encoding="utf-8")
        inherited = {k: v for k, v in os.environ.items() if not k.startswith(("RABBITMQ_", "ERL_", "NOTIFY_"))}
        return inherited | {
            "HOME": str(home),
            "LANG": "C.UTF-8",
            "ERL_EPMD_PORT": str(found.epmd_port),
            "RABBITMQ_NODENAME": f"{state.label(self._folder)}@localhost",
            "RABBITMQ_DIST_PORT": str(found.dist_port),
            "RABBITMQ_CONF_ENV_FILE": str(self._folder / "rabbitmq-env.conf"),
            "RABBITMQ_CONFIG_FILE": str(self._folder / "rabbitmq.conf"),
            "RABBITMQ_ADVANCED_CONFIG_FILE": str(self._folder / "advanced.config"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self._folder / "enabled_plugins"),
            "RABBITMQ_MNESIA_BASE": str(self._folder / "data"),
            "RABBITMQ_MNESIA_DIR": str(self._folder / "data" / "node"),
            "RABBITMQ_FEATURE_FLAGS_FILE": str(self._folder / "data" / "feature_flags"),
            "RABBITMQ_PLUGINS_EXPAND_DIR": str(self._folder / "data" / "plugins"),
            "RABBITMQ_GENERATED_CONFIG_DIR": str(self._folder / "data" / "config"),
            "RABBITMQ_SCHEMA_DIR": str(self._folder / "data" / "schema"),
            "RABBITMQ_PID_FILE": str(self._folder / "node.pid"),
            "RABBITMQ_LOG_BASE": str(self._logs),
            "RABBITMQ_LOGS": "-",
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1}",
            # Makes the start script replace itself with the Erlang VM, so that signals reach the VM.
            "RUNNING_UNDER_SYSTEMD": "true",
        }


def _configuration(found: state.BrokerState, management: bool) -> str:
    lines = [
        f"listeners.tcp.local = 127.0.0.1:{found.amqp_port}",
        f"default_user = {found.user}",
        f"default_pass = {found.password}",
        "log.console = true",
        "log.console.level = warning",
        "raft.wal_max_size_bytes = 67108864",  # 64 MiB instead of 512: this node shares a developer's machine
        "disk_free_limit.absolute = 64MB",
    ]
    if management:
        lines += ["management.tcp.ip = 127.0.0.1", "management.tcp.port = 15672"]
    return "\n".join(lines) + "\n"


def _locked(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _ignore(line: str) -> None:
    """The port mapper has nothing to say to people; its log keeps it."""
