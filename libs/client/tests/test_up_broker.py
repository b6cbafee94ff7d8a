"""A RabbitMQ of our own: real nodes, beside one that already runs, with queues that survive."""

import asyncio
import contextlib
import json
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import aio_pika
import pytest

from parley_client.up import amqp_probe, container, ports, state
from parley_client.up.broker import BrokerSettings, ExternalBroker, choose
from parley_client.up.child import output_of
from parley_client.up.errors import BrokerRefused, BrokerUnreachable, ConfigurationError, NotABroker
from parley_client.up.report import Report

pytestmark = pytest.mark.rabbit


@contextlib.asynccontextmanager
async def running(data: Path, *flags: str) -> AsyncIterator[tuple[str, asyncio.subprocess.Process]]:
    """`python -m parley_client.up.broker run`, and the URL it prints."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "parley_client.up.broker", "run", "--data", str(data), *flags),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "PARLEY_BROKER": "package"},
    )
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        async with asyncio.timeout(120):
            url = (await process.stdout.readline()).decode().strip()
        assert url, (await process.stderr.read()).decode()
        yield url, process
    finally:
        if process.returncode is None:
            process.terminate()
        async with asyncio.timeout(60):
            await process.communicate()


async def test_two_brokers_of_our_own_live_beside_each_other(tmp_path: Path) -> None:
    """Stopping one, even with SIGKILL to its keeper, leaves the other as it was; what is asked of one is its own."""
    async with running(tmp_path / "a") as (first, _), running(tmp_path / "b") as (second, keeper):
        assert amqp_probe.address(first).port != amqp_probe.address(second).port
        assert (await amqp_probe.probe(first)).startswith("RabbitMQ ")
        with pytest.raises(BrokerRefused, match="refused the user name or password"):
            await amqp_probe.probe(first.replace(amqp_probe.address(first).password, "wrong"))
        keeper.kill()
        await keeper.wait()
        async with asyncio.timeout(30):
            while True:
                with contextlib.suppress(BrokerRefused, NotABroker):
                    try:
                        await amqp_probe.probe(second, within=1.0)
                    except BrokerUnreachable:
                        break
                await asyncio.sleep(0.05)
        assert (await amqp_probe.probe(first)).startswith("RabbitMQ ")
        listening = _listeners()
        for name in ("amqp_port", "dist_port", "epmd_port"):
            port = json.loads((tmp_path / "a" / "broker" / "broker.json").read_text(encoding="utf-8"))[name]
            assert listening[port] <= {"127.0.0.1", "::1"}, "only this machine may reach it"


def _listeners() -> dict[int, set[str]]:
    """Port -> addresses that something listens on, from the kernel."""
    found: dict[int, set[str]] = {}
    for family, table in ((socket.AF_INET, "tcp"), (socket.AF_INET6, "tcp6")):
        for line in Path(f"/proc/net/{table}").read_text(encoding="ascii").splitlines()[1:]:
            local, _, status = line.split()[1:4]
            if status != "0A":
                continue
            address, port = local.split(":")
            raw = bytes.fromhex(address)
            words = b"".join(raw[i : i + 4][::-1] for i in range(0, len(raw), 4))
            found.setdefault(int(port, 16), set()).add(socket.inet_ntop(family, words))
    return found


async def test_a_restart_keeps_port_login_and_queues(tmp_path: Path) -> None:
    async with running(tmp_path) as (first, _):
        await _declare(first, "kept")
    async with running(tmp_path) as (second, _):
        assert second == first
        assert await _count(second, "kept") == 1
    assert oct((tmp_path / "broker" / "broker.json").stat().st_mode & 0o777) == "0o600"
    assert oct((tmp_path / "broker" / "rabbitmq.conf").stat().st_mode & 0o777) == "0o600"


async def test_a_fresh_one_leaves_nothing_behind(tmp_path: Path) -> None:
    async with running(tmp_path / "x", "--fresh") as (url, keeper):
        assert await amqp_probe.probe(url)
        keeper.send_signal(signal.SIGINT)
        assert await keeper.wait() == 0
    assert not (tmp_path / "x").exists()


async def test_docker_keeps_its_queues_in_a_volume_and_leaves_no_container(tmp_path: Path) -> None:
    """On the newest of the broker images that the contract suite uses."""
    image = os.environ.get("PARLEY_TEST_RABBITMQ_IMAGES", "rabbitmq:4.0-management").split(",")[-1]
    settings = BrokerSettings.read({"PARLEY_BROKER": "docker", "PARLEY_RABBITMQ_IMAGE": image}, tmp_path)
    report = Report()
    urls = []
    try:
        for expected in (None, 1):
            with report.step("broker") as step:
                broker = await choose(settings, report, step)
                assert broker.kind == "docker"
                try:
                    urls.append(await broker.start(step))
                    if expected is None:
                        await _declare(urls[-1], "kept")
                    else:
                        assert await _count(urls[-1], "kept") == expected
                finally:
                    await broker.stop(20.0)
            query = ("docker", "ps", "--all", "--quiet", "--filter", f"label=parley.data={settings.folder}")
            assert await output_of(*query, within=10.0) == (0, "")
    finally:
        await container.remove_volume(settings.folder)
    assert urls[0] == urls[1]


async def _declare(url: str, name: str) -> None:
    async with await aio_pika.connect(url) as connection:
        channel = await connection.channel()
        await channel.declare_queue(name, durable=True, arguments={"x-queue-type": "quorum"})
        message = aio_pika.Message(b"x", delivery_mode=aio_pika.DeliveryMode.PERSISTENT)
        await channel.default_exchange.publish(message, name)


async def _count(url: str, name: str) -> int | None:
    async with await aio_pika.connect(url) as connection:
        channel = await connection.channel()
        queue = await channel.declare_queue(name, durable=True, passive=True)
        return queue.declaration_result.message_count


async def test_a_broker_that_was_given_is_checked_and_explained(tmp_path: Path) -> None:
    report = Report()
    with report.step("broker") as step:
        unreachable = ExternalBroker(f"amqp://me:s3cret@127.0.0.1:{ports.free_port()}/")
        with pytest.raises(BrokerUnreachable, match=r"mend AMQP_URL, or unset it") as error:
            await unreachable.start(step)
        assert "s3cret" not in str(error.value)
        given = await choose(BrokerSettings(tmp_path, tmp_path, url="amqp://h/"), report, step)
        assert given.kind == "external"


def test_an_unknown_kind_of_broker_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"'kafka': it may be auto, docker or package"):
        BrokerSettings.read({"PARLEY_BROKER": "kafka"}, tmp_path)


def test_a_state_file_that_is_damaged_is_made_anew(tmp_path: Path) -> None:
    (tmp_path / "broker.json").write_text("{", encoding="utf-8")
    found = state.recall(tmp_path)
    assert found.kind == ""
    assert len({found.amqp_port, found.dist_port, found.epmd_port}) == 3
    assert state.recall(tmp_path).password != found.password
    kept = state.remember(tmp_path, found, "package")
    assert state.recall(tmp_path) == kept
