"""The service as processes of its own, on a real RabbitMQ."""

import asyncio
import platform
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import numpy as np
import pytest
from hearing import Ear, pcm
from voices import synthesised

from parley_asr.engines.scripted import speak
from parley_protocol.audio import AudioPart, Ended, Heard, Hearing, Mark, Moving, Partial, Progress
from parley_protocol.routes import topology
from parley_runtime.amqp import AmqpBroker
from parley_runtime.errors import Unroutable
from parley_testkit.rabbit import RabbitNode, free_port
from parley_testkit.service import running, says

pytestmark = pytest.mark.rabbit

EMBEDDED = "moonshine" if platform.machine() == "x86_64" else "pocketsphinx"
"""What listens where nothing is set."""


@pytest.fixture(scope="module")
def vhost(rabbit: RabbitNode) -> str:
    """Address of a virtual host of our own."""
    return rabbit.add_vhost("asr")


@asynccontextmanager
async def _ear(vhost: str, name: str) -> AsyncIterator[Ear]:
    broker = AmqpBroker(vhost, name=name, topology=topology(), heartbeat_s=5)
    ear = await Ear.open(broker, name)
    try:
        yield ear
    finally:
        await ear.close()
        await broker.close()


async def test_speech_from_start_to_sigterm(vhost: str, tmp_path: Path) -> None:
    port = free_port()
    said = pcm(synthesised("what is a gateway"))
    async with (
        running("parley_asr", folder=tmp_path, AMQP_URL=vhost, PARLEY_HEALTH_PORT=str(port)) as child,
        _ear(vhost, "ear-1") as ear,
    ):
        chosen = await says(child, "engine chosen")
        assert (chosen["engine"], chosen["stage"]) == (EMBEDDED, "listen")
        assert isinstance(chosen["seats"], int)
        assert chosen["seats"] >= 1
        await says(child, "started")
        worker = await ear.lease("long")
        await ear.say(worker, said, stream="long", mark=Mark.COMMIT)
        last = await ear.wait(Heard, "long", limit_s=30)
        assert "gateway" in last.text
        assert ear.of("long", Partial)
        await ear.say(worker, said, stream="long", at=len(said), mark=Mark.COMMIT)
        again = await ear.wait(Heard, "long", count=2, limit_s=30)
        assert again.text == last.text  # the decoder knows nothing any more of what it heard before
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:
            assert (await client.get("/readyz")).json()["ready"] is True
            assert "parley_speech_final_seconds_count 2.0" in (await client.get("/metrics")).text
        child.send_signal(signal.SIGTERM)
        await ear.wait(Moving, "long")
        await ear.send(worker, AudioPart("long", 1, 2 * len(said), b"", Mark.DROP))
        await says(child, "stopped")
        assert await asyncio.wait_for(child.wait(), 30) == 0


async def test_a_worker_killed_in_mid_sentence(vhost: str, tmp_path: Path) -> None:
    hearing = Hearing(by_silence=True)
    said = pcm(np.concatenate([speak(["one", "two"], silence_s=1.0), speak(["three", "four"], silence_s=1.0)]))
    environ = {"AMQP_URL": vhost, "PARLEY_ASR_ENGINE": "scripted", "PARLEY_ASR_VAD": "energy", "PARLEY_ASR_SEATS": "4"}
    async with _ear(vhost, "ear-2") as ear, running("parley_asr", folder=tmp_path, **environ) as one:
        await says(one, "started")
        worker = await ear.lease(hearing=hearing)
        await ear.say(worker, said[:60_000])
        await ear.wait(Heard)
        one.kill()
        await one.wait()
        async with running("parley_asr", folder=tmp_path, **environ) as two:
            await says(two, "started")
            async with asyncio.timeout(30):  # until the queue of the process that was killed is gone
                while True:
                    try:
                        await ear.send(worker, AudioPart("s1", 1, 60_000, said[60_000:61_920]))
                    except Unroutable:
                        break
            keep = max(event.keep for event in (*ear.of("s1", Progress), *ear.of("s1", Heard)))
            other = await ear.lease(epoch=2, hearing=hearing, at=keep, utterance=1)
            assert other != worker
            await ear.say(other, said[keep:], epoch=2, at=keep, mark=Mark.END)
            await ear.wait(Ended, epoch=2)
    texts = {last.utterance: last.text for last in ear.of("s1", Heard) if last.text}
    assert texts == {0: "one two", 1: "three four"}
