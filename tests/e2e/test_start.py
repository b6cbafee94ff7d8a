"""Processes that cannot start say why, all at once, and leave with 78 so that no supervisor tries again."""

import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from parley_testkit.rabbit import RabbitNode
from parley_testkit.stack import Lab, Stack

pytestmark = pytest.mark.e2e

SECRET = "hunter2-and-more"


ROLES = ("gateway", "rag", "inference")


@dataclass(frozen=True)
class Ended:
    """How a process ended."""

    returncode: int
    stderr: str


def start(role: str, environ: dict[str, str], cwd: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", f"parley_{role}"],
        env=environ,
        cwd=cwd,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
        text=True,
    )


def ended(process: subprocess.Popen[str]) -> Ended:
    try:
        _, stderr = process.communicate(timeout=60)
    finally:
        process.kill()
    assert "Traceback" not in stderr
    return Ended(process.returncode, stderr)


def run(role: str, environ: dict[str, str], cwd: Path) -> Ended:
    return ended(start(role, environ, cwd))


def run_all(environ: dict[str, str], cwd: Path) -> list[Ended]:
    """Every role, side by side."""
    return [ended(process) for process in [start(role, environ, cwd) for role in ROLES]]


@pytest.fixture
def environ(lab: Lab, tmp_path: Path) -> dict[str, str]:
    """Of a process that could start."""
    return Stack(tmp_path, lab.node.url, f"sqlite+aiosqlite:///{tmp_path / 'parley.db'}").environ()


def test_every_bad_setting_is_listed(environ: dict[str, str], tmp_path: Path) -> None:
    bad = {"PARLEY_DRAIN_S": "soon", "PARLEY_HEALTH_PORT": "99999", "PARLEY_LOG_LEVEL": "loud"}
    bad["PARLEY_HEARTBEAT_S"] = "0"
    for done in run_all(environ | bad, tmp_path):
        assert done.returncode == 78
        assert all(name in done.stderr for name in bad), done.stderr


def test_a_refused_password_is_said_at_once(environ: dict[str, str], tmp_path: Path, lab: Lab) -> None:
    url = lab.node.url.replace("guest:guest", f"guest:{SECRET}")
    for done in run_all(environ | {"AMQP_URL": url}, tmp_path):
        assert done.returncode == 78
        assert "AMQP_URL" in done.stderr
        assert "refused" in done.stderr
        assert SECRET not in done.stderr


def test_a_virtual_host_that_does_not_exist(environ: dict[str, str], tmp_path: Path, lab: Lab) -> None:
    done = run("inference", environ | {"AMQP_URL": lab.node.url + "nowhere"}, tmp_path)
    assert done.returncode == 78
    assert "nowhere" in done.stderr


def test_a_port_in_use(environ: dict[str, str], tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        first = start("gateway", environ | {"PARLEY_PORT": port}, tmp_path)
        second = start("gateway", environ | {"PARLEY_HEALTH_PORT": port}, tmp_path)
        done, health = ended(first), ended(second)
    assert done.returncode == 78
    assert port in done.stderr
    assert "PARLEY_PORT" in done.stderr
    # A health port may still be held by the process before this one: a supervisor may try again.
    assert health.returncode == 1
    assert "PARLEY_HEALTH_PORT" in health.stderr


CANNOT_WORK = [
    ("gateway", {"PARLEY_HOST": "0.0.0.0"}, "PARLEY_AUTH_SECRET"),
    ("gateway", {"PARLEY_AUTH_SECRET": "short"}, "PARLEY_AUTH_SECRET"),
    ("rag", {"PARLEY_STORE": "mysql://root@localhost/x"}, "PARLEY_STORE"),
    ("rag", {"PARLEY_STORE": "sqlite+aiosqlite:////proc/no/parley.db"}, "/proc/no"),
    ("inference", {"PARLEY_ENGINE": "oracle"}, "PARLEY_ENGINE"),
]


def test_settings_that_cannot_work(environ: dict[str, str], tmp_path: Path) -> None:
    running = [start(role, environ | changes, tmp_path) for role, changes, _ in CANNOT_WORK]
    for process, (role, changes, words) in zip(running, CANNOT_WORK, strict=True):
        done = ended(process)
        assert done.returncode == 78, (role, changes, done.stderr)
        assert words in done.stderr


def test_a_first_start_on_a_new_broker_is_no_error_in_its_log(tmp_path: Path) -> None:
    """Of every process at once, and a second start likewise."""
    node = RabbitNode()
    try:
        node.start()
        with Lab(node, tmp_path).stack("first", PARLEY_ENGINE="extractive") as stack:
            for service in stack.services:
                service.restart()
            stack.wait()
        assert [line for line in node.log().splitlines() if "[error]" in line] == []
    finally:
        node.close()
