"""Two clients of the library on one session: what one of them asks, the other may be told before it asks for it too."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import pytest

from parley_client import Chat, ClientOptions, Turn, TurnRefused, connect
from parley_gateway.app import Gateway
from parley_protocol.events import Delta, Status
from parley_protocol.faults import CloseCode
from parley_protocol.work import Job

pytestmark = pytest.mark.unit

LIMIT_S = 30.0


class Wire:
    """What has passed the sockets of one client: how many there were, and the close codes of those that are gone."""

    def __init__(self) -> None:
        self.sockets = 0
        self.codes: list[int] = []
        self.read = 0
        self._more = asyncio.Event()

    def opened(self, socket: int) -> None:
        self.sockets = socket

    def sent(self, socket: int, data: str | bytes) -> None: ...

    def received(self, socket: int, data: str | bytes) -> None:
        self.read += 1
        self._more.set()

    def closed(self, socket: int, code: int, *, own: bool) -> None:
        self.codes.append(code)

    async def frames(self, number: int) -> None:
        """Until so many frames have been read."""
        async with asyncio.timeout(LIMIT_S):
            while self.read < number:
                self._more.clear()
                await self._more.wait()


@asynccontextmanager
async def client(gateway: Gateway, wire: Wire, session: str | None = None) -> AsyncIterator[Chat]:
    options = ClientOptions(session=session, observer=wire, binary=False)
    async with connect(f"http://127.0.0.1:{gateway.port}", options) as chat:
        yield chat


async def read(turn: Turn) -> str:
    """What a reader puts together of the events, and it is what ``done`` says."""
    text = ""
    async with asyncio.timeout(LIMIT_S):
        async for event in turn:
            match event.__struct_config__.tag:
                case "answer.delta":
                    text += event.text
                case "turn.done":
                    assert text == event.text == turn.text
    return text


@dataclass
class Pair:
    """The turn ``a`` of one client, its job, and another client that was told the status and ``half `` of it."""

    gateway: Gateway
    turn: Turn
    job: Job
    second: Chat
    wire: Wire


@asynccontextmanager
async def told_half(house, *, before: bool = True) -> AsyncIterator[Pair]:
    """``before``: the second client was there before the turn was."""
    gateway = await house.gateway()
    wire, first_wire = Wire(), Wire()
    async with client(gateway, first_wire) as first, AsyncExitStack() as stack:
        if before:
            second = await stack.enter_async_context(client(gateway, wire, first.session))
        turn = await first.ask("why?", turn="a")
        job = await house.worker.jobs.get()
        await house.worker.emit(job, Status(0, "generating"), Delta(1, 0, "half "))
        await first_wire.frames(4)
        if not before:
            second = await stack.enter_async_context(client(gateway, wire, first.session))
        await wire.frames(4 if before else 3)
        yield Pair(gateway, turn, job, second, wire)


@pytest.mark.parametrize("before", [True, False])
async def test_a_turn_that_is_being_told_may_be_asked_without_a_reconnect(house, before):
    async with told_half(house, before=before) as pair:
        again = await pair.second.ask("why?", turn="a")
        await house.worker.emit(pair.job, Delta(2, 5, "whole"))
        await house.worker.finish(pair.job, "half whole", 3)
        assert await read(pair.turn) == await read(again) == "half whole"
        assert (pair.wire.sockets, pair.wire.codes) == (1, [])


async def test_another_text_under_the_id_of_a_turn_that_is_being_told_is_refused(house):
    async with told_half(house) as pair:
        with pytest.raises(TurnRefused) as caught:
            await pair.second.ask("why not?", turn="a")
        assert caught.value.code == "conflict"
        again = await pair.second.ask("why?", turn="a")
        await house.worker.finish(pair.job, "half ", 2)
        assert await read(pair.turn) == await read(again) == "half "
        assert pair.wire.codes == []


async def test_a_turn_that_was_told_to_its_end_is_told_anew(house):
    async with told_half(house) as pair:
        await house.worker.finish(pair.job, "half ", 2)
        assert await read(pair.turn) == "half "
        await pair.wire.frames(5)
        assert await read(await pair.second.ask("why?", turn="a")) == "half "
        assert pair.wire.codes == []


@pytest.mark.parametrize("asked", [True, False])
async def test_a_turn_that_was_told_in_part_goes_on_at_the_next_connection(house, asked):
    """Asked for: from where it was. Only overheard: from its start."""
    async with told_half(house) as pair:
        again = await pair.second.ask("why?", turn="a") if asked else None
        position = pair.second.position
        assert (position is not None) is asked
        (*_, connection) = pair.gateway.hub.connections.values()
        connection.close(CloseCode.DRAINING, "going")
        await pair.wire.frames(6)
        again = again or await pair.second.ask("why?", turn="a")
        await house.worker.emit(pair.job, Delta(2, 5, "whole"))
        await house.worker.finish(pair.job, "half whole", 3)
        assert await read(pair.turn) == await read(again) == "half whole"
        assert (pair.wire.sockets, pair.wire.codes) == (2, [4001])
