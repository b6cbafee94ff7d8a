"""Files of readings on their way to a gateway: in parts, digits kept, refusals by the line of the file."""

import json
from pathlib import Path

import httpx
import pytest
from typer.testing import CliRunner

from parley_client import readings
from parley_client.api import Api
from parley_client.cli import app
from parley_client.errors import ClientError

pytestmark = pytest.mark.unit
HEAD = "metric,sensor,timestamp,value,unit\n"


class Gateway:
    """Refuses CSV lines that hold "bad" and JSON rows without a value, as the gateway does."""

    def __init__(self) -> None:
        self.requests: list[httpx.Request] = []
        self.status = 200

    def answer(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        if self.status != 200:
            error = {"code": "invalid", "message": "the first line must name the columns", "retryable": False}
            return httpx.Response(self.status, json={"error": error})
        if request.method == "GET":
            row = {"metric": "temp", "sensor": "a", "unit": "℃", "newest": "2026-11-28T18:40:00+00:00"}
            return httpx.Response(200, json={"series": [row]})
        if request.headers["content-type"] == "application/json":
            rows = list(enumerate(json.loads(request.content), 1))
            bad = [place for place, row in rows if "value" not in row]
        else:
            rows = list(enumerate(request.content.decode().splitlines(), 1))[1:]
            bad = [line for line, row in rows if "bad" in row]
        refused = [{"line": line, "reason": "value is missing"} for line in bad]
        return httpx.Response(200, json={"stored": len(rows) - len(bad), "refused": refused})

    def api(self) -> Api:
        return Api("http://gateway", transport=httpx.MockTransport(self.answer))


async def bring(gateway: Gateway, file: Path, **options: object) -> readings.Summary:
    async with gateway.api() as api:
        return await readings.bring(api, file, **options)


async def test_a_large_file_goes_in_parts_and_lines_are_the_files(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(readings, "PART", 2)
    file = tmp_path / "r.csv"
    file.write_text(HEAD + 'a,1\n\n"b\nb",2\nbad,3\nc,4\nbad,5', encoding="utf-8")
    gateway = Gateway()
    seen: list[tuple[int, int]] = []
    found = await bring(gateway, file, progress=lambda sent, total: seen.append((sent, total)))
    assert len(gateway.requests) == 3
    assert all(request.content.decode().startswith(HEAD) for request in gateway.requests)
    assert [line for line, _ in found.refused] == [6, 8]
    assert seen == sorted(seen)
    assert seen[-1][0] <= seen[-1][1] == file.stat().st_size


async def test_json_keeps_its_digits_and_places(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(readings, "PART", 1)
    rows = '{"metric":"t","sensor":"s","timestamp":1767323045,"value":23.50}'
    for name, text in (("a.json", f'[{rows},{{"metric":"t"}}]'), ("a.jsonl", f'{rows}\n\n{{"metric":"t"}}\n')):
        file = tmp_path / name
        file.write_text(text)
        gateway = Gateway()
        found = await bring(gateway, file)
        assert json.loads(gateway.requests[0].content)[0]["value"] == "23.50"
        assert (found.stored, [line for line, _ in found.refused]) == (1, [2 if name == "a.json" else 3])


async def test_all_or_nothing_is_one_request(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(readings, "PART", 1)
    file = tmp_path / "r.csv"
    file.write_text(HEAD + "a,1\nb,2\n")
    gateway = Gateway()
    await bring(gateway, file, all_or_nothing=True)
    (request,) = gateway.requests
    assert (request.url.params["all_or_nothing"], request.content.decode()) == ("1", file.read_text())


async def test_another_encoding_is_left_to_the_server(tmp_path: Path) -> None:
    file = tmp_path / "r.csv"
    file.write_bytes((HEAD + "水温,一号池\n").encode("gb18030"))
    gateway = Gateway()
    gateway.status = 400
    with pytest.raises(ClientError, match="first line"):
        await bring(gateway, file)
    assert gateway.requests[0].content == file.read_bytes()


@pytest.mark.parametrize(("name", "data"), [("a.json", b"{"), ("a.csv", b""), ("a.json", b"\xff\xfe")])
async def test_files_that_cannot_be_read_are_named(tmp_path: Path, name: str, data: bytes) -> None:
    file = tmp_path / name
    file.write_bytes(data)
    with pytest.raises(ClientError, match=name):
        await bring(Gateway(), file)
    with pytest.raises(ClientError, match="cannot be read"):
        await bring(Gateway(), tmp_path / "nowhere.csv")


@pytest.fixture
def gateway(monkeypatch) -> Gateway:
    made = Gateway()
    plain = Api.__init__

    def opened(self: Api, url: str = "", **options: object) -> None:
        plain(self, "http://gateway", transport=httpx.MockTransport(made.answer))

    monkeypatch.setattr(Api, "__init__", opened)
    return made


def test_the_command_names_bad_rows_and_its_status_tells(gateway: Gateway, tmp_path: Path) -> None:
    good, bad = tmp_path / "good.csv", tmp_path / "bad.csv"
    good.write_text(HEAD + "a,1\n")
    bad.write_text(HEAD + "bad,1\n")
    found = CliRunner().invoke(app, ["readings", "import", str(good)])
    assert (found.exit_code, "1 stored, 0 refused" in found.output) == (0, True)
    found = CliRunner().invoke(app, ["readings", "import", str(bad), str(good), str(tmp_path / "none.csv")])
    assert found.exit_code == 1
    assert f"{bad}:2: value is missing" in found.output
    assert f"{good}: 1 stored, 0 refused" in found.output
    assert "none.csv cannot be read" in found.output


def test_what_is_held_is_listed(gateway: Gateway) -> None:
    found = CliRunner().invoke(app, ["readings", "list"])
    assert (found.exit_code, "pond" in found.output, "2026-11-28T18:40" in found.output) == (0, False, True)
    found = CliRunner().invoke(app, ["readings", "list", "--json"])
    assert json.loads(found.output)[0]["metric"] == "temp"
