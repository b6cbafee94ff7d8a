"""A RabbitMQ of our own in Docker: a named volume, one port published on 127.0.0.1, gone with the command."""

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

from parley_client.up import state
from parley_client.up.child import Child, Command, output_of, start
from parley_client.up.errors import UpError
from parley_client.up.ready import wait_ready
from parley_client.up.report import Step

DEFAULT_IMAGE = "rabbitmq:4.0-management"
READY_WITHIN = 120.0
"""Seconds a container may take to accept a login."""
PULL_WITHIN = 600.0
"""Seconds that fetching the image may take."""


async def engine_answers() -> bool:
    """Whether a Docker engine on this machine answers within 5 s; one on another machine does not count."""
    if not os.environ.get("DOCKER_HOST", "unix://").startswith("unix://"):
        return False
    code, _ = await output_of("docker", "version", "--format", "{{.Server.Version}}", within=5.0)
    return code == 0


async def have_image(image: str, step: Step) -> bool:
    """Whether the engine has `image`, after fetching it where it can be fetched."""
    code, _ = await output_of("docker", "image", "inspect", image, within=10.0)
    if code == 0:
        return True
    step.now(f"fetching the image {image}")
    code, _ = await output_of("docker", "pull", "--quiet", image, within=PULL_WITHIN)
    return code == 0


class ContainerBroker:
    """RabbitMQ in a container that lives as long as this command; its queues are in a volume named after `folder`."""

    kind = "docker"

    def __init__(self, folder: Path, logs: Path, on_line: Callable[[str], None], *, image: str) -> None:
        self._folder = folder.resolve()
        self._logs = logs.resolve()
        self._on_line = on_line
        self._image = image
        self._name = state.label(self._folder)
        self._child: Child | None = None

    async def start(self, step: Step) -> str:
        """Starts the container and returns its URL once the broker accepts a login. Raises UpError with its log."""
        await self._remove_former(step)
        self._folder.mkdir(parents=True, exist_ok=True)
        found = state.remember(self._folder, state.recall(self._folder), self.kind)
        login = {"RABBITMQ_DEFAULT_USER": found.user, "RABBITMQ_DEFAULT_PASS": found.password}
        command = Command("broker", self._argv(found), self._logs / "broker.log", os.environ | login, self._folder)
        self._child = await start(command, self._on_line)
        step.now("waiting for RabbitMQ to accept a login")
        product = await wait_ready(found.url, self._child, READY_WITHIN)
        step.done = f"broker: {product} in Docker ({self._image}, container {self._name}), 127.0.0.1:{found.amqp_port}"
        return found.url

    async def wait(self) -> int:
        """Waits until the container ends; returns its exit code."""
        if self._child is None:
            raise UpError("The broker was not started.")
        return await self._child.wait()

    async def stop(self, within: float) -> None:
        """Stops the broker so that its queues are on disk and removes the container; the volume stays."""
        if self._child is None:
            return
        ended = asyncio.ensure_future(self._child.wait())
        # Asked through its own tool: not every image hands signals on to the broker.
        await output_of("docker", "exec", self._name, "rabbitmqctl", "--quiet", "shutdown", within=within)
        await asyncio.wait([ended], timeout=2.0)
        if not ended.done():
            await output_of("docker", "rm", "--force", self._name, within=15.0)
        await self._child.stop(5.0)
        self._child = None

    def _argv(self, found: state.BrokerState) -> list[str]:
        # The password travels by name, so that no process list shows it.
        return [
            *("docker", "run", "--rm", "--init", "--name", self._name, "--hostname", "parley"),
            *("--label", f"parley.data={self._folder}"),
            *("--publish", f"127.0.0.1:{found.amqp_port}:5672"),
            *("--volume", f"{self._name}:/var/lib/rabbitmq"),
            *("--env", "RABBITMQ_NODENAME=rabbit@localhost"),
            *("--env", "RABBITMQ_DEFAULT_USER", "--env", "RABBITMQ_DEFAULT_PASS"),
            self._image,
        ]

    async def _remove_former(self, step: Step) -> None:
        """One that a killed command left behind; only a container with our own label is touched."""
        query = ("docker", "ps", "--all", "--quiet", "--filter", f"label=parley.data={self._folder}")
        _, names = await output_of(*query, within=10.0)
        for name in names.split():
            step.now("removing a container that a former run left behind")
            await output_of("docker", "exec", name, "rabbitmqctl", "--quiet", "shutdown", within=15.0)
            await output_of("docker", "rm", "--force", name, within=15.0)


async def remove_volume(folder: Path) -> None:
    """Forgets the queues that a container of `folder` kept."""
    await output_of("docker", "volume", "rm", "--force", state.label(folder), within=15.0)
