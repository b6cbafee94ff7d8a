"""Real RabbitMQ brokers for tests: a private node from Debian's package, and images through testcontainers.

Both give ``url``, ``start``, ``stop``, ``kill``, ``ctl`` (rabbitmqctl) and ``close``. Nothing of the system's own
RabbitMQ is touched: each node has its own name, port, port mapper, cookie and data folder. Methods block; call them
with ``asyncio.to_thread``.
"""

import asyncio
import functools
import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import pytest

BIN = Path("/usr/lib/rabbitmq/bin")
READY_S = 120.0
STOP_S = 60.0
CTL_S = 60.0
PORTS = (20_000, 32_000)
IMAGES_ENV = "PARLEY_TEST_RABBITMQ_IMAGES"
DEFAULT_IMAGES = "rabbitmq:3.10-management,rabbitmq:4.0-management"
DEBIAN = "debian-3.10"

_CONFIGURATION = """\
listeners.tcp.local = 127.0.0.1:{port}
log.console = true
log.console.level = warning
raft.wal_max_size_bytes = 67108864
disk_free_limit.absolute = 64MB
"""


# Read by testcontainers when it is imported: its reaper is one more image, and these containers end with the session.
os.environ.setdefault("TESTCONTAINERS_RYUK_DISABLED", "true")


_given: set[int] = set()


class RealBroker(Protocol):
    """A running RabbitMQ."""

    port: int

    @property
    def url(self) -> str: ...
    def start(self) -> None: ...
    def stop(self) -> None: ...
    def kill(self) -> None: ...
    def ctl(self, *arguments: str) -> str:
        """Run rabbitmqctl; returns its output. Raises RuntimeError."""
        ...

    def log(self) -> str:
        """What the broker has logged so far."""
        ...

    def close(self) -> None: ...


def free_port() -> int:
    """A TCP port that is free now, is given to nobody else in this run, and lies below those that the system gives to
    outgoing connections: one of them would else take it before its owner does.
    """
    first, last = _own_ports()
    while True:
        port = first + secrets.randbelow(last - first)
        if port in _given:
            continue
        with socket.socket() as sock:
            try:
                sock.bind(("127.0.0.1", port))
            except OSError:
                continue
        _given.add(port)
        return port


def _own_ports() -> tuple[int, int]:
    """The part of :data:`PORTS` that is this process's, where several share a run."""
    first, last = PORTS
    share = (last - first) // int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    first += share * int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    return first, first + share


class RabbitNode:
    """A private RabbitMQ from Debian's binaries, listening on 127.0.0.1 only."""

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="parley-rabbit-"))
        self.port = free_port()
        self._epmd_port = free_port()
        self._name = f"parley-test-{secrets.token_hex(4)}@localhost"
        self._node: subprocess.Popen[bytes] | None = None
        self._environ = self._write_files()
        self._log = (self._folder / "broker.log").open("ab")
        self._epmd = subprocess.Popen(
            ["epmd", "-port", str(self._epmd_port), "-address", "127.0.0.1"],
            env=self._environ,
            stdout=self._log,
            stderr=self._log,
        )

    @property
    def url(self) -> str:
        return f"amqp://guest:guest@127.0.0.1:{self.port}/"

    def start(self) -> None:
        """Start the node and return when it lets us log in. Raises RuntimeError with the end of its log."""
        self._node = subprocess.Popen(
            [str(BIN / "rabbitmq-server")],
            env=self._environ,
            stdout=self._log,
            stderr=self._log,
            start_new_session=True,
        )
        try:
            wait_for_login(self.url)
        except Exception as error:
            raise RuntimeError(f"the private RabbitMQ did not start: {error}\n{self.log()[-2000:]}") from error

    def stop(self) -> None:
        """Stop gracefully: what is durable is on disk."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL, as when the machine dies."""
        self._end(signal.SIGKILL)

    def restart(self) -> None:
        """Stop if running, and start on the same port and data."""
        self.stop()
        self.start()

    def ctl(self, *arguments: str) -> str:
        """Run rabbitmqctl; returns its output. ``eval`` goes to the node by itself where ``erl_call`` is there, which
        costs a hundredth of starting another Erlang.
        """
        if arguments[0] == "eval" and (program := shutil.which("erl_call")):
            return self._evaluate(program, arguments[1])
        command = [str(BIN / "rabbitmqctl"), "--quiet", *arguments]
        done = subprocess.run(command, env=self._environ, capture_output=True, timeout=CTL_S, check=False)
        if done.returncode:
            raise RuntimeError(f"rabbitmqctl {arguments[0]}: {done.stderr.decode(errors='replace').strip()}")
        return done.stdout.decode()

    def add_vhost(self, name: str) -> str:
        """A new virtual host that the guest may use; returns its address."""
        self.ctl(
            "eval",
            f'rabbit_vhost:add(<<"{name}">>, <<"test">>), '
            f'rabbit_auth_backend_internal:set_permissions(<<"guest">>, <<"{name}">>, '
            '<<".*">>, <<".*">>, <<".*">>, <<"test">>).',
        )
        return f"{self.url}{name}"

    def delete_vhost(self, name: str) -> None:
        """The virtual host with all that is in it."""
        self.ctl("eval", f'rabbit_vhost:delete(<<"{name}">>, <<"test">>).')

    def _evaluate(self, program: str, expression: str) -> str:
        cookie = (self._folder / "home" / ".erlang.cookie").read_text(encoding="ascii")
        done = subprocess.run(
            [program, "-sname", self._name, "-c", cookie, "-e"],
            env=self._environ,
            input=expression.encode() + b"\n",
            capture_output=True,
            timeout=CTL_S,
            check=False,
        )
        answer = (done.stdout + done.stderr).decode(errors="replace").strip()
        if done.returncode or not answer.startswith("{ok, "):
            raise RuntimeError(f"erl_call: {answer}")
        return answer.removeprefix("{ok, ").removesuffix("}")

    def log(self) -> str:
        """What the broker has logged so far: warnings and errors."""
        return (self._folder / "broker.log").read_text(errors="replace")

    def close(self) -> None:
        """Stop the node and its port mapper, and remove its folder."""
        self.stop()
        self._epmd.terminate()
        self._epmd.wait(STOP_S)
        self._log.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _end(self, signum: signal.Signals) -> None:
        node, self._node = self._node, None
        if node is None:
            return
        if node.poll() is None:
            os.kill(node.pid, signum)
        try:
            node.wait(STOP_S)
        except subprocess.TimeoutExpired:
            os.killpg(node.pid, signal.SIGKILL)
            node.wait(STOP_S)

    def _write_files(self) -> dict[str, str]:
        folder = self._folder
        for name in ("home", "data", "log"):
            (folder / name).mkdir()
        (folder / "rabbitmq.conf").write_text(_CONFIGURATION.format(port=self.port), encoding="utf-8")
        (folder / "enabled_plugins").write_text("[].", encoding="utf-8")
        (folder / "env.conf").write_text("", encoding="utf-8")
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("RABBITMQ_", "ERL_"))}
        return kept | {
            "HOME": str(folder / "home"),
            "LANG": "C.UTF-8",
            "ERL_EPMD_PORT": str(self._epmd_port),
            "RABBITMQ_NODENAME": self._name,
            "RABBITMQ_DIST_PORT": str(free_port()),
            "RABBITMQ_CONF_ENV_FILE": str(folder / "env.conf"),
            "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq.conf"),
            "RABBITMQ_ADVANCED_CONFIG_FILE": str(folder / "advanced.config"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "enabled_plugins"),
            "RABBITMQ_MNESIA_BASE": str(folder / "data"),
            "RABBITMQ_FEATURE_FLAGS_FILE": str(folder / "data" / "feature_flags"),
            "RABBITMQ_PLUGINS_EXPAND_DIR": str(folder / "data" / "plugins"),
            "RABBITMQ_GENERATED_CONFIG_DIR": str(folder / "data" / "config"),
            "RABBITMQ_SCHEMA_DIR": str(folder / "data" / "schema"),
            "RABBITMQ_PID_FILE": str(folder / "node.pid"),
            "RABBITMQ_LOG_BASE": str(folder / "log"),
            "RABBITMQ_LOGS": "-",
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1}",
            # The start script then replaces itself with the Erlang VM, so our signals reach it.
            "RUNNING_UNDER_SYSTEMD": "true",
        }


class RabbitImage:
    """A RabbitMQ image, started through testcontainers and reached on 127.0.0.1, at the same port after a restart."""

    def __init__(self, image: str) -> None:
        from testcontainers.core.container import DockerContainer

        self.port = free_port()
        self._container = DockerContainer(image).with_bind_ports(5672, self.port)
        self._container.start()
        try:
            wait_for_login(self.url)
        except BaseException:
            self._container.stop()
            raise

    @property
    def url(self) -> str:
        return f"amqp://guest:guest@127.0.0.1:{self.port}/"

    def start(self) -> None:
        """Start it again, with its data, and return when it lets us log in."""
        self._container.get_wrapped_container().start()
        wait_for_login(self.url)

    def stop(self) -> None:
        """Stop gracefully: what is durable is on disk."""
        container = self._container.get_wrapped_container()
        # Not by a signal: an image's entry point need not hand it on. The container ends with the node, and so may the
        # command, before it has told that it was done.
        self._container.exec(["rabbitmqctl", "--quiet", "stop"])
        container.wait(timeout=STOP_S)

    def kill(self) -> None:
        """SIGKILL, as when the machine dies."""
        self._container.get_wrapped_container().kill()

    def restart(self) -> None:
        """Stop if running, and start on the same port and data."""
        self.stop()
        self.start()

    def ctl(self, *arguments: str) -> str:
        """Run rabbitmqctl in the container."""
        done = self._container.exec(["rabbitmqctl", "--quiet", *arguments])
        text = done.output.decode(errors="replace")
        if done.exit_code:
            raise RuntimeError(f"rabbitmqctl {arguments[0]}: {text.strip()}")
        return text

    def log(self) -> str:
        """What the broker has logged so far."""
        return b"".join(self._container.get_logs()).decode(errors="replace")

    def close(self) -> None:
        """Stop and remove the container."""
        self._container.stop()


def wait_for_login(url: str, within_s: float = READY_S) -> None:
    """Return when the broker lets us log in. Must not be called on a running loop."""

    # Not at the top: this module is loaded with pytest itself, before coverage looks.
    from parley_protocol.routes import Topology
    from parley_runtime.amqp import AmqpBroker

    async def login() -> None:
        broker = AmqpBroker(url, name="testkit", topology=Topology((), ()))
        await broker.open("probe", wait_s=within_s)
        await broker.close()

    asyncio.run(login())


def images() -> dict[str, str]:
    """Images to test against, by test id: ``image-4.0`` for ``rabbitmq:4.0-management``."""
    named = os.environ.get(IMAGES_ENV, DEFAULT_IMAGES)
    return {f"image-{image.rpartition(':')[2].split('-')[0]}": image for image in named.split(",") if image}


@functools.cache
def engine_problem() -> str:
    """Why no container engine can be used; "" if one answers."""
    try:
        from testcontainers.core.docker_client import DockerClient

        DockerClient(timeout=30).client.ping()
    except Exception as error:
        return f"{type(error).__name__}: {error}".splitlines()[0]
    return ""


def broker_ids() -> list[str]:
    """Ids to parametrise with. Without a container engine: only Debian's node outside CI; in CI the images stay, and
    fail with the reason.
    """
    if engine_problem() and os.environ.get("CI") != "true":
        return [DEBIAN]
    return [DEBIAN, *images()]


def missing_images_line(config: pytest.Config) -> str:
    """A loud line for the header of a run that leaves the images out."""
    if config.option.markexpr and "rabbit" not in config.option.markexpr:
        return ""
    left_out = [one for one in images() if one not in broker_ids()]
    if not left_out:
        return ""
    return f"!!! NOT TESTED: RabbitMQ {', '.join(left_out)}: no container engine answers ({engine_problem()}) !!!"


def start_broker(which: str) -> RealBroker:
    """Start the broker of an id. Raises RuntimeError with what to do."""
    if which == DEBIAN:
        node = RabbitNode()
        try:
            node.start()
        except BaseException:
            node.close()
            raise
        return node
    if engine_problem():
        raise RuntimeError(f"{which} needs a container engine (start Docker): {engine_problem()}")
    return RabbitImage(images()[which])


@pytest.fixture(scope="session")
def rabbit() -> Iterator[RabbitNode]:
    """A private RabbitMQ node for the whole session; use names of your own in it."""
    if not (BIN / "rabbitmq-server").exists():
        raise RuntimeError("these tests need RabbitMQ: apt-get install rabbitmq-server (its service may stay off)")
    node = RabbitNode()
    try:
        node.start()
        yield node
    finally:
        node.close()
