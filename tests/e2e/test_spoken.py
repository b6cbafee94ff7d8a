"""Spoken turns through processes of their own: gateway, two recognisers, rag, inference, and their voice."""

import asyncio
import re
import signal
import time
import wave
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from parley_asr.engines.scripted import WORDS, speak
from parley_client import ClientOptions, connect
from parley_protocol.client import TranscriptFinal, TranscriptPartial
from parley_testkit.stack import Lab, Stack, soon, until

from .harness import parley, stored

pytestmark = pytest.mark.e2e

RATE = 16_000
PIECE_S = 0.02
FAILOVER_S = 2.0
"""From the kill of a recogniser to words of the next one."""
WHOLE = "t1 t2 t3 t4"
"""What the scripted engine answers."""
SAID = tuple(WORDS[1 + number % 12] for number in range(14))
"""Three seconds and a half."""


def pcm(words: tuple[str, ...]) -> bytes:
    samples = speak(words, rate=RATE)
    return (samples * 32_767).astype("<i2").tobytes()


@pytest.fixture(scope="module")
def spoken(lab: Lab) -> Iterator[Stack]:
    roles = {"rag": 1, "inference": 1, "asr": 2, "gateway": 1}
    with lab.stack(
        "spoken",
        roles=roles,
        PARLEY_ENGINE="scripted",
        PARLEY_SCRIPT_INTERVAL_MS="2",
        PARLEY_SCRIPT_TOKENS="4",
        PARLEY_ASR_ENGINE="scripted",
        PARLEY_ASR_VAD="energy",
        PARLEY_ASR_SEATS="4",
    ) as running:
        yield running


def listening(stack: Stack) -> list[Any]:
    """Recognisers with a stream."""
    return [
        service
        for service in stack.of("asr")
        if service.process is not None and 'parley_seats_busy{stage="listen"} 1.0' in service.metrics()
    ]


async def say(stack: Stack, turn: str, *, at: float = 0.0, disturb: Any = None) -> tuple[str, float, str]:
    """Say it as fast as it is spoken; ``disturb`` after ``at`` seconds. Returns what was heard, the longest wait for a
    word after that moment, and the answer.
    """
    data, disturbed_at, gap, last = pcm(SAID), 0.0, 0.0, 0.0
    async with connect(stack.url, ClientOptions(binary=False)) as chat:
        speech = await chat.speak(turn=turn)
        begun = time.monotonic()

        async def talk() -> None:
            nonlocal disturbed_at
            size = int(RATE * PIECE_S) * 2
            for number, start in enumerate(range(0, len(data), size), 1):
                await speech.send(data[start : start + size])
                if disturb is not None and not disturbed_at and number * PIECE_S >= at:
                    await asyncio.to_thread(disturb)
                    disturbed_at = time.monotonic()
                await asyncio.sleep(max(0.0, begun + number * PIECE_S - time.monotonic()))
            await speech.stop()

        talking = asyncio.create_task(talk())
        heard = ""
        async for frame in speech.turn:
            now = time.monotonic()
            if isinstance(frame, TranscriptPartial | TranscriptFinal) and disturbed_at:
                gap, last = max(gap, now - max(last, disturbed_at)), now
            if isinstance(frame, TranscriptFinal):
                heard = frame.text
        await talking
        return heard, gap, speech.turn.text


async def test_a_recogniser_killed_in_mid_sentence_loses_no_word(spoken: Stack) -> None:
    whole, _, answer = await say(spoken, "calm")
    assert whole == " ".join(SAID)
    assert answer == WHOLE

    def kill() -> None:
        (victim,) = until(lambda: listening(spoken), "a recogniser listens", limit_s=5)
        victim.end(signal.SIGKILL)

    heard, gap, answer = await say(spoken, "killed", at=1.5, disturb=kill)
    assert (heard, answer) == (whole, WHOLE)
    assert 0 < gap <= FAILOVER_S, f"the longest wait for a word was {gap:.2f} s"
    (row,) = stored(spoken, "killed")
    assert (row["question"], row["status"], row["text"]) == (whole, "completed", WHOLE)


NUMBERS = {"odd.md": "Five, six and seven: two are odd.", "even.md": "Five, six and seven: one is even."}


def figure(stack: Stack, role: str, outcome: str) -> float:
    """Early retrievals that ended so, at the one process of this role."""
    found = re.search(rf'^parley_early_retrieval_total{{outcome="{outcome}"}} (.*)$', stack.of(role)[0].metrics(), re.M)
    return float(found[1]) if found else 0.0


async def paused_question(stack: Stack, between: Callable[[], Any]) -> tuple[str, ...]:
    """Say a question, pause until passages have been looked for, do something, end it. Returns the answer's sources."""
    [rag] = stack.of("rag")

    def looked() -> float:
        return float((re.search(r"^parley_retrieve_seconds_count (.*)$", rag.metrics(), re.M) or "00")[1])

    before = looked()
    async with connect(stack.url, ClientOptions(binary=False)) as chat:
        speech = await chat.speak()
        await speech.send(pcm(("five", "six", "seven")) + bytes(2 * RATE))
        await soon(lambda: looked() == before + 1, "passages are looked for at the pause", limit_s=10)
        await asyncio.to_thread(between)
        await speech.stop()
        async for _ in speech.turn:
            pass
        return tuple(source.document for source in speech.turn.sources)


async def test_passages_found_while_one_speaks_are_those_of_the_typed_question(spoken: Stack, tmp_path: Path) -> None:
    for name, text in NUMBERS.items():
        (tmp_path / name).write_text(text)
    ingested = parley(spoken.url, "ingest", str(tmp_path))
    assert ingested.returncode == 0, ingested.stderr
    async with connect(spoken.url) as chat:
        typed = await chat.ask("five six seven")
        async for _ in typed:
            pass
    expected = tuple(source.document for source in typed.sources)
    assert set(expected) == set(NUMBERS)
    sent, used, stale = (figure(spoken, *of) for of in (("gateway", "sent"), ("rag", "used"), ("rag", "stale")))
    assert await paused_question(spoken, lambda: None) == expected
    assert figure(spoken, "gateway", "sent") == sent + 1
    assert figure(spoken, "rag", "used") == used + 1

    # A document that goes between the pause and the end is not cited.
    def removed() -> None:
        assert parley(spoken.url, "kb", "rm", "default", "odd.md").returncode == 0

    assert await paused_question(spoken, removed) == ("even.md",)
    assert figure(spoken, "rag", "used") == used + 1
    assert figure(spoken, "rag", "stale") == stale + 1


def recording(path: Path, *said: bytes) -> Path:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes(b"".join(said))
    return path


def test_the_command_says_a_recording_and_writes_the_spoken_answer(spoken: Stack, tmp_path: Path) -> None:
    question, answer = recording(tmp_path / "question.wav", pcm(("five", "six", "seven"))), tmp_path / "answer.wav"
    done = parley(spoken.url, "chat", "--audio", str(question), "--out", str(answer))
    assert done.returncode == 0, done.stderr + spoken.tails()
    assert "› five six seven" in done.stdout
    assert WHOLE in done.stdout.replace("\n", " ")
    with wave.open(str(answer)) as file:
        assert (file.getframerate(), file.getnchannels()) == (24_000, 1)
        samples = np.frombuffer(file.readframes(file.getnframes()), "<i2")
    assert len(samples) > 24_000
    assert np.abs(samples).max() > 1000


def test_the_command_talks_hands_free(spoken: Stack, tmp_path: Path) -> None:
    """The second question comes while the answer to the first is being spoken, and cuts it off."""
    quiet = bytes(2 * RATE)
    talk = recording(tmp_path / "talk.wav", pcm(("five", "six")), quiet, pcm(("seven", "eight", "nine")))
    out = tmp_path / "answers.wav"
    done = parley(spoken.url, "chat", "--audio", str(talk), "--hands-free", "--out", str(out))
    assert done.returncode == 0, done.stderr + spoken.tails()
    asked = [line for line in done.stdout.splitlines() if line.startswith("›")]
    assert asked == ["› five six", "› seven eight nine"]
    assert done.stdout.replace("\n", " ").count(WHOLE) == 2
    with wave.open(str(out)) as file:
        seconds = file.getnframes() / file.getframerate()
    assert seconds > 1.0
