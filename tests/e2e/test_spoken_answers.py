"""Answers spoken by real processes with embedded voices, over a real broker."""

import array
import asyncio
import math
import signal
import time
import uuid
from urllib.parse import urlsplit

import pytest

from parley_client import ClientOptions, Voice, connect
from parley_client.commands.listen import Answered
from parley_protocol.speech import AnswerAudio
from parley_testkit.proxy import CuttableProxy
from parley_testkit.stack import Stack

from .sockets import Socket, opened

pytestmark = pytest.mark.e2e

RATE = 24_000
SPEAK = {"rate": RATE}
QUESTION = "When are the tomatoes watered?"
EARLY_S = 1.0
"""From the first text to the first sound, on whatever machine this runs."""


def loudness(pcm: bytes) -> float:
    samples = array.array("h", pcm)
    return math.sqrt(sum(sample * sample for sample in samples) / len(samples))


async def first(socket: Socket, kind: str) -> float:
    """When the next frame of this kind came."""
    await socket.until(kind)
    return time.monotonic()


async def test_an_answer_is_heard_soon_after_its_first_word(stack: Stack) -> None:
    turn = uuid.uuid4().hex
    async with opened(stack.url) as socket:
        await socket.start(turn, QUESTION, kb="handbook", speak=SPEAK)
        text_at = await first(socket, "answer.delta")
        audio_at = await first(socket, "answer.audio")
        spoken = await socket.until("answer.spoken")
    print(f"first text to first audio: {(audio_at - text_at) * 1000:.1f} ms")
    assert audio_at - text_at < EARLY_S
    assert "fault" not in spoken
    assert spoken["ms"] == len(socket.audio) // 2 * 1000 // RATE
    assert spoken["ms"] > 500
    assert loudness(bytes(socket.audio)) > 300


async def test_a_worker_killed_as_it_speaks_is_followed_by_another(make_stack) -> None:
    roles = {"rag": 1, "inference": 1, "gateway": 1}
    stack = make_stack("speech", roles=roles, PARLEY_ENGINE="scripted", PARLEY_SPEAK_ASK_S="0.5")
    turn = uuid.uuid4().hex
    async with opened(stack.url) as socket:
        (worker,) = stack.of("inference")
        await socket.start(turn, "tokens=12 every=120", speak=SPEAK)
        await socket.until("answer.delta")
        worker.end(signal.SIGKILL)
        worker.start()
        done = await socket.until_done(turn)
        spoken = await socket.until("answer.spoken")
    assert done["text"].endswith("t12")
    assert "fault" not in spoken
    assert spoken["ms"] > 1000


class Ear(Answered):
    """Keeps an answer as it is to be heard. ``cut`` is called once, within the second sentence."""

    def __init__(self, cut=None) -> None:
        super().__init__()
        self.cuts = 0
        self._cut = cut

    def on_audio(self, header: AnswerAudio, pcm: bytes) -> None:
        super().on_audio(header, pcm)
        if header.sentence == 1 and self._cut is not None and not self.cuts:
            self.cuts += 1
            self._cut()


async def hear(url: str, ear: Ear) -> float:
    """Seconds of the answer as it was heard."""
    options = ClientOptions(on_audio=ear.on_audio, on_sound=ear.on_sound)
    async with connect(url, options) as chat:
        turn = await chat.ask("What happens when a worker dies?", kb="handbook", voice=Voice(rate=RATE, speed=4.0))
        async for _ in turn:
            pass
        async with asyncio.timeout(60):
            await ear.over.wait()
    assert ear.fault == ""
    return sum(len(pcm) for pcm in ear._pcm.values()) / 2 / RATE


async def test_a_connection_cut_as_an_answer_is_spoken_costs_no_word_of_it(stack: Stack) -> None:
    undisturbed = await hear(stack.url, Ear())
    address = urlsplit(stack.url)
    assert address.hostname is not None
    async with CuttableProxy(address.hostname, address.port or 80) as proxy:
        ear = Ear(proxy.cut)
        found = await hear(f"http://127.0.0.1:{proxy.port}", ear)
    assert ear.cuts == 1
    assert found == pytest.approx(undisturbed, rel=0.01)
