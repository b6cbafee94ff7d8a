"""Processes that cannot start say why, all at once, and leave with 78 so that no supervisor tries again."""

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from .harness import Lab, Stack

pytestmark = pytest.mark.e2e

SECRET = "hunter2-and-more"


def run(role: str, environ: dict[str, str], cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", f"parley_{role}"],
        env=environ,
        cwd=cwd,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=60,
        check=False,
    )


@pytest.fixture
def environ(lab: Lab, tmp_path: Path) -> dict[str, str]:
    """Of a process that could start."""
    return Stack(tmp_path, lab.node.url, f"sqlite+aiosqlite:///{tmp_path / 'parley.db'}").environ()


@pytest.mark.parametrize("role", ["gateway", "rag", "inference"])
def test_every_bad_setting_is_listed(environ: dict[str, str], tmp_path: Path, role: str) -> None:
    bad = {
        "PARLEY_DRAIN_S": "soon",
        "PARLEY_HEALTH_PORT": "99999",
        "PARLEY_LOG_LEVEL": "loud",
        "PARLEY_HEARTBEAT_S": "0",
    }
    done = run(role, environ | bad, tmp_path)
    assert done.returncode == 78
    assert all(name in done.stderr for name in bad), done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("role", ["gateway", "rag", "inference"])
def test_a_refused_password_is_said_at_once(environ: dict[str, str], tmp_path: Path, lab: Lab, role: str) -> None:
    url = lab.node.url.replace("guest:guest", f"guest:{SECRET}")
    done = run(role, environ | {"AMQP_URL": url}, tmp_path)
    assert done.returncode == 78
    assert "AMQP_URL" in done.stderr
    assert "refused" in done.stderr
    assert SECRET not in done.stderr + done.stdout


def test_a_virtual_host_that_does_not_exist(environ: dict[str, str], tmp_path: Path, lab: Lab) -> None:
    done = run("inference", environ | {"AMQP_URL": lab.node.url + "nowhere"}, tmp_path)
    assert done.returncode == 78
    assert "nowhere" in done.stderr


def test_a_port_in_use(environ: dict[str, str], tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        done = run("gateway", environ | {"PARLEY_PORT": port}, tmp_path)
        assert done.returncode == 78
        assert port in done.stderr
        assert "PARLEY_PORT" in done.stderr
        # A health port may still be held by the process before this one: a supervisor may try again.
        done = run("gateway", environ | {"PARLEY_HEALTH_PORT": port}, tmp_path)
        assert done.returncode == 1
        assert "PARLEY_HEALTH_PORT" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("role", "changes", "words"),
    [
        pytest.param("gateway", {"PARLEY_HOST": "0.0.0.0"}, "PARLEY_AUTH_SECRET", id="public without a secret"),
        pytest.param("gateway", {"PARLEY_AUTH_SECRET": "short"}, "PARLEY_AUTH_SECRET", id="short secret"),
        pytest.param("rag", {"PARLEY_STORE": "mysql://root@localhost/x"}, "PARLEY_STORE", id="store of another kind"),
        pytest.param("rag", {"PARLEY_STORE": "sqlite+aiosqlite:////proc/no/parley.db"}, "/proc/no", id="no folder"),
        pytest.param("inference", {"PARLEY_ENGINE": "oracle"}, "PARLEY_ENGINE", id="unknown engine"),
    ],
)
def test_settings_that_cannot_work(
    environ: dict[str, str], tmp_path: Path, role: str, changes: dict[str, str], words: str
) -> None:
    done = run(role, environ | changes, tmp_path)
    assert done.returncode == 78, done.stderr
    assert words in done.stderr
    assert "Traceback" not in done.stderr
