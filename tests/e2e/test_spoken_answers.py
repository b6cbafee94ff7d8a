"""Answers spoken by real processes with embedded voices, over a real broker."""

import array
import math
import signal
import time
import uuid

import pytest

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
