"""A private PostgreSQL for tests: its own folder and port, started once per test session, one database per test.

Nothing here is durable (fsync off) and nothing outside the folder is touched. A missing PostgreSQL is an error, not a
skip: tests that need it carry the marker ``postgres``.
"""

import itertools
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

_PASSWORD = "parley-test"
_START_TRIES = 3
_LIMIT_S = 60
_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "fsync": "off",
    "full_page_writes": "off",
    "max_connections": "200",
    "shared_buffers": "32MB",
}


@dataclass(frozen=True)
class PostgresServer:
    """A running cluster of this test session."""

    folder: Path
    port: int

    def url(self, database: str = "postgres", *, password: str = _PASSWORD) -> str:
        """SQLAlchemy URL of ``database``."""
        return f"postgresql+asyncpg://postgres:{password}@127.0.0.1:{self.port}/{database}"

    def sql(self, statement: str, database: str = "postgres") -> str:
        """Run one statement as superuser; returns psql's bare output."""
        command = [_binary("psql"), "-X", "-A", "-t", "-q", "-v", "ON_ERROR_STOP=1", "-c", statement]
        environment = {**os.environ, "PGPASSWORD": _PASSWORD}
        address = ["-h", "127.0.0.1", "-p", str(self.port), "-U", "postgres", "-d", database]
        return _run([*command, *address], environment=environment).strip()

    def stop(self) -> None:
        """Kill the server's processes at once, as a crash would."""
        _run_as_postgres(["pg_ctl", "-D", str(self.folder / "data"), "-m", "immediate", "-w", "stop"])

    def start(self) -> None:
        """Start (again) on the same port and folder. Returns when it accepts connections."""
        options = " ".join(f"-c {name}='{text}'" for name, text in {**_SETTINGS, "port": str(self.port)}.items())
        _run_as_postgres(
            ["pg_ctl", "-D", str(self.folder / "data"), "-l", str(self.folder / "log"), "-w", "-o", options, "start"]
        )


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """One cluster per test session."""
    folder = Path(tempfile.mkdtemp(prefix="parley-postgres-"))
    try:
        if os.geteuid() == 0:
            account = pwd.getpwnam("postgres")
            os.chown(folder, account.pw_uid, account.pw_gid)
        _initialise(folder)
        server = _started(folder)
        try:
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


_numbers = itertools.count(1)


@pytest.fixture
def postgres_url(postgres_server: PostgresServer) -> Iterator[str]:
    """URL of an empty database of this test alone."""
    name = f"test_{next(_numbers)}"
    postgres_server.sql(f"CREATE DATABASE {name}")
    yield postgres_server.url(name)
    postgres_server.sql(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(
    params=[
        pytest.param("sqlite", marks=pytest.mark.unit),
        pytest.param("postgresql", marks=pytest.mark.postgres),
    ]
)
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """URL of an empty store; a test that asks for it runs on SQLite and on PostgreSQL."""
    if request.param == "sqlite":
        return f"sqlite+aiosqlite:///{tmp_path}/parley.db"
    url: str = request.getfixturevalue("postgres_url")
    return url


def _initialise(folder: Path) -> None:
    secret = folder / "password"
    secret.write_text(_PASSWORD)
    if os.geteuid() == 0:
        account = pwd.getpwnam("postgres")
        os.chown(secret, account.pw_uid, account.pw_gid)
    _run_as_postgres(
        [
            "initdb",
            *("-D", str(folder / "data"), "-U", "postgres", "--pwfile", str(secret)),
            *("--auth", "scram-sha-256", "--encoding", "UTF8", "--locale", "C.UTF-8", "--no-sync"),
        ]
    )


def _started(folder: Path) -> PostgresServer:
    for attempt in itertools.count(1):
        server = PostgresServer(folder, _free_port())
        try:
            server.start()
        except RuntimeError:
            if attempt == _START_TRIES:  # otherwise somebody may have taken the port meanwhile
                raise
        else:
            return server
    raise AssertionError("unreachable")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _binary(name: str) -> str:
    found = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), key=lambda path: int(path.parts[4]))
    path = str(found[-1]) if found else shutil.which(name)
    if path is None:
        raise RuntimeError(f"{name} was not found: install PostgreSQL (Debian: postgresql), or deselect -m postgres")
    return path


def _run_as_postgres(command: list[str]) -> str:
    """PostgreSQL's programs refuse to run as root."""
    prefix = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
    return _run([*prefix, _binary(command[0]), *command[1:]])


def _run(command: list[str], *, environment: dict[str, str] | None = None) -> str:
    # Output goes to a file: a started server inherits it and would hold a pipe open.
    with tempfile.TemporaryFile("w+") as output:
        done = subprocess.run(
            command, stdout=output, stderr=subprocess.STDOUT, env=environment, timeout=_LIMIT_S, check=False, cwd="/"
        )
        output.seek(0)
        text = output.read()
    if done.returncode:
        raise RuntimeError(f"{command[0]} ended with {done.returncode}: {text.strip()}")
    return text
