"""What each process finds in its environment, and what the log lines of a child become."""

import io
import sys
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner

from parley_client.cli import app
from parley_client.up import plan
from parley_client.up.errors import ConfigurationError
from parley_client.up.report import Report, read_line
from parley_client.up.settings import UpSettings, checked_counts, number, project_folder

pytestmark = pytest.mark.unit


def settings(tmp_path: Path, **env: str) -> UpSettings:
    counts = {"gateway": 2, "rag": 1, "inference": 2}
    return UpSettings(tmp_path, tmp_path / "data", "127.0.0.1", 9000, counts, env)


def test_every_process_gets_its_name_its_port_and_the_shared_settings(tmp_path: Path) -> None:
    services = plan.services(settings(tmp_path, HOME="/h", PARLEY_MAX="5"), "amqp://b/")
    assert [service.name for service in services] == ["gateway-1", "gateway-2", "rag-1", "inference-1", "inference-2"]
    for service in services:
        env = service.command.env
        assert env["AMQP_URL"] == "amqp://b/"
        assert env["PARLEY_STORE"] == f"sqlite+aiosqlite:///{tmp_path}/data/parley.db"
        assert env["PARLEY_DATA"] == f"{tmp_path}/data"
        ids = {service.fresh().env["PARLEY_PROCESS_ID"] for _ in range(3)}
        assert len(ids) == 3
        assert all(one.startswith(f"{service.name}-") for one in ids)
        assert env["HOME"] == "/h"
        assert env["PARLEY_MAX"] == "5"
        assert service.command.argv == (sys.executable, "-m", f"parley_{service.role}")
    assert [service.health for service in services[:2]] == ["http://127.0.0.1:9000", "http://127.0.0.1:9001"]
    assert [service.command.env["PARLEY_PORT"] for service in services[:2]] == ["9000", "9001"]
    ports = [service.command.env["PARLEY_HEALTH_PORT"] for service in services[2:]]
    assert len(set(ports)) == 3
    assert [service.health for service in services[2:]] == [f"http://127.0.0.1:{port}" for port in ports]


def test_a_store_that_was_given_is_kept(tmp_path: Path) -> None:
    url = "postgresql+asyncpg://me@db/parley"
    assert {s.command.env["PARLEY_STORE"] for s in plan.services(settings(tmp_path, PARLEY_STORE=url), "")} == {url}


@pytest.mark.parametrize(
    ("host", "reachable"),
    [("127.0.0.1", "127.0.0.1"), ("0.0.0.0", "127.0.0.1"), ("::", "[::1]"), ("192.0.2.7", "192.0.2.7")],
)
def test_the_address_shown_reaches_the_gateway_from_here(tmp_path: Path, host: str, reachable: str) -> None:
    found = UpSettings(tmp_path, tmp_path, host, 8000, {}, {})
    assert found.address == f"http://{reachable}:8000"


@pytest.mark.parametrize(
    ("processes", "said", "found"), [(1, {}, None), (2, {}, "2"), (2, {"PARLEY_ASR_SHARING": "1"}, "1")]
)
def test_processes_that_listen_on_one_machine_share_it(
    tmp_path: Path, processes: int, said: dict[str, str], found: str | None
) -> None:
    counts = {"gateway": 1, "rag": 1, "inference": 1, "asr": processes}
    made = plan.services(UpSettings(tmp_path, tmp_path / "data", "127.0.0.1", 9000, counts, said), "amqp://b/")
    assert {each.command.env.get("PARLEY_ASR_SHARING") for each in made if each.role == "asr"} == {found}


@pytest.mark.parametrize("count", [0, -1, 65])
def test_a_count_that_makes_no_sense_is_refused(count: int) -> None:
    with pytest.raises(ConfigurationError, match=f"{count} rag processes"):
        checked_counts({"gateway": 1, "rag": count})


def test_only_what_is_not_needed_may_have_no_process() -> None:
    assert checked_counts({"gateway": 1, "rag": 1, "inference": 1, "asr": 0})["asr"] == 0


def test_a_port_that_is_no_number_is_named() -> None:
    with pytest.raises(ConfigurationError, match="PARLEY_PORT is 'http'"):
        number({"PARLEY_PORT": "http"}, "PARLEY_PORT", 8000)


def test_the_project_is_found_from_a_folder_inside_it(tmp_path: Path) -> None:
    inner = tmp_path / "libs" / "client"
    inner.mkdir(parents=True)
    assert project_folder(inner) == inner
    (tmp_path / "Taskfile.yml").touch()
    assert project_folder(inner) == tmp_path


@pytest.mark.parametrize(
    ("line", "level", "text"),
    [
        ('{"level":"warning","event":"queue full","queue":"rag","timestamp":"t"}', "warning", "queue full queue=rag"),
        ('{"not": "a record"}', "", '{"not": "a record"}'),
        ("{broken", "", "{broken"),
        ("2026-01-01 00:00:00 [error] <0.1.0> no", "error", "2026-01-01 00:00:00 [error] <0.1.0> no"),
        ("Traceback (most recent call last):", "traceback", "Traceback (most recent call last):"),
        ("INFO:     started", "info", "INFO:     started"),
    ],
)
def test_a_line_of_a_child_is_read(line: str, level: str, text: str) -> None:
    found = read_line(line)
    assert found[0] == level
    assert found[1].endswith(text)


@pytest.mark.parametrize(("verbose", "shown"), [(False, ["loud"]), (True, ["quiet", "loud"])])
def test_only_warnings_reach_the_terminal_unless_all_is_asked_for(verbose: bool, shown: list[str]) -> None:
    out = io.StringIO()
    report = Report(Console(file=out, width=100), verbose=verbose)
    report.child("rag-1", '{"level":"info","event":"quiet"}')
    report.child("rag-1", '{"level":"error","event":"loud [red]as is[/red]"}')
    lines = out.getvalue().splitlines()
    assert [next(word for word in ("quiet", "loud") if word in line) for line in lines] == shown
    assert lines[-1].startswith("rag-1 ")
    assert lines[-1].endswith("loud [red]as is[/red]")


def test_a_port_in_use_and_a_bad_env_file_are_told_before_anything_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PARLEY_PORT", raising=False)
    monkeypatch.delenv("PARLEY_DATA", raising=False)
    (tmp_path / ".env").write_text("PARLEY_PORT=99999\nnonsense\n", encoding="utf-8")
    result = CliRunner().invoke(app, ["up"])
    printed = " ".join(result.output.split())
    assert result.exit_code == 2, printed
    assert ".env: line 2 is not KEY=VALUE; the line is ignored" in printed
    assert "99999 is not a TCP port" in printed
    assert not (tmp_path / ".parley" / "broker").exists()


def test_down_says_when_nothing_runs(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["down", "--data", str(tmp_path)])
    assert result.exit_code == 0
    assert "nothing runs from" in result.output


def test_gateways_with_tls_are_asked_on_a_health_port_of_their_own(tmp_path: Path) -> None:
    env = {"PARLEY_TLS_CERT": "/some/chain.pem", "PARLEY_EXTRA_PORTS": "9100"}
    counts = {"gateway": 2, "rag": 1, "inference": 1}
    settings = UpSettings(root=tmp_path, data=tmp_path, host="127.0.0.1", port=9000, counts=counts, env=env)
    assert settings.address == "https://127.0.0.1:9000"
    found = plan.services(settings, "amqp://x/")
    for index, service in enumerate(found[:2]):
        assert service.command.env["PARLEY_PORT"] == str(9000 + index)
        assert service.health == f"http://127.0.0.1:{service.command.env['PARLEY_HEALTH_PORT']}"
    assert [service.command.env["PARLEY_EXTRA_PORTS"] for service in found[:2]] == ["9100", ""]
