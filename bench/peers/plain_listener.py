"""The shape of the usual speech servers: one process, one WebSocket a speaker, one pool of threads, no broker.

A binary message is audio and is answered by ``{"partial": ...}`` as soon as a thread has decoded it; ``{"eof": 1}`` by
``{"text": ...}``. The engine is the listening stage's own, opened with the same settings. Nothing is kept: what a
process that dies has heard, or is about to hear, is gone.
"""

import argparse
import asyncio
import json
import os
import sys
from concurrent.futures import ThreadPoolExecutor

import uvloop
from websockets.asyncio.server import ServerConnection, serve

from bench.voice.sound import Clip
from parley_asr.engine import Hint, Recognition, Transcriber
from parley_asr.registry import ENGINES, EngineSettings
from parley_runtime import config


class Server:
    """One engine for all."""

    def __init__(self, engine: Transcriber, threads: int) -> None:
        self._engine = engine
        self._pool = ThreadPoolExecutor(threads)

    async def speaker(self, socket: ServerConnection) -> None:
        """One connection, any number of utterances."""
        loop = asyncio.get_running_loop()
        at_work: Recognition | None = None
        async for message in socket:
            if at_work is None:
                at_work = await loop.run_in_executor(self._pool, self._engine.open, Hint())
            if isinstance(message, bytes):
                partial = await loop.run_in_executor(self._pool, self._feed, at_work, message)
                await socket.send(json.dumps({"partial": partial}))
            else:
                outcome = await loop.run_in_executor(self._pool, at_work.finish)
                at_work = None
                await socket.send(json.dumps({"text": outcome.text}))
        if at_work is not None:
            at_work.close()

    @staticmethod
    def _feed(recognition: Recognition, pcm: bytes) -> str:
        recognition.feed(Clip("", "", pcm).samples)
        return recognition.partial().text


async def run(port: int, engine: Transcriber) -> None:
    server = Server(engine, 2 * (os.cpu_count() or 1))
    async with serve(server.speaker, "127.0.0.1", port, compression=None):
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        await asyncio.Event().wait()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--engine", choices=tuple(ENGINES), required=True)
    options = parser.parse_args()
    opened = ENGINES[options.engine].open(config.read(EngineSettings, os.environ))
    try:
        uvloop.run(run(options.port, opened.engine))
    finally:
        opened.engine.close()


if __name__ == "__main__":
    main()
