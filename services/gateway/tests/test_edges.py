"""Where a gateway is reached: further ports, prefixes that proxies leave, TLS of its own."""

import asyncio
import json
import ssl
from dataclasses import replace

import httpx
import pytest
from websockets.asyncio.client import connect

from parley_gateway.app import check, compose
from parley_gateway.config import GatewaySettings, LimitSettings, ServerSettings
from parley_gateway.server import bind
from parley_runtime.config import read
from parley_runtime.errors import ConfigError
from parley_runtime.process import Process
from parley_runtime.settings import CommonSettings
from parley_testkit.certificate import make_certificate
from parley_testkit.rabbit import free_port

pytestmark = pytest.mark.unit


async def opened(house, **server):
    """A gateway with these server settings."""
    common = CommonSettings(process_id="gateway-1")
    settings = GatewaySettings(
        common=common,
        server=ServerSettings(port=0, data=str(house.folder), **server),
        limits=LimitSettings(connect_rate=0),
    )
    check(settings)
    process = Process("gateway", common)
    gateway = await house.stack.enter_async_context(
        compose(process, settings, house.broker.process("gateway-1"), house.store)
    )
    process.started.set()
    return gateway


async def answered(house, url, **options):
    """What one question to the data assistant at ``url`` is answered."""
    async with connect(url, **options) as socket:
        await socket.send(json.dumps({"message": "hm?"}))
        await house.worker.answer(await house.worker.jobs.get(), "yes")
        return json.loads(await socket.recv())["response"]


async def test_further_ports_serve_the_same(house):
    extra = free_port()
    gateway = await opened(house, extra_ports=(extra,))
    for port in (gateway.port, extra):
        assert await answered(house, f"ws://127.0.0.1:{port}/") == "yes"
        async with httpx.AsyncClient(trust_env=False) as http:
            assert (await http.get(f"http://127.0.0.1:{port}/livez")).status_code == 200


def test_a_further_port_in_use_is_said_and_nothing_stays_bound():
    (taken,) = bind(ServerSettings(port=0))
    taken.listen()
    first = free_port()
    with pytest.raises(ConfigError, match="PARLEY_EXTRA_PORTS"):
        bind(ServerSettings(port=first, extra_ports=(taken.getsockname()[1],)))
    taken.close()
    (again,) = bind(ServerSettings(port=first))
    again.close()


async def test_prefixes_are_taken_off_sockets_and_http(house):
    gateway = await opened(house, path_prefixes=("/websocket", "/websocket/v2"))
    for path in ("/websocket", "/websocket/", "/websocket/v2/", "/"):
        assert await answered(house, f"ws://127.0.0.1:{gateway.port}{path}") == "yes"
    async with httpx.AsyncClient(trust_env=False, base_url=f"http://127.0.0.1:{gateway.port}") as http:
        assert (await http.get("/websocket/livez")).json() == {"status": "ok"}
        assert (await http.get("/websockets/livez")).status_code == 404


async def test_tls_of_its_own(house, tmp_path):
    certificate, key = make_certificate(tmp_path)
    gateway = await opened(house, tls_cert=str(certificate), tls_key=str(key))
    trust = ssl.create_default_context(cafile=str(certificate))
    assert await answered(house, f"wss://127.0.0.1:{gateway.port}/", ssl=trust) == "yes"
    async with connect(f"wss://127.0.0.1:{gateway.port}/v1/connect", ssl=trust) as socket:
        for number in range(20):  # one write each
            await socket.send(json.dumps({"type": "ping"} if number else {"type": "hello"}))
            async with asyncio.timeout(30):
                assert json.loads(await socket.recv())["type"] == ("pong" if number else "welcome")
    async with httpx.AsyncClient(trust_env=False, verify=trust) as http:
        assert (await http.get(f"https://127.0.0.1:{gateway.port}/livez")).status_code == 200


def test_a_certificate_that_cannot_be_used_is_said_at_start(tmp_path):
    certificate, _ = make_certificate(tmp_path)
    settings = GatewaySettings(server=ServerSettings(tls_cert=str(certificate), tls_key=str(certificate)))
    with pytest.raises(ConfigError, match="PARLEY_TLS_KEY"):
        check(settings)
    absent = replace(settings.server, tls_key=str(tmp_path / "none"))
    with pytest.raises(ConfigError, match="No such file"):
        check(replace(settings, server=absent))


@pytest.mark.parametrize(
    ("environ", "said"),
    [
        ({"PARLEY_TLS_CERT": "a.pem"}, "must be set together"),
        ({"PARLEY_PATH_PREFIXES": "/fine,websocket"}, "websocket must begin with /"),
        ({"PARLEY_EXTRA_PORTS": "8001,http"}, "PARLEY_EXTRA_PORTS"),
        ({"PARLEY_OPEN_DIALECTS": "d0,d9"}, "d9 is none of d0"),
    ],
)
def test_settings_that_cannot_work_are_said(environ, said):
    with pytest.raises(ConfigError, match=said):
        read(GatewaySettings, environ)


def test_names_of_other_systems_are_understood():
    settings = read(GatewaySettings, {"MANAGEMENT_API_PORT": "8123", "WEBSOCKET_PORT": "9000"})
    assert settings.server.port == 8123
    assert settings.server.websocket_port == "9000"
