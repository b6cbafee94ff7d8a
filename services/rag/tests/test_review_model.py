"""The model assessor against a scripted HTTP server: what is sent, what is believed, what is not."""

import asyncio
import json
from typing import Any

import httpx
import pytest

from parley_protocol.events import Source
from parley_protocol.reviews import Risk
from parley_rag.review.assessor import Brief
from parley_rag.review.model import ATTEMPTS, ModelAssessor, ModelSettings
from parley_rag.review.parties import USUAL, Facts, Side
from parley_rag.review.registry import Choice, ReviewSettings, choose
from parley_runtime import config
from parley_runtime.errors import ConfigError, EngineError, EngineRejected

pytestmark = pytest.mark.unit

RULES = (
    Source("p1", "en.md", "Rules › Liability", 1.0, "No exclusions.", 0, 3, "playbook"),
    Source("p2", "en.md", "Rules › Penalty", 0.5, "No penalties.", 5, 9, "playbook"),
)
BRIEF = Brief(contract_type="purchase", role="buyer", side=Side.BUYER, facts=Facts(dict(USUAL)))


def said(content: Any) -> httpx.Response:
    text = content if isinstance(content, str) else json.dumps(content)
    return httpx.Response(200, json={"choices": [{"message": {"role": "assistant", "content": text}}]})


class Server:
    """Answers in order; the last answer again and again."""

    def __init__(self, *answers: httpx.Response | Exception) -> None:
        self.answers = list(answers)
        self.requests: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer

    def assessor(self, **settings: Any) -> ModelAssessor:
        values = {"base_url": "http://model/v1", "model": "m", "api_key": "key", **settings}
        return ModelAssessor(ModelSettings(**values), httpx.MockTransport(self))


GOOD = {"findings": [{"rule": 2, "risk": "high", "reason": " Too high. "}]}


@pytest.mark.parametrize("content", [GOOD, f"```json\n{json.dumps(GOOD)}\n```"])
async def test_a_checked_answer_becomes_verdicts(content: Any) -> None:
    server = Server(said(content))
    (verdict,) = await server.assessor().assess("The clause.", RULES, BRIEF)
    assert (verdict.risk, verdict.reason) == (Risk.HIGH, "Too high.")
    assert verdict.rule is not None
    assert (verdict.rule.id, verdict.rule.title, verdict.rule.document) == ("p2", "Penalty", "en.md")
    (request,) = server.requests
    assert (request.method, request.url.path) == ("POST", "/v1/chat/completions")
    assert request.headers["authorization"] == "Bearer key"
    body = json.loads(request.content)
    assert (body["model"], body["temperature"]) == ("m", 0)
    asked = body["messages"][1]["content"]
    assert all(part in asked for part in ("buyer", "purchase", "No exclusions.", "No penalties.", "The clause."))


async def test_no_finding_and_no_rule() -> None:
    server = Server(said({"findings": []}))
    assessor = server.assessor()
    assert await assessor.assess("x", RULES, BRIEF) == ()
    assert await assessor.assess("x", (), BRIEF) == ()
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    "content",
    [
        "I think it is fine.",
        "",
        "[]",
        {"findings": "none"},
        {"findings": [{"rule": 3, "risk": "high", "reason": "x"}]},
        {"findings": [{"rule": 0, "risk": "high", "reason": "x"}]},
        {"findings": [{"rule": 1, "risk": "enormous", "reason": "x"}]},
        {"findings": [{"rule": 1, "risk": "high", "reason": "  "}]},
        {"findings": [{"rule": "1", "risk": "high", "reason": "x"}]},
        "[" * 5000,
    ],
)
async def test_what_is_not_what_was_asked_for_is_asked_once_more_and_not_believed(content: Any) -> None:
    server = Server(said(content))
    with pytest.raises(EngineError):
        await server.assessor().assess("x", RULES, BRIEF)
    assert len(server.requests) == ATTEMPTS


@pytest.mark.parametrize("first", [httpx.Response(503), httpx.Response(429), httpx.ConnectError("no"), said("no JSON")])
async def test_what_may_pass_is_tried_again(first: httpx.Response | Exception) -> None:
    (verdict,) = await Server(first, said(GOOD)).assessor().assess("x", RULES, BRIEF)
    assert verdict.risk is Risk.HIGH


@pytest.mark.parametrize("status", [400, 401, 404])
async def test_a_refusal_is_not_tried_again(status: int) -> None:
    server = Server(httpx.Response(status))
    with pytest.raises(EngineRejected, match=str(status)):
        await server.assessor().assess("x", RULES, BRIEF)
    assert len(server.requests) == 1


async def test_a_model_that_is_silent_is_given_up() -> None:
    async def never(_: httpx.Request) -> httpx.Response:
        await asyncio.Event().wait()
        raise AssertionError

    settings = ModelSettings(base_url="http://model/v1", model="m", timeout_s=0.1)
    with pytest.raises(EngineError, match="did not answer"):
        await ModelAssessor(settings, httpx.MockTransport(never)).assess("x", RULES, BRIEF)


async def test_the_first_model_that_is_listed_is_used() -> None:
    server = Server(httpx.Response(200, json={"data": [{"id": "listed"}]}), said(GOOD))
    await server.assessor(model="").assess("x", RULES, BRIEF)
    assert json.loads(server.requests[1].content)["model"] == "listed"
    with pytest.raises(EngineRejected, match="PARLEY_OPENAI_MODEL"):
        await Server(httpx.Response(200, json={"data": []})).assessor(model="").assess("x", RULES, BRIEF)


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ({}, "playbook"),
        ({"PARLEY_OPENAI_BASE_URL": "http://model/v1"}, "model"),
        ({"PARLEY_OPENAI_BASE_URL": "http://model/v1", "PARLEY_REVIEW_ASSESSOR": "playbook"}, "playbook"),
    ],
)
async def test_which_assessor_is_chosen(settings: dict[str, str], name: str) -> None:
    judge, engine = choose(config.read(ReviewSettings, settings))
    assert (engine.stage, engine.name) == ("review", name)
    assert engine.why
    await judge.close()


def test_a_model_without_an_address_is_a_mistake_of_the_settings() -> None:
    with pytest.raises(ConfigError, match="PARLEY_OPENAI_BASE_URL"):
        choose(ReviewSettings(assessor=Choice.MODEL))
