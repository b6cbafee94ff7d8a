"""What a client can get wrong, or try on: each gets a clear answer, and nobody else notices."""

import asyncio
import json
import logging
import random
import time

import jwt
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from parley_gateway.config import AccessSettings, LimitSettings

pytestmark = pytest.mark.unit

SECRET = "a secret of more than sixty-four characters, which tests use and nobody else"
HELLO = '{"type":"hello"}'

BAD = {
    "broken json": ("{", "bad_frame"),
    "no object": ("[]", "bad_frame"),
    "no type": ("{}", "bad_frame"),
    "unknown type": ('{"type":"nonsense"}', "unknown_type"),
    "wrong field type": ('{"type":"turn.start","turn":7,"text":"x"}', "bad_frame"),
    "missing field": ('{"type":"turn.start","turn":"a"}', "bad_frame"),
    "deep nesting": ("[" * 100_000, "bad_frame"),
    "deep context": ('{"type":"turn.start","turn":"a","text":"x","context":' + '{"a":' * 40_000, "bad_frame"),
    "huge number": ('{"type":"turn.start","turn":"a","text":"x","context":{"a":' + "9" * 30 + "}}", "invalid"),
    "empty text": ('{"type":"turn.start","turn":"a","text":"  "}', "invalid"),
    "long text": (json.dumps({"type": "turn.start", "turn": "a", "text": "x" * 16_001}), "invalid"),
    "empty turn": ('{"type":"turn.start","turn":"","text":"x"}', "invalid"),
    "long turn": (json.dumps({"type": "turn.start", "turn": "t" * 65, "text": "x"}), "invalid"),
    "past deadline": ('{"type":"turn.start","turn":"a","text":"x","deadline_ms":-1}', "invalid"),
    "unknown turn": ('{"type":"turn.cancel","turn":"nobody"}', "unknown_turn"),
    "bad ack": ('{"type":"ack","position":"nonsense"}', "bad_frame"),
    "audio": ('{"type":"audio.start","turn":"a","format":{"encoding":"mp3"}}', "unsupported"),
    "binary": (b"\x00\x01", "bad_frame"),
    "ten megabytes": ('"' + "x" * 10_000_000 + '"', "too_large"),
}


@pytest.mark.parametrize("name", list(BAD))
async def test_a_bad_frame_is_answered_and_the_socket_stays(house, name):
    data, code = BAD[name]
    gateway = await house.gateway()
    async with house.client(gateway) as client:
        await client.socket.send(data)
        error = await client.until("error")
        await client.send(type="ping")
        await client.until("pong")
    assert error["code"] == code
    assert error["message"]
    assert house.worker.jobs.all == []


async def test_too_many_frames_are_refused_and_the_socket_stays(house):
    gateway = await house.gateway(limits=LimitSettings(connect_rate=0, message_rate=20, message_burst=5))
    async with house.client(gateway) as client:
        for _ in range(8):
            await client.send(type="ping")
        error = await client.until("error")
        assert (error["code"], error["retryable"]) == ("rate_limited", True)
        assert error["retry_after_ms"] > 0
        await asyncio.sleep(0.2)
        await client.send(type="ping")
        await client.until("pong")


async def test_over_sixteen_megabytes_closes_with_1009(house):
    gateway = await house.gateway()
    async with house.client(gateway) as client:
        with pytest.raises(ConnectionClosed):
            await client.socket.send("x" * (17 * 1024 * 1024))
            await client.socket.recv()
        assert await client.closed() in (1009, 1006)


async def test_endless_fragments_end(house):
    gateway = await house.gateway()
    async with house.client(gateway) as client, house.client(gateway) as other:
        with pytest.raises(ConnectionClosed):
            await client.socket.send([b"", *[b""] * 10_000])
            await client.socket.recv()
        await other.send(type="ping")
        await other.until("pong")


async def test_no_hello_closes_with_4108(house):
    gateway = await house.gateway(limits=LimitSettings(connect_rate=0, hello_s=0.2))
    async with house.client(gateway, greet=False) as client:
        error = await client.until("error")
        assert await client.closed() == 4108
    assert error["code"] == "no_hello"


async def test_a_frame_before_hello_closes_with_4108(house):
    gateway = await house.gateway()
    async with house.client(gateway, greet=False) as client:
        await client.start("a")
        assert (await client.until("error"))["code"] == "no_hello"
        assert await client.closed() == 4108


async def test_a_second_hello_closes_with_4109(house):
    gateway = await house.gateway()
    async with house.client(gateway) as client:
        await client.send(type="hello")
        await client.until("error")
        assert await client.closed() == 4109


async def refused(gateway, path="/v1/connect", **options):
    with pytest.raises(InvalidStatus) as caught:
        async with connect(f"ws://127.0.0.1:{gateway.port}{path}", **options):
            pass
    return caught.value.response


async def test_connects_beyond_the_rate_are_refused_with_429(house):
    gateway = await house.gateway(limits=LimitSettings(connect_rate=60, connect_burst=1))
    async with house.client(gateway):
        response = await refused(gateway)
    assert response.status_code == 429
    assert int(response.headers["Retry-After"]) >= 1
    assert b"PARLEY_CONNECT_RATE" in response.body


async def test_a_foreign_origin_is_refused_with_403(house):
    gateway = await house.gateway()
    response = await refused(gateway, origin="https://evil.example")
    assert response.status_code == 403
    assert b"PARLEY_ORIGINS" in response.body
    async with house.client(gateway, origin="http://localhost:3000"):
        pass


async def test_an_unknown_path_lists_those_that_exist(house):
    gateway = await house.gateway()
    response = await refused(gateway, "/v1/nowhere")
    assert response.status_code == 404
    assert b"/v1/connect" in response.body


def token(**claims):
    return jwt.encode({"sub": "ada", "exp": time.time() + 60, **claims}, SECRET, algorithm="HS256")


async def test_a_refused_connect_is_no_error_in_the_log(house, caplog):
    caplog.set_level(logging.INFO)
    gateway = await house.gateway(limits=LimitSettings(connect_burst=1))
    for path, origin, status in (
        ("/nowhere", None, 404),
        ("/v1/connect", "https://elsewhere.example", 403),
        ("/v1/connect", None, 101),
        ("/v1/connect", None, 429),
    ):
        try:
            async with connect(f"ws://127.0.0.1:{gateway.port}{path}", origin=origin):
                assert status == 101
        except InvalidStatus as refused:
            assert refused.response.status_code == status
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]
    told = [record for record in caplog.records if "refused" in str(record.msg)]
    assert len(told) == 3


@pytest.mark.parametrize("way", ["header", "subprotocol", "query", "hello"])
async def test_a_token_may_come_in_four_ways(house, way):
    gateway = await house.gateway(access=AccessSettings(auth_secret=SECRET))
    fields = {"token": token()} if way == "hello" else {}
    options = {
        "header": {"additional_headers": {"Authorization": f"Bearer {token()}"}},
        "subprotocol": {"subprotocols": ["parley.v1.json", f"parley.token.{token()}"]},
    }.get(way, {})
    query = f"?token={token()}" if way == "query" else ""
    async with connect(f"ws://127.0.0.1:{gateway.port}/v1/connect{query}", **options) as socket:
        await socket.send(json.dumps({"type": "hello", **fields}))
        assert json.loads(await socket.recv())["type"] == "welcome"
        assert socket.subprotocol in (None, "parley.v1.json")


@pytest.mark.parametrize("bad", [None, "garbage", token(exp=time.time() - 60)])
async def test_a_bad_token_closes_with_4101(house, bad):
    gateway = await house.gateway(access=AccessSettings(auth_secret=SECRET))
    async with house.client(gateway, greet=False) as client:
        await client.send(type="hello", **({"token": bad} if bad else {}))
        error = await client.until("error")
        assert await client.closed() == 4101
    assert error["code"] == "unauthorized"


async def test_another_users_session_cannot_be_resumed(house):
    gateway = await house.gateway(access=AccessSettings(auth_secret=SECRET))
    async with house.client(gateway, greet=False) as ada:
        await ada.hello(token=token())
        await ada.start("one", "a secret question")
        job = await house.worker.jobs.get()
        async with house.client(gateway, greet=False) as eve:
            welcome = await eve.hello(token=token(sub="eve"), session=ada.session, pending=["one"])
            assert (welcome["resumed"], welcome["gap"]) == (False, True)
            assert welcome["session"] != ada.session
            await house.worker.answer(job, "a secret answer")
            await ada.until("turn.done")
            await eve.send(type="ping")
            await eve.until("pong")
            assert "secret" not in json.dumps(eve.frames)


async def test_sockets_of_one_user_are_bounded(house):
    limits = LimitSettings(connect_rate=0, identity_sockets=1)
    gateway = await house.gateway(access=AccessSettings(auth_secret=SECRET), limits=limits)
    async with house.client(gateway, greet=False) as first, house.client(gateway, greet=False) as second:
        await first.hello(token=token())
        await second.send(type="hello", token=token())
        assert (await second.until("error"))["code"] == "rate_limited"
        assert await second.closed() == 4129


async def test_random_bytes_hurt_nobody(house):
    gateway = await house.gateway(limits=LimitSettings(connect_rate=0, message_rate=0))
    dice = random.Random(20_260_801)
    async with house.client(gateway) as witness:
        await witness.start("one")
        job = await house.worker.jobs.get()
        for round_ in range(60):
            await _raw(gateway.port, dice)
            async with house.client(gateway, greet=dice.random() < 0.5) as client:
                await _nonsense(client.socket, dice)
            if round_ % 20 == 0:
                await witness.send(type="ping")
                await witness.until("pong")
        await house.worker.answer(job, "still ", "here")
        done = await witness.until("turn.done")
    assert done["text"] == "still here"


async def _raw(port, dice):
    """Bytes that are no WebSocket, and bytes that are none any more after the handshake."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    if dice.random() < 0.7:
        writer.write(
            b"GET /v1/connect HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
        )
        await reader.readuntil(b"\r\n\r\n")
    writer.write(dice.randbytes(dice.randrange(1, 300)))
    await writer.drain()
    writer.transport.abort()
    await asyncio.sleep(0)


async def _nonsense(socket, dice):
    """Well-formed frames with anything inside."""
    words = [
        "type",
        "turn.start",
        "hello",
        "turn",
        "a",
        None,
        7,
        [],
        {},
        "session",
        "pending",
        "position",
        "ping",
        "text",
    ]
    for _ in range(dice.randrange(1, 12)):
        if dice.random() < 0.5:
            fields = {str(dice.choice(words)): dice.choice(words) for _ in range(dice.randrange(5))}
            fields.setdefault("type", dice.choice(["hello", "turn.start", "turn.cancel", "ack", "ping", "audio.stop"]))
            data = json.dumps(fields)
        else:
            data = (
                dice.randbytes(dice.randrange(40))
                if dice.random() < 0.5
                else "".join(chr(dice.randrange(1, 0xD7FF)) for _ in range(dice.randrange(40)))
            )
        try:
            await socket.send(data)
        except ConnectionClosed:
            return


async def test_a_compressed_frame_is_refused(house):
    """permessage-deflate is not offered, so that a bomb cannot be sent."""
    gateway = await house.gateway()
    async with house.client(gateway, compression="deflate") as client:
        assert client.socket.protocol.extensions == []
        client.socket.transport.write(bytes((0xC1, 0x81, 0, 0, 0, 0, 0)))  # FIN, RSV1, text; one masked byte
        assert await client.closed() == 1002


async def test_a_hello_that_is_refused_closes_the_socket(house):
    gateway = await house.gateway()
    async with connect(f"ws://127.0.0.1:{gateway.port}/v1/connect") as socket:
        await socket.send(json.dumps({"type": "hello", "pending": [f"t{number}" for number in range(1000)]}))
        error = json.loads(await socket.recv())
        await socket.wait_closed()
    assert error["code"] == "invalid"
    assert "pending" in error["message"]
    assert socket.close_code == 4109
