"""The test clients that ship, and wscat, run as a person runs them; they fail where the flow does not work."""

import asyncio
import json
import os
import re
import shutil
import socket
import sys

import httpx
import pytest

from parley_testkit.stack import Stack

from .flows import ROOT

pytestmark = pytest.mark.e2e

CLIENTS = ROOT / "tools" / "clients"
MODULE = ROOT / ".parley" / "tools" / "wscat" / "node_modules" / "wscat"
WSCAT, PACKAGE = MODULE / "bin" / "wscat", MODULE / "package.json"
LIMIT_S = 40.0


async def run(*argv: str, **environ: str) -> tuple[int, str]:
    """(exit status, all that was printed)."""
    process = await asyncio.create_subprocess_exec(
        *argv,
        stdin=asyncio.subprocess.PIPE,  # stays open: wscat ends where it does
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={"PATH": os.environ["PATH"], "LANG": "C.UTF-8", "PYTHON": sys.executable} | environ,
    )
    try:
        async with asyncio.timeout(LIMIT_S):
            assert process.stdout is not None
            printed = await process.stdout.read()
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()
        raise
    assert process.returncode is not None
    return process.returncode, printed.decode()


def command(name: str, address: str) -> list[str]:
    """The client against a gateway at `host:port`."""
    program = str(CLIENTS / name)
    match name:
        case "ws_client.py":
            return [sys.executable, program, "--url", f"ws://{address}/ws/realtime-asr"]
        case "test_websocket.py":
            return [sys.executable, program, "--url", f"ws://{address}"]
        case "websocket_contact_test.py":
            url = f"ws://{address}/contact"
            return [sys.executable, program, "--url", url, "--reconnects", "1", "--pause", "0"]
        case "data_assistant.py":
            return [sys.executable, program, "--url", f"ws://{address}/"]
        case _:
            return [program, f"http://{address}"]


ALL = sorted(path.name for path in CLIENTS.iterdir() if path.suffix in (".py", ".sh"))
LAST = {
    "data_assistant.py": '"session_id": "user_001"',
    "test_websocket.py": "OK: review 123 is complete",
    "test_webserver_connection.sh": "OK",
    "websocket_contact_test.py": "OK: every reply came",
    "ws_client.py": "OK: ",
}
"""What each prints last where all is well."""


@pytest.mark.parametrize("name", ALL)
async def test_it_works_and_says_so(stack: Stack, name: str) -> None:
    code, printed = await run(*command(name, f"127.0.0.1:{stack.gateway.port}"))
    assert code == 0, printed
    assert LAST[name] in "".join(printed.splitlines()[-3:]), printed


@pytest.mark.parametrize("name", ALL)
async def test_it_fails_where_nobody_answers_and_help_teaches(name: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as held:
        port = held.getsockname()[1]
    nobody = command(name, f"127.0.0.1:{port}")
    (code, printed), (help_code, taught) = await asyncio.gather(
        run(*nobody), run(*nobody[: nobody.index(str(CLIENTS / name)) + 1], "--help")
    )
    assert code == 1, printed
    assert "FAILED" in printed
    assert help_code == 0
    assert name in taught
    assert "Exit status: 0" in taught


async def test_a_review_that_is_unknown_fails(stack: Stack) -> None:
    program = str(CLIENTS / "test_websocket.py")
    code, printed = await run(sys.executable, program, "999999999", "--url", f"ws://127.0.0.1:{stack.gateway.port}")
    assert code == 1, printed
    assert "任务不存在" in printed


async def test_a_question_to_an_unknown_base_fails_and_leaves_no_session(stack: Stack) -> None:
    program = str(CLIENTS / "test_webserver_connection.sh")
    code, printed = await run(program, stack.url, KB="no-such-base")
    assert code == 1, printed
    assert "404" in printed
    assert "Knowledge base not found: no-such-base" in printed


def wscat_lines() -> dict[str, str]:
    """What is sent, by path, in the lines of the README that call wscat."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    line = re.compile(r"""^npx wscat@(\S+) -w 5 -c "ws://127\.0\.0\.1:8000(\S+)" -x '(.+)'$""", re.MULTILINE)
    found = line.findall(text)
    assert len(found) == text.count("\nnpx "), "a line is written in another way"
    assert {version for version, _, _ in found} == {json.loads(PACKAGE.read_text())["version"]}
    return {path: sent for _, path, sent in found}


SAYS = {
    "/": '"status":"success"',
    "/contact": '"type":"chat_message"',
    "/ws/ws/$ID?token=$TOKEN": '"type":"text"',
    "/ws/review/123": '"type":"heartbeat_ack","timestamp":1234567890',
    "/ws/realtime-asr": '"final":true',
}
"""By path, what a line must bring."""


async def test_the_readmes_lines_for_wscat(stack: Stack) -> None:
    """Each line as it stands there, at another port."""
    node = shutil.which("node")
    assert node, "node is missing: ./task test brings it"
    assert PACKAGE.exists(), "wscat is missing: ./task test brings it"
    lines = wscat_lines()
    assert set(lines) == set(SAYS)
    async with httpx.AsyncClient(base_url=stack.url, trust_env=False, timeout=LIMIT_S) as http:
        session = (await http.post("/v1/sessions", json={"tutor_id": 1, "student_id": 999})).json()

    async def call(path: str, sent: str) -> tuple[int, str]:
        filled = path.replace("$ID", session["session_id"]).replace("$TOKEN", session["engine_token"])
        url = f"ws://127.0.0.1:{stack.gateway.port}{filled}"
        return await run(node, str(WSCAT), "--no-color", "-w", "5", "-c", url, "-x", sent)

    ends = await asyncio.gather(*(call(path, sent) for path, sent in lines.items()))
    for path, (code, printed) in zip(lines, ends, strict=True):
        assert code == 0, (path, printed)
        assert SAYS[path] in printed, (path, printed)
