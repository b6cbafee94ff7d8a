"""Turns without a socket, calls to workers, HTTP basics of the front."""

import asyncio

import httpx
import pytest

from parley_gateway.identity import ANONYMOUS, Identity
from parley_gateway.virtual import ask
from parley_protocol import codec
from parley_protocol.client import Accepted, AnswerDelta, Done
from parley_protocol.events import Delta, Fault, Reply
from parley_protocol.routes import EVENTS, stage_queue, topology
from parley_protocol.work import DocumentInfo, KnowledgeReply, ListDocuments
from parley_runtime.errors import Conflict, Invalid, Overloaded, UnknownBase
from parley_runtime.ports import Message

pytestmark = pytest.mark.unit


async def test_ask_yields_the_turns_frames(house):
    gateway = await house.gateway()

    async def work():
        await house.worker.answer(await house.worker.jobs.get(), "one ", "two")

    working = asyncio.create_task(work())
    frames = [frame async for frame in ask(gateway.hub, ANONYMOUS, "why?", kb="test")]
    await working
    assert isinstance(frames[0], Accepted)
    assert "".join(frame.text for frame in frames if isinstance(frame, AnswerDelta)) == "one two"
    assert isinstance(frames[-1], Done)
    assert house.worker.jobs.all[0].kb == "test"


async def test_the_same_turn_of_a_session_answers_twice_and_runs_once(house):
    gateway = await house.gateway()
    session = gateway.hub.sessions.make(ANONYMOUS)

    async def once():
        return [frame async for frame in ask(gateway.hub, ANONYMOUS, "why?", session=session, turn="x")]

    first = asyncio.create_task(once())
    job = await house.worker.jobs.get()
    await house.worker.answer(job, "so")
    assert (await first)[-1].text == "so"
    assert (await once())[-1].text == "so"
    assert len(house.worker.jobs.all) == 1
    with pytest.raises(Conflict):
        await anext(ask(gateway.hub, ANONYMOUS, "what else?", session=session, turn="x"))


async def test_leaving_early_cancels_where_asked_to(house):
    gateway = await house.gateway()
    frames = ask(gateway.hub, ANONYMOUS, "why?", cancel_on_leave=True)
    assert isinstance(await anext(frames), Accepted)
    job = await house.worker.jobs.get()
    await house.worker.emit(job, Delta(0, 0, "half"))
    assert (await anext(frames)).text == "half"
    await frames.aclose()
    record = await house.worker.records.get()
    assert (record.status, record.text) == ("cancelled", "half")


async def test_bad_requests_raise_before_anything_is_taken(house):
    gateway = await house.gateway()
    with pytest.raises(Invalid, match="empty"):
        await anext(ask(gateway.hub, ANONYMOUS, " "))
    with pytest.raises(Invalid, match="session"):
        await anext(ask(gateway.hub, ANONYMOUS, "why?", session="forged"))
    theirs = gateway.hub.sessions.make(Identity("acme", "ada", known=True))
    with pytest.raises(Invalid):
        await anext(ask(gateway.hub, ANONYMOUS, "why?", session=theirs))
    gateway.hub.draining = True
    with pytest.raises(Overloaded):
        await anext(ask(gateway.hub, ANONYMOUS, "why?"))
    assert gateway.hub.registry.sessions == {}


async def knowledge_worker(house, answer):
    process = house.broker.process("rag")
    link = await process.open("knowledge")
    spec = next(each for each in topology().queues if each.name == stage_queue("knowledge"))
    tasks = set()

    def on(delivery):
        async def reply():
            command = codec.unpack_knowledge(delivery.body)
            body = codec.pack(answer(command))
            await link.publish(EVENTS, command.reply_to, Message(body, durable=False))
            await delivery.ack()

        task = asyncio.create_task(reply())
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    subscription = await link.subscribe(lambda: spec, on, prefetch=5)
    await subscription.wait_consuming(5)


def listing(call, reply_to):
    return ListDocuments(call=call, reply_to=reply_to, tenant="default", kb="test")


async def test_a_command_is_answered(house):
    document = DocumentInfo(path="a.md", title="A", digest="d", size=1, passages=1, updated_at="now")
    gateway = await house.gateway()
    await knowledge_worker(
        house, lambda command: Reply(command.call, codec.pack(KnowledgeReply(documents=(document,))))
    )
    reply = await gateway.hub.calls.knowledge(listing)
    assert reply.documents == (document,)


async def test_a_fault_is_raised_as_an_error_of_the_tree(house):
    gateway = await house.gateway()
    await knowledge_worker(house, lambda command: Reply(command.call, fault=Fault("unknown_kb", "no such base")))
    with pytest.raises(UnknownBase, match="no such base"):
        await gateway.hub.calls.knowledge(listing)


async def test_a_hail_finds_the_gateway_itself(house):
    gateway = await house.gateway()
    found = await gateway.hub.calls.hail(wait_s=0.1)
    assert [(presence.id, presence.role, presence.ready) for presence in found] == [("gateway-1", "gateway", True)]


async def test_health_and_origins_over_http(house):
    gateway = await house.gateway()
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{gateway.port}") as http:
        assert (await http.get("/livez")).json() == {"status": "ok"}
        ready = await http.get("/readyz?without=workers")
        assert (ready.status_code, ready.json()["checks"]["events"]) == (200, None)
        foreign = await http.get("/livez", headers={"Origin": "https://evil.example"})
        assert (foreign.status_code, "PARLEY_ORIGINS" in foreign.text) == (403, True)
        friend = await http.get("/livez", headers={"Origin": "http://localhost:3000"})
        assert friend.headers["access-control-allow-origin"] == "http://localhost:3000"
        preflight = await http.options("/v1/kb", headers={"Origin": "http://localhost:3000"})
        assert preflight.status_code == 204
        assert "Authorization" in preflight.headers["access-control-allow-headers"]
        gateway.hub.draining = True
        assert (await http.get("/readyz?without=workers")).status_code == 503
