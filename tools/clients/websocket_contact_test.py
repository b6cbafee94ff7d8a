#!/usr/bin/env python3
"""Contact chat (D1): sends a contact request, a message and a ping, and checks every reply.

  python tools/clients/websocket_contact_test.py
  python tools/clients/websocket_contact_test.py --url wss://parley.example/contact --message "What is a fence?"
  python tools/clients/websocket_contact_test.py --reconnects 1     # and once more over a second socket

A page of this system connects again 5 s after each loss; `--reconnects` does it so many times.

Exit status: 0 where every reply came, 1 where not, 2 for wrong usage. The assistant's apology (no answer could be had)
counts as a failure.
"""

import argparse
import asyncio
import json
import sys
from datetime import UTC, datetime
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import WebSocketException

APOLOGY = "抱歉，我暂时无法处理您的请求，请稍后再试。"


class Unexpected(Exception):
    """The server did not do what the protocol says."""


async def send(socket: ClientConnection, **frame: Any) -> None:
    """One frame, printed."""
    text = json.dumps(frame, ensure_ascii=False)
    print(">", text, flush=True)
    await socket.send(text)


async def expect(socket: ClientConnection, within: float, **wanted: Any) -> dict[str, Any]:
    """The next frame, printed, which must have these fields."""
    data = await asyncio.wait_for(socket.recv(), within)
    print("<", data, flush=True)
    frame: dict[str, Any] = json.loads(data)
    if not wanted.items() <= frame.items():
        raise Unexpected(f"expected {wanted}, got {frame}")
    return frame


def now() -> str:
    """As JavaScript's `toISOString` writes it."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


async def converse(options: argparse.Namespace) -> str:
    """One socket from greeting to answer; returns the client id that it was given."""
    headers = {"Authorization": f"Bearer {options.token}"} if options.token else {}
    async with connect(options.url, additional_headers=headers, proxy=None) as socket:
        # as the page does in onopen, before anything is read
        await send(
            socket, type="contact_request", message="请联系我", timestamp=now(), userAgent="websocket_contact_test"
        )
        greeting = await expect(socket, options.timeout, type="connection_established", message="WebSocket连接已建立")
        client: str = greeting["client_id"]
        await expect(socket, options.timeout, type="contact_request_received", client_id=client)
        await send(socket, type="chat_message", message=options.message, timestamp=now())
        await expect(socket, options.timeout, type="chat_message_received", message="消息已收到")
        answer = await expect(socket, options.timeout, type="chat_message")
        if answer["message"] == APOLOGY:
            raise Unexpected("the assistant could not answer")
        await send(socket, type="ping")
        await expect(socket, options.timeout, type="pong")
        return client


async def run(options: argparse.Namespace) -> None:
    """As often as was asked for; a new connection is a new client."""
    clients = [await converse(options)]
    for _ in range(options.reconnects):
        await asyncio.sleep(options.pause)
        clients.append(await converse(options))
    if len(set(clients)) != len(clients):
        raise Unexpected(f"two connections with the same client id: {clients}")


def main() -> int:
    """Returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", default="ws://127.0.0.1:8000/contact", help="default: %(default)s")
    parser.add_argument("--message", default="你好", help="default: %(default)s")
    parser.add_argument("--reconnects", type=int, default=0, help="how many times to connect again (%(default)s)")
    parser.add_argument("--pause", type=float, default=5.0, help="seconds before it does (%(default)g)")
    parser.add_argument("--token", default="", help="a token, where the gateway demands one")
    parser.add_argument("--timeout", type=float, default=60.0, help="seconds to wait for each frame (%(default)g)")
    try:
        asyncio.run(run(parser.parse_args()))
    except (Unexpected, OSError, TimeoutError, ValueError, KeyError, WebSocketException) as error:
        print(f"FAILED: {error or 'no frame came in time'}", file=sys.stderr)
        return 1
    print("OK: every reply came")
    return 0


if __name__ == "__main__":
    sys.exit(main())
