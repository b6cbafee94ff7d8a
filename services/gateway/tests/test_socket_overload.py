"""Refusals over real sockets: said at once, with a retry time, and turns already accepted are not touched."""

import asyncio
from contextlib import AsyncExitStack

import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from parley_gateway.config import LimitSettings, TurnSettings
from parley_protocol.faults import CloseCode
from parley_protocol.routes import WORK, Stage
from parley_runtime.errors import Refused

from .api_fakes import http
from .conftest import counted

pytestmark = pytest.mark.unit


@pytest.fixture
def full(monkeypatch):
    """Makes the first stage's queue of a gateway full, as the broker says it."""

    def make(gateway):
        link = gateway.hub.publisher
        publish = link.publish

        async def refusing(exchange, key, message, **options):
            if (exchange, key) == (WORK, Stage.RETRIEVE):
                raise Refused("the queue is full")
            await publish(exchange, key, message, **options)

        monkeypatch.setattr(link, "publish", refusing)

    return make


async def test_a_full_queue_is_overloaded_and_spares_what_was_accepted(house, full):
    gateway = await house.gateway()
    async with house.client(gateway) as first, house.client(gateway) as second:
        await first.start("a")
        job = await house.worker.jobs.get()
        await first.until("turn.accepted")
        full(gateway)
        await second.start("b")
        error = await second.until("error")
        assert (error["code"], error["turn"], error["retryable"]) == ("overloaded", "b", True)
        assert 2000 <= error["retry_after_ms"] <= 2500, "nothing is measured yet: PARLEY_RETRY_AFTER_S, spread"
        await house.worker.answer(job, "fine")
        assert (await first.until("turn.done"))["text"] == "fine"


async def test_the_wait_follows_the_rate_at_which_turns_end(house, full):
    gateway = await house.gateway()
    hub = gateway.hub
    for number in range(40):
        hub.admission.ended(hub.now() - 10.0 + number / 4, 1.0)  # four in a second
    full(gateway)
    waits = []
    async with AsyncExitStack() as stack:
        for _ in range(4):
            client = await stack.enter_async_context(house.client(gateway))
            await client.start("a")
            waits.append((await client.until("error"))["retry_after_ms"])
    for place, wait in enumerate(waits, start=1):
        assert 0.7 * 250 * place <= wait <= 1.6 * 250 * place, waits


async def test_turns_that_ended_elsewhere_are_no_measure_of_the_service(house):
    """Else a gateway that many clients come back to would call the refused ones back at once."""
    one, two = await house.gateway("gateway-1"), await house.gateway("gateway-2")
    async with house.client(one) as first:
        for turn in ("a", "b", "c"):
            await first.start(turn)
            await house.worker.answer(await house.worker.jobs.get(), "fine")
            await first.until("turn.done", turn)
    async with house.client(two, greet=False) as second:
        await second.hello(session=first.session, pending=["a", "b", "c"])
        await second.until("turn.done", "c")
    assert (one.hub.admission.rate.ended, two.hub.admission.rate.ended) == (3, 0)


async def test_a_full_session_is_told_the_length_of_a_turn(house):
    gateway = await house.gateway(turns=TurnSettings(queued=1))
    gateway.hub.admission.ended(0.0, 7.0)
    async with house.client(gateway) as client:
        await client.start("a")
        await client.until("turn.accepted")
        await client.start("b")
        error = await client.until("error")
    assert (error["code"], error["turn"]) == ("overloaded", "b")
    assert 7000 <= error["retry_after_ms"] <= 8750


async def test_too_many_frames_are_told_when_the_next_one_is_taken(house):
    gateway = await house.gateway(limits=LimitSettings(connect_rate=0, message_rate=2.0, message_burst=2))
    async with house.client(gateway) as client:
        await client.send(type="ping")
        await client.send(type="ping")
        error = await client.until("error")
    assert error["code"] == "rate_limited"
    assert 0 < error["retry_after_ms"] <= 500


async def test_a_hello_beyond_the_sessions_is_closed_with_4013(house):
    gateway = await house.gateway(turns=TurnSettings(max_sessions=1))
    before = counted("parley_refused_total", bound="sessions")
    async with house.client(gateway), house.client(gateway, greet=False) as second:
        await second.send(type="hello")
        error = await second.until("error")
        assert error["code"] == "overloaded"
        assert error["retry_after_ms"] > 0
        assert await second.closed() == 4013
        async with http(gateway) as client:
            body = {"model": "parley", "messages": [{"role": "user", "content": "why?"}]}
            assert (await client.post("/v1/chat/completions", json=body)).status_code == 503
    assert counted("parley_refused_total", bound="sessions") == before + 2


async def test_a_socket_beyond_the_bound_is_told_when_to_come_back(house):
    gateway = await house.gateway(limits=LimitSettings(connect_rate=0, max_sockets=1))
    async with house.client(gateway):
        with pytest.raises(InvalidStatus) as caught:
            async with connect(f"ws://127.0.0.1:{gateway.port}/v1/connect"):
                pass
    response = caught.value.response
    assert (response.status_code, response.headers["Retry-After"]) == (503, "3")


async def test_a_first_frame_that_is_too_large_closes_with_4110(house):
    gateway = await house.gateway(limits=LimitSettings(connect_rate=0, max_message=1024))
    async with house.client(gateway, greet=False) as client:
        await client.send(type="hello", token="x" * 2000)
        assert (await client.until("error"))["code"] == "too_large"
        assert await client.closed() == 4110


async def test_http_is_told_in_a_header(house, full):
    gateway = await house.gateway()
    full(gateway)
    async with http(gateway) as client:
        body = {"model": "parley", "messages": [{"role": "user", "content": "why?"}]}
        answer: httpx.Response = await client.post("/v1/chat/completions", json=body)
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "overloaded")
    assert 2 <= int(answer.headers["Retry-After"]) <= 3


async def test_a_refusal_does_not_wait(house, full):
    """Not for the broker's confirm, nor for any other limit."""
    gateway = await house.gateway(turns=TurnSettings(publish_s=60.0))
    full(gateway)
    async with house.client(gateway) as client:
        await client.start("a")
        async with asyncio.timeout(30):
            await client.until("error")


async def test_turns_that_a_client_makes_up_are_held_within_bounds(house):
    """They are waited for, since their jobs may be on the way; who comes back without any more of them is welcome."""
    gateway = await house.gateway(turns=TurnSettings(queued=2))
    async with house.client(gateway) as first:
        session = gateway.hub.registry.sessions[first.session]
        for number in range(2):
            pending = [f"{number}-{each}" for each in range(16)]
            async with house.client(gateway, greet=False) as client:
                await client.hello(session=first.session, pending=pending)
        async with house.client(gateway, greet=False) as client:
            await client.send(type="hello", session=first.session, pending=["one more"])
            error = await client.until("error")
            assert (error["code"], error["retryable"]) == ("overloaded", True)
            assert error["retry_after_ms"] > 0
            assert await client.closed() == CloseCode.OVERLOADED
        assert len(session.open) == len(session.entries) == 32
        for known in ([], ["0-0"]):
            async with house.client(gateway, greet=False) as client:
                assert (await client.hello(session=first.session, pending=known))["resumed"]
        assert session.guests == 0
