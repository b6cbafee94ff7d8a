#!/usr/bin/env python3
"""Contract review (D3): checks the health and test sockets, then watches a review to its end.

  python tools/clients/test_websocket.py            # task 123, the sample that ./task up loads
  python tools/clients/test_websocket.py 7 --url wss://parley.example

Sends a heartbeat every 30 s and connects again after a loss, 5 times at most, 3 s apart.

Exit status: 0 where every check passed and the review came to its result, 1 where not, 2 for wrong usage.
"""

import argparse
import asyncio
import json
import sys
import time
from contextlib import suppress
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, WebSocketException

HEARTBEAT_S = 30.0
RECONNECTS = 5
RECONNECT_S = 3.0


class Unexpected(Exception):
    """The server did not do what the protocol says."""


async def receive(socket: ClientConnection, within: float) -> dict[str, Any]:
    """The next frame, printed; long ones cut."""
    data = str(await asyncio.wait_for(socket.recv(), within))
    print("<", data if len(data) < 400 else f"{data[:400]}... ({len(data)} characters)", flush=True)
    frame: dict[str, Any] = json.loads(data)
    return frame


async def send(socket: ClientConnection, **frame: Any) -> None:
    """One frame, printed."""
    print(">", json.dumps(frame), flush=True)
    await socket.send(json.dumps(frame))


async def expect(socket: ClientConnection, within: float, **wanted: Any) -> None:
    """The next frame must have these fields."""
    frame = await receive(socket, within)
    if not wanted.items() <= frame.items():
        raise Unexpected(f"expected {wanted}, got {frame}")


async def check_health(options: argparse.Namespace) -> None:
    """`/ws/health`: a welcome, and a pong with the timestamp of the ping."""
    async with connect(f"{options.url}/ws/health", additional_headers=options.headers, proxy=None) as socket:
        await expect(socket, options.timeout, type="welcome", message="WebSocket服务正常")
        await send(socket, type="ping", timestamp=1234567890)
        await expect(socket, options.timeout, type="pong", timestamp=1234567890)


async def check_echo(options: argparse.Namespace) -> None:
    """`/ws/test/{client_id}`: a welcome, and every text back."""
    client = "test_client_001"
    async with connect(f"{options.url}/ws/test/{client}", additional_headers=options.headers, proxy=None) as socket:
        await expect(socket, options.timeout, type="welcome", client_id=client)
        await socket.send("你好")
        await expect(socket, options.timeout, type="echo", client_id=client, original_message="你好")


async def beat(socket: ClientConnection) -> None:
    """For as long as the socket lives."""
    while True:
        await asyncio.sleep(HEARTBEAT_S)
        await send(socket, type="heartbeat", timestamp=int(time.time() * 1000))


async def watch_once(options: argparse.Namespace) -> bool:
    """One socket of the review; whether the result came."""
    url = f"{options.url}/ws/review/{options.task_id}"
    async with connect(url, additional_headers=options.headers, proxy=None) as socket:
        stamp = int(time.time() * 1000)
        heart = asyncio.create_task(beat(socket))
        try:
            with suppress(ConnectionClosed):  # a refusal: its words are read below
                await send(socket, type="ping", timestamp=stamp)
                await send(socket, type="get_status")
            await read_to_the_end(socket, options.timeout, stamp)
        except ConnectionClosed as lost:
            print(f"connection lost: {lost}", flush=True)
            return False
        finally:
            heart.cancel()
    return True


async def read_to_the_end(socket: ClientConnection, within: float, stamp: int) -> None:
    """Until the greeting, both replies and the result have come."""
    waited = {"connection", "pong", "status", "complete"}
    while waited:
        frame = await receive(socket, within)
        if frame.get("type") == "error":
            raise Unexpected(frame["message"])
        if frame.get("type") == "pong" and frame["timestamp"] != stamp:
            raise Unexpected(f"pong {frame['timestamp']}, not {stamp}")
        waited.discard(frame.get("type") or frame["stage"])


async def run(options: argparse.Namespace) -> None:
    """All three sockets."""
    await check_health(options)
    await check_echo(options)
    for attempt in range(RECONNECTS + 1):
        if attempt:
            print(f"connecting again ({attempt} of {RECONNECTS})", flush=True)
            await asyncio.sleep(RECONNECT_S)
        try:
            if await watch_once(options):
                return
        except OSError as error:
            print(f"no connection: {error}", flush=True)
    raise Unexpected(f"the connection was lost {RECONNECTS + 1} times")


def main() -> int:
    """Returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task_id", type=int, nargs="?", default=123, help="default: %(default)s, the sample")
    parser.add_argument("--url", default="ws://127.0.0.1:8000", help="default: %(default)s")
    parser.add_argument("--token", default="", help="a token, where the gateway demands one")
    parser.add_argument("--timeout", type=float, default=120.0, help="seconds to wait for each frame (%(default)g)")
    options = parser.parse_args()
    options.url = options.url.rstrip("/")
    options.headers = {"Authorization": f"Bearer {options.token}"} if options.token else {}
    try:
        asyncio.run(run(options))
    except (Unexpected, OSError, TimeoutError, ValueError, KeyError, WebSocketException) as error:
        print(f"FAILED: {error or 'no frame came in time'}", file=sys.stderr)
        return 1
    print(f"OK: review {options.task_id} is complete")
    return 0


if __name__ == "__main__":
    sys.exit(main())
