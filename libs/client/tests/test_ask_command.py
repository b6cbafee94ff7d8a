"""`parley ask` and `parley chat` against a scripted gateway: what Ctrl-C does, and what reaches the terminal."""

import asyncio
import os
import signal

import pytest
import typer
import websockets
from websockets.asyncio.server import ServerConnection

from parley_client import ClientOptions, TurnLost
from parley_client.commands import ask, common
from parley_protocol import codec
from parley_protocol.client import Accepted, AnswerDelta, Done, Hello, Latency, Limits, TurnCancel, TurnStart, Welcome
from parley_protocol.events import TurnStatus

pytestmark = pytest.mark.unit

LATENCY = Latency(accepted_ms=1, first_token_ms=2, total_ms=3)


class Gateway:
    """Answers each turn with one delta; ends it at once, or only when it is cancelled."""

    def __init__(self, text: str, *, waits: bool) -> None:
        self.text = text
        self.waits = waits
        self.cancelled = False
        self.printed = asyncio.Event()

    async def __call__(self, socket: ServerConnection) -> None:
        async for data in socket:
            match codec.decode_client(data):
                case Hello():
                    limits = Limits(frame=1, text=1, queued_turns=1, rate=1)
                    frame = Welcome(session="s", resumed=False, gap=False, heartbeat_s=25, limits=limits)
                    await socket.send(codec.encode_pack(frame))
                case TurnStart(turn=turn):
                    await socket.send(codec.encode_pack(Accepted(turn=turn)))
                    delta = AnswerDelta(turn=turn, seq=0, position="p0", text=self.text)
                    await socket.send(codec.encode_pack(delta))
                    if self.waits:
                        await self.printed.wait()
                        os.kill(os.getpid(), signal.SIGINT)
                    else:
                        await self._done(socket, turn, TurnStatus.COMPLETED)
                case TurnCancel(turn=turn):
                    self.cancelled = True
                    await self._done(socket, turn, TurnStatus.CANCELLED)

    async def _done(self, socket: ServerConnection, turn: str, status: TurnStatus) -> None:
        done = Done(
            turn=turn, seq=1, position="p1", status=status, text=self.text, usage=None, sources=(), latency=LATENCY
        )
        await socket.send(codec.encode_pack(done))


@pytest.fixture(autouse=True)
def consoles(monkeypatch: pytest.MonkeyPatch) -> None:
    """Consoles that write where the test looks."""
    monkeypatch.setattr(common.out, "_file", None)
    monkeypatch.setattr(common.err, "_file", None)


async def asked(gateway: Gateway) -> str:
    protocols = [websockets.Subprotocol("parley.v1.msgpack")]
    async with websockets.serve(gateway, "127.0.0.1", 0, subprotocols=protocols) as server, asyncio.timeout(30):
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        return await ask._ask(url, ClientOptions(), "why?", "default", None, as_json=False)


async def test_an_answer_comes_without_what_could_steer_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    assert await asked(Gateway("one \x1b[2J[bold]two", waits=False)) == "completed"
    shown = capsys.readouterr()
    assert shown.out.startswith("one \N{REPLACEMENT CHARACTER}[2J[bold]two\n")
    assert "whole answer 3 ms" in shown.err


async def test_interrupt_cancels_the_turn_and_waits_for_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    gateway = Gateway("part", waits=True)

    def printed(text: str) -> str:
        gateway.printed.set()
        return text

    monkeypatch.setattr(common, "clean", printed)
    assert await asked(gateway) == "cancelled"
    assert gateway.cancelled


def test_an_interrupted_command_ends_as_shells_expect() -> None:
    async def work() -> None:
        raise asyncio.CancelledError

    with pytest.raises(typer.Exit) as caught:
        common.run(work())
    assert caught.value.exit_code == 130


def test_a_lost_turn_is_one_clear_line(capsys: pytest.CaptureFixture[str]) -> None:
    async def work() -> None:
        raise TurnLost("no end came")

    with pytest.raises(typer.Exit) as caught:
        common.run(work())
    assert caught.value.exit_code == 1
    assert capsys.readouterr().err == "error: no end came\n"
