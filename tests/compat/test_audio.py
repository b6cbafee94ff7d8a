"""Audio of documented clients, through real processes: tones stand for words, so that what is heard is known."""

import asyncio
import base64
import io
import json
import wave
from typing import Any

import httpx
import numpy as np
import pytest
from websockets.asyncio.client import ClientConnection, connect

from parley_asr.engines.scripted import speak
from parley_testkit.stack import Stack

pytestmark = pytest.mark.e2e

RATE = 16_000
LIMIT_S = 60.0


def pcm(words: str, silence_s: float = 0.3) -> bytes:
    samples = speak(words.split(), rate=RATE, silence_s=silence_s)
    return (np.clip(samples, -1, 1) * 32_767).astype("<i2").tobytes()


def recording(words: str) -> bytes:
    made = io.BytesIO()
    with wave.open(made, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes(pcm(words))
    return made.getvalue()


async def receive(socket: ClientConnection) -> dict[str, Any]:
    async with asyncio.timeout(LIMIT_S):
        frame: dict[str, Any] = json.loads(await socket.recv())
    return frame


async def until(socket: ClientConnection, kind: str) -> dict[str, Any]:
    while (frame := await receive(socket))["type"] != kind:
        assert frame["type"] != "error", frame
    return frame


async def test_a_students_recording_is_heard_answered_and_spoken(stack: Stack) -> None:
    async with httpx.AsyncClient(base_url=stack.url) as http:
        answer = await http.post("/v1/sessions", json={"tutor_id": 1, "student_id": 7, "kb_id": "test"})
        session = answer.json()
    async with connect(session["engine_url"], proxy=None) as socket:
        content = base64.b64encode(recording("one two three")).decode()
        await socket.send(json.dumps({"type": "audio", "content": content}))
        assert await receive(socket) == {"type": "transcript", "content": "one two three"}
        assert (await receive(socket))["type"] == "text"
        files = [await until(socket, "audio")]
        while not files[-1]["final"]:
            files.append(await until(socket, "audio"))
    assert [file["index"] for file in files] == list(range(len(files)))
    for file in files:
        with wave.open(io.BytesIO(base64.b64decode(file["content"]))) as opened:
            assert opened.getnframes() > opened.getframerate() // 10
    async with httpx.AsyncClient(base_url=stack.url) as http:
        await http.delete(f"/v1/sessions/{session['session_id']}")


async def test_a_stream_of_audio_is_transcribed_and_its_questions_answered(stack: Stack) -> None:
    async with connect(stack.url.replace("http", "ws") + "/ws/realtime-asr", proxy=None) as socket:
        await until(socket, "status")
        config = {"type": "audio_config", "encoding": "pcm_s16le", "sample_rate": RATE, "channels": 1}
        await socket.send(json.dumps(config))
        data = pcm("four five six", silence_s=1.5)
        for at in range(0, len(data), 3200):
            await socket.send(data[at : at + 3200])
        frames = [await until(socket, "transcript")]
        while not frames[-1]["is_final"]:
            frames.append(await until(socket, "transcript"))
    assert frames[-1] == {"type": "transcript", "text": "four five six", "is_final": True}
