"""Which broker `up` uses, and a command that starts one of our own: `python -m parley_client.up.broker run|start|stop`.

The order: AMQP_URL, then the kind of broker whose queues are in the data folder already, then Docker where an engine
answers and has or can get the image, then the system's RabbitMQ package, installed where that is possible.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

from parley_client.up import amqp_probe, container, node, packages, state
from parley_client.up.errors import BrokerRefused, BrokerUnreachable, ConfigurationError, NotABroker, UpError
from parley_client.up.report import Report, Step

PACKAGES = ("rabbitmq-server",)
UNITS = ("rabbitmq-server.service", "epmd.service", "epmd.socket")


class Broker(Protocol):
    """A broker for the services: started once, restarted by calling `start` again after `wait` returned."""

    @property
    def kind(self) -> str:
        """ "external", "docker" or "package"."""
        ...

    async def start(self, step: Step) -> str:
        """Returns the AMQP URL once a login succeeds; fills in `step.done`. Raises UpError."""
        ...

    async def wait(self) -> int:
        """Waits until the broker process ends; never returns for one that is not ours."""
        ...

    async def stop(self, within: float) -> None:
        """Stops it gracefully, killing it after `within` seconds; does nothing to one that is not ours."""
        ...


@dataclass(frozen=True)
class BrokerSettings:
    """Where and how a broker is provided. `folder` holds everything that one of our own writes, but its logs."""

    folder: Path
    logs: Path
    url: str = ""
    kind: str = "auto"
    image: str = container.DEFAULT_IMAGE
    management: bool = False

    @classmethod
    def read(cls, env: Mapping[str, str], data: Path) -> "BrokerSettings":
        """From AMQP_URL, PARLEY_BROKER (auto, docker, package), PARLEY_RABBITMQ_IMAGE and PARLEY_BROKER_MANAGEMENT."""
        kind = env.get("PARLEY_BROKER", "") or "auto"
        if kind not in {"auto", "docker", "package"}:
            raise ConfigurationError(f"PARLEY_BROKER is {kind!r}: it may be auto, docker or package.")
        return cls(
            folder=data / "broker",
            logs=data / "logs",
            url=env.get("AMQP_URL", ""),
            kind=kind,
            image=env.get("PARLEY_RABBITMQ_IMAGE", "") or container.DEFAULT_IMAGE,
            management=env.get("PARLEY_BROKER_MANAGEMENT", "") in {"1", "true", "yes"},
        )


class ExternalBroker:
    """The broker of AMQP_URL: checked, used, and otherwise left alone."""

    kind = "external"

    def __init__(self, url: str) -> None:
        self._url = url

    async def start(self, step: Step) -> str:
        """Logs in once. Raises UpError that says whether the address, the login or the virtual host is at fault."""
        target = amqp_probe.address(self._url)
        try:
            product = await amqp_probe.probe(self._url, within=8.0)
        except BrokerRefused as error:
            raise BrokerRefused(f"{error} Mend the user, password or virtual host in AMQP_URL.") from None
        except NotABroker as error:
            raise NotABroker(f"{error} Mend the port in AMQP_URL.") from None
        except BrokerUnreachable as error:
            raise BrokerUnreachable(
                f"{error} Start that broker, mend AMQP_URL, or unset it to let Parley start one of its own."
            ) from None
        step.done = f"broker: {product} at {target} (AMQP_URL)"
        return self._url

    async def wait(self) -> int:
        """Never returns: the services themselves notice when this broker goes away."""
        await asyncio.Event().wait()
        return 0

    async def stop(self, within: float) -> None:
        """Leaves the broker alone."""


async def choose(settings: BrokerSettings, report: Report, step: Step) -> Broker:
    """The broker to use, ready to be started. May fetch an image or install a package; raises UpError."""
    if settings.url:
        return ExternalBroker(settings.url)
    on_line = partial(report.child, "broker", only_errors=True)  # it warns of its own first start
    remembered = state.recall(settings.folder).kind
    kind = remembered or "auto" if settings.kind == "auto" else settings.kind
    if kind in {"auto", "docker"} and (why := await _no_docker(settings, step)):
        if settings.kind == "docker":
            raise UpError(f"PARLEY_BROKER is docker, but {why}.")
        if remembered == "docker":
            report.warn(f"The queues of the last start are in a Docker volume, but {why}: starting without them.")
        kind = "package"
    if kind in {"auto", "docker"}:
        return container.ContainerBroker(settings.folder, settings.logs, on_line, image=settings.image)
    if node.server() is None:
        await _install(step)
    return node.NodeBroker(settings.folder, settings.logs, on_line, management=settings.management)


async def _no_docker(settings: BrokerSettings, step: Step) -> str:
    """Why Docker cannot be used; empty when it can."""
    if not await container.engine_answers():
        return "no Docker engine answers"
    if not await container.have_image(settings.image, step):
        return f"the image {settings.image} is neither there nor to be had"
    return ""


async def _install(step: Step) -> None:
    try:
        await packages.install(PACKAGES, UNITS, step)
    except UpError as error:
        raise UpError(
            f"There is no broker yet: AMQP_URL is not set, no Docker engine can run one, and RabbitMQ is not "
            f"installed. {error}"
        ) from None


if __name__ == "__main__":
    from parley_client.up.broker_command import main

    main()
