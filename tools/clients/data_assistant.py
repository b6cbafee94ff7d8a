#!/usr/bin/env python3
"""Data assistant (D0): asks one question and prints the reply.

  python tools/clients/data_assistant.py
  python tools/clients/data_assistant.py "昨天水温最高是多少" --session user_001
  python -m websockets ws://127.0.0.1:8000/        # the same by hand: type {"message": "你好"}

Exit status: 0 for a reply with `status: success`, 1 for anything else, 2 for wrong usage.
"""

import argparse
import asyncio
import json
import sys

from websockets.asyncio.client import connect
from websockets.exceptions import WebSocketException


async def ask(options: argparse.Namespace) -> bool:
    """Whether it succeeded."""
    headers = {"Authorization": f"Bearer {options.token}"} if options.token else {}
    async with connect(options.url, additional_headers=headers, proxy=None) as socket:
        await socket.send(json.dumps({"message": options.message, "session_id": options.session, "context": {}}))
        reply = json.loads(await asyncio.wait_for(socket.recv(), options.timeout))
        print(json.dumps(reply, ensure_ascii=False, indent=2))
        return bool(reply["status"] == "success" and reply["session_id"] == options.session)


def main() -> int:
    """Returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("message", nargs="?", default="查询最近的水温数据", help="default: %(default)s")
    parser.add_argument("--url", default="ws://127.0.0.1:8000/", help="default: %(default)s")
    parser.add_argument("--session", default="user_001", help="the conversation (%(default)s)")
    parser.add_argument("--token", default="", help="a token, where the gateway demands one")
    parser.add_argument("--timeout", type=float, default=60.0, help="seconds to wait for the reply (%(default)g)")
    try:
        return 0 if asyncio.run(ask(parser.parse_args())) else 1
    except (OSError, TimeoutError, ValueError, KeyError, WebSocketException) as error:
        print(f"FAILED: {error or 'no reply came in time'}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
