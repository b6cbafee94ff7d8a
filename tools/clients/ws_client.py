#!/usr/bin/env python3
"""Realtime ASR text (D4): says one sentence as a speech recogniser would, piece by piece, and prints every frame.

  python tools/clients/ws_client.py
  python tools/clients/ws_client.py --text "报销需要哪些材料" --session user-7
  python tools/clients/ws_client.py --url wss://parley.example/ws/realtime-asr --token TOKEN

Exit status: 0 where the question was answered to its end and the server listens again, 1 where not, 2 for wrong usage.
"""

import argparse
import asyncio
import json
import sys
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import WebSocketException

STEP = 4
"""Characters between two interim texts."""


class Unexpected(Exception):
    """The server did not do what the protocol says."""


async def receive(socket: ClientConnection, within: float) -> dict[str, Any]:
    """The next frame, printed."""
    data = await asyncio.wait_for(socket.recv(), within)
    print("<", data, flush=True)
    frame: dict[str, Any] = json.loads(data)
    if frame["type"] == "error":
        raise Unexpected(f"error {frame.get('code')}: {frame.get('message')}")
    return frame


async def expect(socket: ClientConnection, within: float, **wanted: Any) -> dict[str, Any]:
    """The next frame, which must have these fields."""
    frame = await receive(socket, within)
    if not wanted.items() <= frame.items():
        raise Unexpected(f"expected {wanted}, got {frame}")
    return frame


async def say(socket: ClientConnection, text: str, session: str, *, final: bool) -> None:
    """One text of the recogniser: the whole sentence so far."""
    chunk: dict[str, Any] = {"type": "asr_chunk", "text": text, "is_final": final}
    frame = json.dumps(chunk | ({"session_id": session} if session else {}), ensure_ascii=False)
    print(">", frame, flush=True)
    await socket.send(frame)


async def answer(socket: ClientConnection, within: float) -> str:
    """From `analyzing` to `listening`."""
    await expect(socket, within, type="status", stage="analyzing")
    await expect(socket, within, type="status", stage="querying_rag")
    text, index, final = "", 0, False
    while not final:
        frame = await expect(socket, within, type="answer", stream_index=index)
        text = frame["content"] if frame.get("restarted") else text + frame["content"]
        index, final = index + 1, frame["final"]
    await expect(socket, within, type="status", stage="idle")
    await expect(socket, within, type="status", stage="listening")
    return text


async def run(options: argparse.Namespace) -> str:
    """The flow of one question; returns the answer."""
    headers = {"Authorization": f"Bearer {options.token}"} if options.token else {}
    async with connect(options.url, additional_headers=headers, proxy=None) as socket:
        # as pages do that send in onopen: the first text goes out before anything is read
        pieces = [options.text[:end] for end in range(STEP, len(options.text), STEP)]
        for piece in pieces:
            await say(socket, piece, options.session, final=False)
        await say(socket, options.text, options.session, final=True)
        await expect(socket, options.timeout, type="ack", received_type="connect")
        await expect(socket, options.timeout, type="status", stage="listening")
        for _ in (*pieces, options.text):
            await expect(socket, options.timeout, type="ack", received_type="asr_chunk")
        return await answer(socket, options.timeout)


def main() -> int:
    """Returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", default="ws://127.0.0.1:8000/ws/realtime-asr", help="default: %(default)s")
    parser.add_argument("--text", default="what is a fence?", help="what is said; a question. Default: %(default)s")
    parser.add_argument("--session", default="", help="go on with this conversation")
    parser.add_argument("--token", default="", help="a token, where the gateway demands one")
    parser.add_argument("--timeout", type=float, default=60.0, help="seconds to wait for each frame (%(default)g)")
    try:
        text = asyncio.run(run(parser.parse_args()))
    except (Unexpected, OSError, TimeoutError, ValueError, KeyError, WebSocketException) as error:
        print(f"FAILED: {error or 'no frame came in time'}", file=sys.stderr)
        return 1
    print(f"OK: {text}" if text else "FAILED: an empty answer")
    return 0 if text else 1


if __name__ == "__main__":
    sys.exit(main())
