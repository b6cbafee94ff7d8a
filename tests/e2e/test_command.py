"""The ``parley`` command as a person runs it."""

import asyncio
import functools
import json
from pathlib import Path

import pytest

from parley_protocol import codec
from parley_protocol.ids import TurnKey
from parley_protocol.routes import WORK, Stage, topology
from parley_protocol.work import Retrieve
from parley_runtime.amqp import AmqpBroker
from parley_runtime.ports import Message
from parley_testkit.rabbit import free_port
from parley_testkit.stack import Stack, soon

from .harness import parley

pytestmark = pytest.mark.e2e


def test_ask_streams_the_answer_and_names_its_sources(stack: Stack) -> None:
    done = parley(stack.url, "ask", "When does the heating start?", "--kb", "handbook")
    assert done.returncode == 0, done.stderr
    assert "below eleven degrees" in done.stdout
    assert "greenhouse.md:" in done.stdout
    assert "first token" in done.stderr


def test_ask_in_chinese(stack: Stack) -> None:
    done = parley(stack.url, "ask", "鲤鱼每天喂几次？", "--kb", "handbook")
    assert done.returncode == 0, done.stderr
    assert "两次" in done.stdout
    assert "zh/鱼塘.md:" in done.stdout


def test_ask_json_is_one_object(stack: Stack) -> None:
    done = parley(stack.url, "ask", "When does the heating start?", "--kb", "handbook", "--json")
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert (answer["status"], answer["sources"][0]["document"]) == ("completed", "greenhouse.md")
    assert answer["session"]


def test_ask_an_unknown_base_fails_and_names_those_there_are(stack: Stack) -> None:
    done = parley(stack.url, "ask", "When does the heating start?", "--kb", "cellar")
    assert done.returncode == 1
    assert "cellar" in done.stderr
    assert "handbook" in done.stderr


def test_a_base_from_ingest_to_drop(stack: Stack, tmp_path: Path) -> None:
    (tmp_path / "one.md").write_text("# Lamps\n\nThe lamp in the hall is green.\n", encoding="utf-8")
    (tmp_path / "two.txt").write_text("The lamp in the attic is violet.\n", encoding="utf-8")
    done = parley(stack.url, "ingest", str(tmp_path), "--kb", "lamps")
    assert (done.returncode, "2 created, 0 replaced, 0 unchanged, 0 removed, 0 failed" in done.stdout) == (0, True)

    (tmp_path / "two.txt").write_text("The lamp in the attic is orange.\n", encoding="utf-8")
    (tmp_path / "one.md").unlink()
    done = parley(stack.url, "ingest", str(tmp_path), "--kb", "lamps")
    assert "0 created, 1 replaced, 0 unchanged, 1 removed, 0 failed" in done.stdout

    listed = {base["name"]: base for base in json.loads(parley(stack.url, "kb", "list", "--json").stdout)}
    assert listed["lamps"]["documents"] == 1
    assert "lamps" in parley(stack.url, "kb", "list").stdout

    shown = parley(stack.url, "kb", "show", "lamps")
    assert "two.txt" in shown.stdout
    assert "one.md" not in shown.stdout

    found = parley(stack.url, "kb", "search", "lamps", "attic lamp")
    assert "orange" in found.stdout
    assert "violet" not in found.stdout

    missing = parley(stack.url, "kb", "rm", "lamps", "one.md")
    assert (missing.returncode, missing.stdout) == (1, "one.md is not in lamps\n")
    assert parley(stack.url, "kb", "rm", "lamps", "two.txt").stdout == "removed 1\n"

    (tmp_path / "three.txt").write_text("The lamp in the shed is broken.\n", encoding="utf-8")
    assert parley(stack.url, "ingest", str(tmp_path), "--kb", "lamps").returncode == 0
    dropped = parley(stack.url, "kb", "drop", "lamps", "--yes")
    assert (dropped.returncode, dropped.stdout) == (0, "removed 2 documents\n")
    assert "lamps" not in parley(stack.url, "kb", "list").stdout


def test_a_question_on_what_was_dropped_finds_nothing(stack: Stack, tmp_path: Path) -> None:
    file = tmp_path / "gone.txt"
    file.write_text("The secret ingredient is cardamom.\n", encoding="utf-8")
    assert parley(stack.url, "ingest", str(file), "--kb", "recipes").returncode == 0
    assert "cardamom" in parley(stack.url, "ask", "What is the secret ingredient?", "--kb", "recipes").stdout
    assert parley(stack.url, "kb", "drop", "recipes", "--yes").returncode == 0
    done = parley(stack.url, "ask", "What is the secret ingredient?", "--kb", "recipes")
    assert done.returncode == 1
    assert "cardamom" not in done.stdout


def test_status_is_a_table_of_queues_and_processes(stack: Stack) -> None:
    done = parley(stack.url, "status")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == "broker up"
    assert any(line.split()[:1] == ["parley.retrieve"] for line in lines)
    for role in ("gateway-", "rag-", "inference-"):
        assert any(line.strip().startswith(role) for line in lines), done.stdout
    assert "generate: extractive" in done.stdout


def test_status_as_json(stack: Stack) -> None:
    info = json.loads(parley(stack.url, "status", "--json").stdout)
    assert info["broker"] == "up"
    queues = {queue["name"]: queue for queue in info["queues"]}
    for stage in ("retrieve", "generate", "record", "knowledge", "dead"):
        assert queues[f"parley.{stage}"]["consumers"] == 1
    assert {process["role"] for process in info["processes"]} == {"gateway", "rag", "inference"}
    assert all(process["ready"] for process in info["processes"])


def test_dead_list_is_empty(stack: Stack) -> None:
    done = parley(stack.url, "dead", "list")
    assert (done.returncode, done.stdout) == (0, "no dead letters\n")


async def test_a_dead_letter_is_listed_and_shown(stack: Stack) -> None:
    """After the test above: this installation keeps the letter."""
    job = Retrieve(key=TurnKey("default", "s" * 40, "t1"), submission="s", digest="d", budget_s=60, reply_to=())
    broker = AmqpBroker(stack.amqp_url, name="test", topology=topology())
    try:
        link = await broker.open("publish")
        await link.publish(WORK, Stage.RETRIEVE, Message(codec.pack(job)[:-1] + b"\xc1"))
    finally:
        await broker.close()
    command = functools.partial(asyncio.to_thread, parley, stack.url, "dead")
    (row,) = await soon(lambda: json.loads(parley(stack.url, "dead", "list", "--json").stdout), "parked", limit_s=60)
    assert (row["queue"], row["reason"]) == ("parley.retrieve", "rejected")
    assert row["id"] in (await command("list")).stdout
    shown = await command("show", row["id"])
    assert (shown.returncode, json.loads(shown.stdout)["id"]) == (0, row["id"])
    again = await command("retry", row["id"])
    assert (again.returncode, "no question" in again.stderr) == (1, True)
    missing = await command("show", "none")
    assert (missing.returncode, "no dead letter has this id" in missing.stderr) == (1, True)


@pytest.mark.parametrize("arguments", [("ask", "why?"), ("status",), ("ingest", "pyproject.toml")])
def test_where_nothing_runs_the_command_says_so(arguments: tuple[str, ...]) -> None:
    address = f"http://127.0.0.1:{free_port()}"
    done = parley(address, *arguments)
    assert done.returncode == 1
    assert "./task up" in done.stderr
    assert "Traceback" not in done.stderr
