"""Contract review over real processes: two gateways, two rag processes, one of which is killed at work."""

import asyncio
import io
import json
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import ClientConnection, connect

from parley_testkit.stack import Lab, Stack, soon

from .harness import parley

pytestmark = pytest.mark.e2e

ROOT = Path(__file__).resolve().parents[2]
LIMIT_S = 60.0
CONTRACT = (ROOT / "sample" / "contracts" / "采购合同.txt").read_text(encoding="utf-8")
AGREEMENT = (ROOT / "sample" / "contracts" / "purchase-agreement.md").read_bytes()


@pytest.fixture(scope="module")
def reviewing(lab: Lab) -> Iterator[Stack]:
    with lab.stack("reviews", roles={"rag": 2, "gateway": 2}, PARLEY_REVIEW_POLL_S="0.5") as running:
        done = parley(running.url, "ingest", str(ROOT / "sample" / "playbook"), "--kb", "playbook")
        assert done.returncode == 0, done.stderr
        yield running


async def upload(stack: Stack, *, number: int = 0, **request: Any) -> int:
    def post() -> httpx.Response:
        url = stack.of("gateway")[number].url + "/v1/reviews"
        return httpx.post(url, timeout=30, trust_env=False, **request)

    answer = await asyncio.to_thread(post)
    assert answer.status_code == 202, answer.text
    assert answer.json()["status"] == "PENDING"
    task: int = answer.json()["task_id"]
    return task


@asynccontextmanager
async def watching(stack: Stack, task: int, number: int = 0) -> AsyncIterator[ClientConnection]:
    url = stack.of("gateway")[number].url.replace("http://", "ws://")
    async with connect(f"{url}/ws/review/{task}", proxy=None) as socket:
        assert (await receive(socket))["type"] == "connection"
        yield socket


async def receive(socket: ClientConnection) -> dict[str, Any]:
    async with asyncio.timeout(LIMIT_S):
        frame: dict[str, Any] = json.loads(await socket.recv())
    return frame


async def until_end(socket: ClientConnection) -> list[dict[str, Any]]:
    seen = [await receive(socket)]
    while seen[-1].get("stage") not in ("complete", "failed"):
        seen.append(await receive(socket))
    return seen


def got(stack: Stack, path: str) -> httpx.Response:
    return httpx.get(stack.of("gateway")[1].url + path, timeout=30, trust_env=False)


async def test_the_sample_contracts_are_reviewed_for_their_side(reviewing: Stack) -> None:
    body = {"text": CONTRACT, "contract_type": "purchase", "role": "buyer"}
    task = await upload(reviewing, json=body)
    async with watching(reviewing, task) as one, watching(reviewing, task, 1) as two:
        ends = []
        for socket in (one, two):
            seen = await until_end(socket)
            figures = [frame["progress"] for frame in seen]
            assert figures == sorted(figures)
            assert figures[-1] == 100
            assert all(frame["message"] for frame in seen)
            ends.append(seen[-1])
        assert ends[0] == ends[1]
    findings = ends[0]["result"]["findings"]
    titles = [(finding["clause"][:3], finding["rule"]["title"]) for finding in findings]
    assert titles == [
        ("第三条", "预付款"),
        ("第五条", "单方变更"),
        ("第六条", "视为验收"),
        ("第八条", "违约金"),
        ("第九条", "责任免除与限制"),
        ("第十条", "合同解除"),
        ("第十三", "争议管辖"),
    ]
    assert all(CONTRACT[one["start"] : one["end"]] == one["clause"] for one in findings)
    files = {"file": ("agreement.md", AGREEMENT, "text/markdown")}
    other = await upload(reviewing, number=1, files=files, data={"role": "Seller", "contract_type": "purchase"})
    async with watching(reviewing, other) as socket:
        result = (await until_end(socket))[-1]["result"]
    text = (await asyncio.to_thread(got, reviewing, f"/v1/reviews/{other}/text")).text
    assert {finding["rule"]["title"] for finding in result["findings"]} == {
        "Unilateral change",
        "Penalty",
        "Termination",
    }
    assert all(text[one["start"] : one["end"]] == one["clause"] for one in result["findings"])


async def test_pdf_and_word_are_read_and_broken_ones_say_so(reviewing: Stack) -> None:
    import docx
    from reportlab.pdfgen import canvas

    sheet = io.BytesIO()
    page = canvas.Canvas(sheet)
    page.drawString(72, 700, "1. Payment. The Buyer shall pay the full price in advance before shipment.")
    page.drawString(72, 680, "2. Packing. The Seller shall pack the goods suitably for sea transport.")
    page.save()
    word, buffer = docx.Document(), io.BytesIO()
    word.add_paragraph("第一条 合同签订后三日内，买方应一次性支付全部货款。")
    word.add_paragraph("第二条 卖方应采用适合长途运输的包装。")
    word.save(buffer)
    for name, data, rule in (("a.pdf", sheet.getvalue(), "Prepayment"), ("a.docx", buffer.getvalue(), "预付款")):
        task = await upload(reviewing, files={"file": (name, data)}, data={"role": "buyer"})
        async with watching(reviewing, task) as socket:
            result = (await until_end(socket))[-1]["result"]
        assert [finding["rule"]["title"] for finding in result["findings"]] == [rule]
    for name, data in (("a.pdf", b"%PDF-1.7\ncut off"), ("a.docx", b"PK\x03\x04 cut off")):
        task = await upload(reviewing, files={"file": (name, data)})
        async with watching(reviewing, task) as socket:
            end = (await until_end(socket))[-1]
            assert (end["type"], end["stage"], end["task_id"]) == ("error", "failed", task)
            assert "damaged" in end["message"]
            assert "请检查文件" in end["message"]
            await socket.send('{"type": "heartbeat", "timestamp": 1}')
            assert (await receive(socket))["type"] == "heartbeat_ack"


async def test_a_killed_worker_is_succeeded_and_nothing_is_assessed_twice_in_the_result(reviewing: Stack) -> None:
    count = 1200
    clause = "第{}条 卖方概不负责任何间接损失，并有权随时调整单价。" + "双方应当按照约定履行各自的义务。" * 12
    text = "\n".join(clause.format(number) for number in range(1, count + 1))
    victim = reviewing.of("rag")[0]
    task = await upload(reviewing, json={"text": text, "role": "buyer"})
    async with watching(reviewing, task) as socket:
        frame = await receive(socket)
        while frame["progress"] < 25:
            frame = await receive(socket)
        assert frame["progress"] < 90
        await asyncio.to_thread(victim.end, signal.SIGKILL)
        try:
            seen = await until_end(socket)
        finally:
            victim.start()
            await asyncio.to_thread(victim.wait_ready)
    figures = [frame["progress"], *(later["progress"] for later in seen)]
    assert figures == sorted(set(figures)), "never backwards, and nothing told twice"
    end = seen[-1]["result"]
    assert (end["summary"]["clauses"], end["truncated"], len(end["findings"])) == (count, True, 200)
    whole = (await asyncio.to_thread(got, reviewing, f"/v1/reviews/{task}")).json()["result"]
    found = [(finding["number"], finding["rule"]["title"]) for finding in whole["findings"]]
    assert len(found) == len(set(found)) == 2 * count
    assert whole["summary"]["unknown"] == 0


async def test_a_task_whose_gateway_died_before_its_job_was_sent_is_found(lab: Lab) -> None:
    """The row is there and no job is: the sweep sends it."""
    settings = {"PARLEY_REVIEW_STILL_S": "1", "PARLEY_REVIEW_SWEEP_S": "0.2"}
    with lab.stack("lost-review", roles={"rag": 1, "gateway": 1}, **settings) as stack:
        parley(stack.url, "ingest", str(ROOT / "sample" / "playbook"), "--kb", "playbook")
        (rag,) = stack.of("rag")
        await asyncio.to_thread(rag.end, signal.SIGKILL)
        task = await upload(stack, json={"text": CONTRACT, "role": "buyer"})
        lab.node.ctl("purge_queue", "parley.review", "-p", stack.amqp_url.rsplit("/", 1)[1])
        rag.start()
        await asyncio.to_thread(rag.wait_ready)
        url = stack.url + f"/v1/reviews/{task}"
        await soon(
            lambda: httpx.get(url, trust_env=False).json()["status"] == "COMPLETED", "the review ends", limit_s=60
        )
