"""The published document is the one the types give, and every reference in it resolves."""

import json
from pathlib import Path
from typing import Any

import pytest

from parley_protocol import asyncapi

pytestmark = pytest.mark.unit

PUBLISHED = Path(__file__).parents[3] / "docs" / "asyncapi.json"


def test_the_published_document_is_current() -> None:
    assert asyncapi.main(["--check", str(PUBLISHED)]) == 0


def test_a_stale_document_fails_the_check(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stale = tmp_path / "asyncapi.json"
    stale.write_text("{}")
    assert asyncapi.main(["--check", str(stale)]) == 1
    assert "./task docs" in capsys.readouterr().err


def test_wrong_usage_is_told() -> None:
    assert asyncapi.main(["--write"]) == 2
    assert asyncapi.main(["one.json", "two.json"]) == 2


def references(node: Any) -> list[str]:
    if isinstance(node, dict):
        own = [node["$ref"]] if "$ref" in node else []
        return own + [ref for value in node.values() for ref in references(value)]
    if isinstance(node, list):
        return [ref for value in node for ref in references(value)]
    return []


def test_every_reference_resolves() -> None:
    document = json.loads(PUBLISHED.read_text(encoding="utf-8"))
    found = references(document)
    assert found
    for ref in found:
        node: Any = document
        for part in ref.removeprefix("#/").split("/"):
            node = node[part]


def test_the_socket_channel_holds_every_frame() -> None:
    messages = asyncapi.document()["channels"]["connect"]["messages"]
    assert {"Hello", "TurnStart", "Welcome", "AnswerDelta", "Done", "ErrorFrame"} <= set(messages)
