"""D3 over real sockets: the frames of the three paths, watchers of one task, and what happens when news is lost."""

import asyncio
import json
from contextlib import asynccontextmanager

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from parley_gateway.config import AccessSettings, LimitSettings
from parley_gateway.dialects import review_frames as frames
from parley_gateway.dialects.settings import ReviewSettings
from parley_protocol.control import Audience, ReviewMoved
from parley_protocol.reviews import ClauseResult, Finding, ReviewStatus, Risk, RuleCited, Verdict
from parley_runtime.errors import Unavailable
from parley_runtime.store.review_ports import NewClause, NewReview, ReviewRow

from .conftest import LIMIT_S, counted

pytestmark = pytest.mark.unit

TEXT = "第一条 付款\n第二条 责任"
RULE = RuleCited(id="p1", title="预付款", document="zh.md", kb="playbook")


@asynccontextmanager
async def plain(gateway, path="/ws/review/123", **options):
    """An ordinary WebSocket client, as the documented system uses."""
    async with connect(f"ws://127.0.0.1:{gateway.port}{path}", **options) as socket:
        yield socket


async def receive(socket):
    async with asyncio.timeout(LIMIT_S):
        return json.loads(await socket.recv())


async def refused(gateway, path, **options):
    """The one frame of a socket that is closed, and the code."""
    async with plain(gateway, path, **options) as socket:
        frame = await receive(socket)
        with pytest.raises(ConnectionClosed):
            await receive(socket)
        return frame, socket.close_code


class Task:
    """Task 123, and what a worker does to it."""

    def __init__(self, house, tenant="default"):
        self.house, self.tenant, self.reviews = house, tenant, house.store.reviews

    async def create(self):
        new = NewReview(
            tenant=self.tenant, contract_type="purchase", role="buyer", name="", media_type="", data=b"x", digest="d"
        )
        await self.reviews.create(new, limit=10, task=123)
        return self

    async def cut(self, count=2):
        await self.reviews.begin(self.tenant, 123)
        clauses = [NewClause(number * 8, number * 8 + 6, f"条款{number}") for number in range(count)]
        await self.reviews.cut(self.tenant, 123, TEXT, "", clauses)

    async def assess(self, number, *risks, reason="理由"):
        verdicts = tuple(Verdict(risk=risk, reason=reason, rule=RULE) for risk in risks)
        await self.reviews.assess(self.tenant, 123, [(number, ClauseResult(assessor="playbook", verdicts=verdicts))])

    async def tell(self):
        row = await self.reviews.row(self.tenant, 123)
        moved = ReviewMoved(self.tenant, 123, row.status, row.clauses, row.done)
        await self.house.worker.control.broadcast(Audience.GATEWAYS, moved)


@pytest.fixture
async def task(house):
    return await Task(house).create()


async def test_from_connection_to_result_on_any_gateway(house, task):
    gateways = [await house.gateway(f"gateway-{number}", reviews=ReviewSettings(poll_s=60)) for number in (1, 2)]
    async with plain(gateways[0]) as one, plain(gateways[1]) as two, plain(gateways[1]) as three:
        for socket in (one, two, three):
            assert await receive(socket) == {
                "type": "connection",
                "message": "已连接到任务 123 的进度推送",
                "task_id": 123,
            }
            assert await receive(socket) == {
                "stage": "pending",
                "progress": 0,
                "message": "审查任务已排队，正在等待处理...",
            }
        await task.cut()
        await task.tell()
        await task.assess(1, Risk.HIGH)
        await task.tell()
        await task.assess(0)
        await task.tell()
        for socket in (one, two, three):
            seen = [await receive(socket)]
            while seen[-1]["stage"] != "complete":
                seen.append(await receive(socket))
            assert [frame["progress"] for frame in seen] == [10, 54, 100]
            assert all("type" not in frame and frame["message"] for frame in seen)
            assert seen[1]["message"] == "正在分析合同条款..."
            result = seen[-1]["result"]
            assert result["findings"] == [
                {
                    "number": 1,
                    "clause": "条款1",
                    "start": 8,
                    "end": 14,
                    "risk": "high",
                    "reason": "理由",
                    "rule": {"id": "p1", "title": "预付款", "document": "zh.md", "kb": "playbook"},
                    "assessor": "playbook",
                }
            ]
            assert (result["risk"], result["truncated"], result["role"]) == ("high", False, "buyer")
            assert result["summary"] == {"clauses": 2, "findings": 1, "high": 1, "medium": 0, "low": 0, "unknown": 0}
        await one.send('{"type": "ping", "timestamp": 1}')
        assert (await receive(one))["type"] == "pong", "the socket stays open"
    async with plain(gateways[0]) as late:
        assert (await receive(late))["type"] == "connection"
        assert (await receive(late))["stage"] == "complete"


async def test_lost_news_is_found_by_one_reading_for_all_sockets(house, task, monkeypatch):
    gateway = await house.gateway(reviews=ReviewSettings(poll_s=0.1))
    readings = 0
    real = house.store.reviews.row

    async def row(*arguments):
        nonlocal readings
        readings += 1
        return await real(*arguments)

    monkeypatch.setattr(house.store.reviews, "row", row)
    async with plain(gateway) as first:
        sockets = [first]
        for _ in range(20):
            sockets.append(await connect(f"ws://127.0.0.1:{gateway.port}/ws/review/123"))
        for socket in sockets:
            assert (await receive(socket))["type"] == "connection"
            await receive(socket)
        before, begun = readings, asyncio.get_running_loop().time()
        await task.cut()
        await task.assess(0)
        await task.assess(1)
        for socket in sockets:
            while (await receive(socket))["stage"] != "complete":
                pass
        rounds = (asyncio.get_running_loop().time() - begun) / 0.1 + 2
        assert 1 <= readings - before <= rounds
        for socket in sockets[1:]:
            await socket.close()
    async with asyncio.timeout(LIMIT_S):
        while gateway.hub.reviews._watched:
            gateway.hub.left.clear()
            await gateway.hub.left.wait()


async def test_progress_never_falls_whatever_order_news_comes_in(house, task):
    gateway = await house.gateway(reviews=ReviewSettings(poll_s=60))
    await task.cut(100)
    async with plain(gateway) as socket:
        await receive(socket)
        assert (await receive(socket))["progress"] == 10
        for done in (50, 20, 50, 51, 0, 60):
            moved = ReviewMoved("default", 123, ReviewStatus.PROCESSING, 100, done)
            await house.worker.control.broadcast(Audience.GATEWAYS, moved)
        assert [(await receive(socket))["progress"] for _ in range(3)] == [54, 55, 63]
        await socket.send('{"type": "ping", "timestamp": 1}')
        assert (await receive(socket))["type"] == "pong"


async def test_a_failed_task_is_an_error_frame_and_the_socket_stays(house, task):
    gateway = await house.gateway()
    wanted = {"type": "error", "message": "无法读取合同文件", "task_id": 123, "stage": "failed"}
    async with plain(gateway) as socket:
        await receive(socket)
        await receive(socket)
        await task.reviews.fail("default", 123, "无法读取合同文件")
        await task.tell()
        assert await receive(socket) == wanted
        await socket.send('{"type": "get_status"}')
        assert (await receive(socket))["status"] == "FAILED"
    async with plain(gateway) as late:
        await receive(late)
        assert await receive(late) == wanted


STAMPS = ("1234567890", "1234567890.10", "12345678901234567890", "1e3", "-0.0", '"2026-01-01T00:00:00Z"')


async def test_timestamps_come_back_bit_for_bit(house, task):
    gateway = await house.gateway()
    async with plain(gateway) as socket, plain(gateway, "/ws/health") as health:
        for _ in range(2):
            await receive(socket)
        await receive(health)
        for stamp in STAMPS:
            for kind, answer in (("ping", "pong"), ("heartbeat", "heartbeat_ack")):
                await socket.send(f'{{"type": "{kind}", "timestamp": {stamp}, "more": 1}}')
                assert await socket.recv() == f'{{"type":"{answer}","timestamp":{stamp}}}'
            await health.send(f'{{"type":"ping","timestamp":{stamp}}}')
            raw = await health.recv()
            assert f'"timestamp":{stamp},' in raw
            assert json.loads(raw)["server_time"].isdecimal()


async def test_status(house, task):
    gateway = await house.gateway()
    async with plain(gateway) as socket:
        for _ in range(2):
            await receive(socket)
        await task.cut()
        for kind in ("get_status", "status_request"):
            await socket.send(json.dumps({"type": kind}))
            frame = await receive(socket)
            while "type" not in frame:
                frame = await receive(socket)
            named = [frame[key] for key in ("type", "task_id", "contract_type", "role")]
            assert named == ["status", 123, "purchase", "buyer"]
            assert frame["status"] in ("PENDING", "PROCESSING")
            assert frame["created_at"].endswith("+00:00")
            assert frame["updated_at"].endswith("+00:00")


BAD = ["{", "", "[]", "7", '"ping"', "{}", '{"type": 7}', '{"type": "dance"}', "[" * 3000, '{"type": null}']
BAD_PING = ['{"type": "ping"}', '{"type": "ping", "timestamp": null}', '{"type": "ping", "timestamp": [1]}']


@pytest.mark.parametrize("path", ["/ws/review/123", "/ws/health"])
async def test_bad_frames_are_answered_and_the_socket_stays(house, task, path):
    gateway = await house.gateway()
    async with plain(gateway, path) as socket:
        for _ in range(2 if "review" in path else 1):
            await receive(socket)
        for bad in (*BAD, *BAD_PING, b"\xff\x00"):
            await socket.send(bad)
            frame = await receive(socket)
            assert frame["type"] == "error", bad
            assert frame["message"]
        await socket.send('{"type": "ping", "timestamp": 5}')
        assert (await receive(socket))["timestamp"] == 5


async def test_health_knows_pings_only(house):
    gateway = await house.gateway()
    async with plain(gateway, "/ws/health") as socket:
        welcome = await receive(socket)
        assert (welcome["type"], welcome["message"]) == ("welcome", "WebSocket服务正常")
        assert welcome["server_time"].isdecimal()
        await socket.send('{"type": "heartbeat", "timestamp": 1}')
        assert (await receive(socket))["type"] == "error"


async def test_the_test_path_echoes_anything(house):
    gateway = await house.gateway()
    async with plain(gateway, "/ws/test/test_client_001") as socket:
        assert await receive(socket) == {
            "type": "welcome",
            "client_id": "test_client_001",
            "message": "欢迎客户端 test_client_001",
        }
        for text in ("hello", '{"type": "ping"}', "{", "", "你好\x00"):
            await socket.send(text)
            frame = await receive(socket)
            assert frame.pop("timestamp").isdecimal()
            assert frame == {"type": "echo", "client_id": "test_client_001", "original_message": text}
        await socket.send("\x01" * 200_000)
        raw = await socket.recv()
        assert len(raw) < 900 * 1024
        frame = json.loads(raw)
        assert frame["truncated"] is True
        assert len(frame["original_message"]) > 100_000


async def test_an_unknown_task_is_one_error_and_a_close(house, task):
    gateway = await house.gateway()
    for path in ("999", "abc", "-1", "1.5", "123x", "9" * 40, "%20123", "１２３"):
        frame, code = await refused(gateway, f"/ws/review/{path}")
        assert frame["type"] == "error"
        assert "任务不存在" in frame["message"]
        assert code == 1008
    assert gateway.hub.reviews._watched == {}


async def test_another_tenants_task_is_unknown(house):
    await Task(house, "other").create()
    frame, code = await refused(await house.gateway(), "/ws/review/123")
    assert (frame["type"], code) == ("error", 1008)


async def test_a_store_that_is_away_is_told_to_come_back_later(house, task, monkeypatch):
    gateway = await house.gateway()

    async def away(*_):
        raise Unavailable("the store cannot be reached")

    monkeypatch.setattr(house.store.reviews, "row", away)
    frame, code = await refused(gateway, "/ws/review/123")
    assert frame["type"] == "error"
    assert "稍后再试" in frame["message"]
    assert code == 1013


async def test_a_token_is_demanded(house, task):
    gateway = await house.gateway(access=AccessSettings(auth_secret="a secret that is long enough for every test"))
    for path in ("/ws/review/123", "/ws/health", "/ws/test/a"):
        frame, code = await refused(gateway, path)
        assert (frame["type"], code) == ("error", 1008)


async def test_frames_sent_at_once_are_answered_after_the_greeting_in_order(house, task):
    gateway = await house.gateway()
    async with plain(gateway) as socket:
        for number in range(50):
            await socket.send(f'{{"type": "heartbeat", "timestamp": {number}}}')
        assert (await receive(socket))["type"] == "connection"
        assert (await receive(socket))["stage"] == "pending"
        assert [(await receive(socket))["timestamp"] for _ in range(50)] == list(range(50))


async def test_floods_and_large_messages_get_error_frames(house, task):
    limits = LimitSettings(connect_rate=0, message_rate=0.001, message_burst=3, max_message=2000)
    gateway = await house.gateway(limits=limits)
    async with plain(gateway) as socket:
        for _ in range(2):
            await receive(socket)
        await socket.send("x" * 3000)
        assert "过大" in (await receive(socket))["message"]
        for number in range(5):
            await socket.send(f'{{"type": "ping", "timestamp": {number}}}')
        answers = [await receive(socket) for _ in range(5)]
        assert [answer["type"] for answer in answers] == ["pong"] * 3 + ["error"] * 2
        assert "频繁" in answers[-1]["message"]


async def test_a_client_that_comes_back_again_and_again_finds_the_latest(house, task):
    gateway = await house.gateway()
    await task.cut(10)
    for number in range(5):
        await task.assess(number)
        async with plain(gateway) as socket:
            await receive(socket)
            assert (await receive(socket))["progress"] == 10 + 89 * (number + 1) // 10
    assert counted("parley_connections", dialect="review") in (0.0, 1.0)


def finding(number, risk, clause="条款"):
    return Finding(number=number, clause=clause, start=number, end=number + 2, risk=risk, reason="理由", rule=RULE)


ROW = ReviewRow(tenant="t", task=1, status=ReviewStatus.COMPLETED)


def test_a_frame_holds_the_riskiest_two_hundred_in_the_order_of_the_contract():
    many = [finding(number, Risk.LOW) for number in range(300)] + [finding(300, Risk.HIGH)]
    kept = json.loads(json.dumps([json.loads(bytes(raw)) for raw in frames.fitting(many)[0]]))
    assert len(kept) == 200
    assert [one["number"] for one in kept] == [*range(199), 300]
    assert frames.fitting(many)[1] is True
    assert frames.fitting(many[:200])[1] is False


def test_a_frame_stays_under_its_size():
    import msgspec

    large = [finding(number, Risk.HIGH, "条" * 1500) for number in range(200)]
    frame = msgspec.json.encode(frames.complete(ROW, large))
    assert 800 * 1024 < len(frame) < 900 * 1024
    assert json.loads(frame)["result"]["truncated"] is True
    huge = [finding(0, Risk.HIGH, "条" * 400_000)]
    assert json.loads(msgspec.json.encode(frames.complete(ROW, huge)))["result"]["findings"] == []
