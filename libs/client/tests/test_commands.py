"""The commands against a stand-in gateway on a real port: what they print, where, and with which exit status."""

import base64
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import jwt
import msgspec
import pytest
from typer.testing import CliRunner, Result

from parley_client.cli import app
from parley_client.commands import common, tutors
from parley_protocol.installation import SECRET_FILE, development_secret

pytestmark = pytest.mark.unit

SECRET = "s" * 32
ESCAPE = "\x1b]0;owned\x07"
DEAD = {
    "id": "d1",
    "parked_at": "2026-01-02T03:04:05Z",
    "queue": "parley.generate",
    "reason": "undecodable",
    "cause": "no such [field]",
    "turn": "t1",
    "body": base64.b64encode(msgspec.msgpack.encode({"question": "why?"})).decode(),
}
MANY: list[dict[str, object]] = [
    {**DEAD, "id": f"many-{i}", "reason": "rejected" if i % 2 else "exhausted"} for i in range(5)
]
DROPPED: list[str] = []
SOURCE = {
    "id": "s1",
    "document": "a.md",
    "title": "A [title]",
    "score": 1.5,
    "text": f"plain {ESCAPE}text",
    "start": 3,
    "end": 9,
}
PRESENCE = {
    "id": "rag-1",
    "role": "rag",
    "host": "h",
    "pid": 7,
    "version": "1",
    "uptime_s": 5.0,
    "ready": False,
    "busy": 1,
    "seats": 4,
    "engines": [{"stage": "retrieve", "name": "embedded", "why": "the default"}],
    "latencies": {"retrieve": 1.25},
}
STATUS = {
    "broker": "up",
    "queues": [{"name": "parley.generate", "ready": 3, "consumers": 0}],
    "processes": [PRESENCE],
}
TUTOR = {"id": 7, "admin": "1", "name": f"Ms {ESCAPE}Li", "created_at": "2026-01-02T03:04:05.000Z"}
ANSWERS: dict[tuple[str, str], object] = {
    ("POST", "/v1/tutors"): TUTOR,
    ("DELETE", "/v1/tutors/7"): {"removed": 1, "sessions": 2},
    ("GET", "/v1/kb"): {"bases": [{"name": "[b]", "documents": 2, "passages": 9}]},
    ("GET", "/v1/kb/a%20b/search"): {"sources": [SOURCE]},
    ("GET", "/v1/kb/empty/search"): {"sources": []},
    ("DELETE", "/v1/kb/a"): {"removed": 2},
    ("DELETE", "/v1/kb/gone"): {"removed": 0},
    ("DELETE", "/v1/kb/a/documents"): {"removed": 1},
    ("DELETE", "/v1/kb/gone/documents"): {"removed": 0},
    ("GET", "/v1/status"): STATUS,
    ("GET", "/v1/dead/d1"): DEAD,
    ("POST", "/v1/dead/d1/retry"): {"turn": "t9", "session": "s9"},
    ("DELETE", "/v1/dead/d1"): {"removed": 1},
    ("DELETE", "/v1/dead/gone"): {"removed": 0},
}


class Handler(BaseHTTPRequestHandler):
    """Answers from ANSWERS; a token other than none or `good` is refused."""

    def _answer(self) -> None:
        asked = urlsplit(self.path)
        query = dict(parse_qsl(asked.query))
        if self.headers.get("Authorization", "Bearer good") != "Bearer good":
            return self._send(401, {"error": {"code": "unauthorized", "message": "the token has expired"}})
        if asked.path.endswith("/documents") and self.command == "GET":
            full = asked.path == "/v1/kb/a/documents" and not query.get("after")
            row = {
                "path": "x.md",
                "title": "X",
                "digest": "d",
                "size": 5,
                "passages": 1,
                "updated_at": "2026-01-02T03:04",
            }
            return self._send(200, {"documents": [row] if full else []})
        if (self.command, asked.path) == ("GET", "/v1/tutors"):
            return self._send(200, {"tutors": [TUTOR] if query["after"] == "0" else []})
        if asked.path == "/v1/dead":
            return self._send(200, {"dead": self._letters(query)})
        if self.command == "DELETE" and asked.path.startswith("/v1/dead/many-"):
            DROPPED.append(asked.path.removeprefix("/v1/dead/"))
            return self._send(200, {"removed": 1})
        found = ANSWERS.get((self.command, asked.path))
        if found is None:
            error = {"code": "not_found", "message": "there is no such thing", "retryable": False}
            return self._send(404, {"error": error})
        return self._send(200, found)

    def _letters(self, query: dict[str, str]) -> list[dict[str, object]]:
        """DEAD, or, for a token's owner, MANY in pages of at most 2."""
        if not self.headers.get("Authorization"):
            return [DEAD]
        ids = [str(row["id"]) for row in MANY]
        start = ids.index(query["before"]) + 1 if "before" in query else 0
        return MANY[start : start + min(2, int(query["limit"]))]

    do_GET = do_DELETE = do_POST = _answer

    def _send(self, status: int, value: object) -> None:
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture(scope="module")
def gateway() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def plain(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the user's environment nor a console made before the runner replaced the streams."""
    for name in ("PARLEY_URL", "PARLEY_TOKEN", "PARLEY_AUTH_SECRET", "PARLEY_AUTH_AUDIENCE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(common.out, "_file", None)
    monkeypatch.setattr(common.err, "_file", None)


def parley(*args: str, stdin: str = "") -> Result:
    return CliRunner().invoke(app, args, input=stdin)


def test_bases_are_listed_as_they_are_named(gateway: str) -> None:
    shown = parley("kb", "list", "--url", gateway)
    assert shown.exit_code == 0
    assert "[b]" in shown.stdout
    rows = json.loads(parley("kb", "list", "--json", "--url", gateway).stdout)
    assert rows[0]["documents"] == 2


def test_documents_of_a_base_and_of_none(gateway: str) -> None:
    shown = parley("kb", "show", "a", "--url", gateway)
    assert (shown.exit_code, "x.md" in shown.stdout) == (0, True)
    gone = parley("kb", "show", "gone", "--url", gateway)
    assert gone.exit_code == 1
    assert "no knowledge base 'gone'" in gone.stderr


def test_a_search_shows_titles_and_keeps_terminal_codes_of_documents_away(gateway: str) -> None:
    shown = parley("kb", "search", "a b", "q", "--url", gateway)
    assert "A [title]" in shown.stdout
    assert "\x1b]" not in shown.stdout
    assert "\x07" not in shown.stdout
    assert parley("kb", "search", "empty", "q", "--url", gateway).stdout == "nothing found\n"


def test_removing_tells_what_was_removed(gateway: str) -> None:
    assert parley("kb", "drop", "a", "--yes", "--url", gateway).stdout == "removed 2 documents\n"
    assert parley("kb", "drop", "gone", "--yes", "--url", gateway).exit_code == 1
    assert parley("kb", "drop", "a", "--url", gateway, stdin="n\n").exit_code == 1
    assert parley("kb", "rm", "a", "x.md", "--url", gateway).exit_code == 0
    gone = parley("kb", "rm", "gone", "x.md", "--url", gateway)
    assert (gone.exit_code, gone.stdout) == (1, "x.md is not in gone\n")


@pytest.mark.parametrize("name", ["a/b", "..", ""])
def test_a_name_that_no_address_can_hold_is_refused_before_anything_is_sent(name: str) -> None:
    refused = parley("kb", "drop", name, "--yes", "--url", "http://127.0.0.1:1")
    assert refused.exit_code == 1
    assert "cannot name a knowledge base" in refused.stderr


def test_status_shows_queues_processes_and_their_alarms(gateway: str) -> None:
    shown = parley("status", "--url", gateway)
    assert shown.exit_code == 0
    for part in ("broker up", "parley.generate", "1 of 4 seats", "retrieve: embedded", "retrieve 1.2 ms", "no"):
        assert part in shown.stdout
    whole = json.loads(parley("status", "--json", "--url", gateway).stdout)
    assert whole["queues"] == STATUS["queues"]


def test_dead_letters_are_listed_shown_whole_and_asked_again(gateway: str) -> None:
    listed = parley("dead", "list", "--url", gateway)
    assert "no such [field]" in listed.stdout
    shown = json.loads(parley("dead", "show", "d1", "--url", gateway).stdout)
    assert shown["body"] == {"question": "why?"}
    assert parley("dead", "show", "d2", "--url", gateway).exit_code == 1
    retried = parley("dead", "retry", "d1", "--url", gateway)
    assert "turn t9" in retried.stdout
    assert "--session s9" in retried.stdout


def test_dead_letters_are_listed_in_pages(gateway: str) -> None:
    first = parley("dead", "list", "--limit", "2", "--url", gateway, "--token", "good")
    assert "--before many-1" in first.stdout
    rest = parley("dead", "list", "--limit", "2", "--before", "many-3", "--url", gateway, "--token", "good", "--json")
    assert [row["id"] for row in json.loads(rest.stdout)] == ["many-4"]


def test_dropping_asks_first_and_names_what_it_did_not_find(gateway: str) -> None:
    refused = parley("dead", "drop", "d1", "--url", gateway, stdin="n\n")
    assert refused.exit_code == 1
    assert "Remove 1 dead letter for good?" in refused.stderr
    assert "dropped" not in refused.stdout
    assert "dropped 1 dead letter\n" in parley("dead", "drop", "d1", "--url", gateway, stdin="y\n").stdout
    part = parley("dead", "drop", "d1", "gone", "none", "--yes", "--json", "--url", gateway)
    assert part.exit_code == 1
    assert json.loads(part.stdout) == {"dropped": ["d1"], "unknown": ["gone", "none"]}
    assert "no dead letter is called gone, none" in part.stderr


@pytest.mark.parametrize(
    ("reason", "expected"),
    [((), ["many-0", "many-1", "many-2", "many-3", "many-4"]), (("--reason", "rejected"), ["many-1", "many-3"])],
)
def test_all_are_dropped_or_all_of_a_reason(gateway: str, reason: tuple[str, ...], expected: list[str]) -> None:
    DROPPED.clear()
    done = parley("dead", "drop", "--all", *reason, "--yes", "--url", gateway, "--token", "good")
    assert done.exit_code == 0
    assert expected == DROPPED


@pytest.mark.parametrize("arguments", [(), ("d1", "--all"), ("d1", "--reason", "rejected")])
def test_dropping_needs_ids_or_all(gateway: str, arguments: tuple[str, ...]) -> None:
    assert parley("dead", "drop", *arguments, "--yes", "--url", gateway).exit_code == 2


def test_a_refused_token_is_told_with_what_to_do(gateway: str) -> None:
    refused = parley("status", "--url", gateway, "--token", "bad")
    assert refused.exit_code == 1
    assert "the token has expired" in refused.stderr
    assert "PARLEY_TOKEN" in refused.stderr
    assert "bad" not in refused.stderr


@pytest.mark.parametrize("address", ["ftp://h", "127.0.0.1:8000", ""])
@pytest.mark.parametrize("command", [("status",), ("ask", "hi"), ("chat",)])
def test_what_is_no_address_is_named(command: tuple[str, ...], address: str) -> None:
    refused = parley(*command, "--url", address)
    assert refused.exit_code == 1
    assert "is not an address" in refused.stderr


@pytest.mark.parametrize("command", [("status",), ("ask", "hi"), ("chat",), ("kb", "list"), ("dead", "list")])
def test_nothing_there_says_how_to_start_it(command: tuple[str, ...]) -> None:
    refused = parley(*command, "--url", "http://127.0.0.1:1")
    assert refused.exit_code == 1
    assert "./task up" in refused.stderr


def test_something_else_that_answers_is_not_taken_for_a_gateway(gateway: str) -> None:
    ANSWERS["GET", "/elsewhere/v1/status"] = ["not", "a", "gateway"]
    refused = parley("status", "--url", f"{gateway}/elsewhere")
    assert refused.exit_code == 1
    assert "does not answer as a gateway does" in refused.stderr


def test_a_token_carries_what_was_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PARLEY_AUTH_SECRET", SECRET)
    made = parley("token", "--sub", "me", "--tenant", "acme", "--owner", "--hours", "2")
    claims = jwt.decode(made.stdout.strip(), SECRET, algorithms=["HS256"])
    assert (claims["sub"], claims["tenant"], claims["owner"]) == ("me", "acme", True)
    assert claims["exp"] - claims["iat"] == 7200
    assert "owner" not in jwt.decode(parley("token", "--sub", "me").stdout.strip(), SECRET, algorithms=["HS256"])


@pytest.mark.parametrize(("secret", "why"), [("", "is not set"), ("short", "is too short")])
def test_a_token_needs_the_gateways_secret(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, secret: str, why: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PARLEY_AUTH_SECRET", secret)
    refused = parley("token", "--sub", "me")
    assert refused.exit_code == 1
    assert why in refused.stderr


def test_a_token_is_signed_with_the_secret_of_the_env_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".env").write_text(f"PARLEY_AUTH_SECRET={SECRET}\nPARLEY_AUTH_AUDIENCE=parley\n")
    made = parley("token", "--sub", "me")
    claims = jwt.decode(made.stdout.strip(), SECRET, algorithms=["HS256"], audience="parley")
    assert claims["sub"] == "me"


def test_without_a_secret_a_token_is_signed_with_the_installations_own(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PARLEY_DATA", "kept")
    refused = parley("token", "--sub", "me")
    assert (refused.exit_code, "kept" in refused.stderr) == (1, True)
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / SECRET_FILE).write_bytes(bytes(range(32)))
    made = parley("token", "--sub", "me", "--owner")
    claims = jwt.decode(made.stdout.strip(), development_secret(bytes(range(32))), algorithms=["HS256"])
    assert (claims["sub"], claims["owner"]) == ("me", True)


def test_tutors_are_added_listed_and_removed(gateway: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert parley("tutors", "add", "Ms Li", "--admin", "1", "--url", gateway).stdout == "tutor 7 of administrator 1\n"
    listed = parley("tutors", "list", "--url", gateway).stdout
    assert "Ms" in listed
    assert "\x1b]" not in listed
    assert json.loads(parley("tutors", "list", "--json", "--url", gateway).stdout) == [TUTOR]
    assert "2 of his sessions were ended" in parley("tutors", "remove", "7", "--url", gateway).stdout
    assert parley("tutors", "remove", "8", "--url", gateway).exit_code == 1
    assert parley("tutors", "add", "Ms Li", "--url", gateway).exit_code == 2


def test_a_token_of_ones_own_is_made_for_this_machine_only(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert tutors.own_token("http://127.0.0.1:8000") is None
    monkeypatch.setenv("PARLEY_AUTH_SECRET", SECRET)
    made = tutors.own_token("ws://localhost:8000")
    assert made is not None
    claims = jwt.decode(made, SECRET, algorithms=["HS256"])
    assert (claims["owner"], claims["exp"] - claims["iat"]) == (True, 60)
    assert tutors.own_token("https://parley.example") is None


def test_no_process_of_a_role_is_not_taken_for_the_default(tmp_path: Path) -> None:
    refused = parley("up", "--rag", "0", "--data", str(tmp_path))
    assert refused.exit_code == 2
    assert "0 rag processes" in refused.output


@pytest.mark.parametrize(
    "command", [("--help",), ("up", "--help"), ("kb", "--help"), ("token", "--help"), ("tutors", "--help")]
)
def test_help_is_there(command: tuple[str, ...]) -> None:
    shown = parley(*command)
    assert shown.exit_code == 0
    assert "Usage" in shown.stdout
