"""``/v1/realtime`` by the official client: functions that the model asks the client to call."""

import pytest

from parley_protocol.events import Delta, Ending, ToolCall
from parley_protocol.work import ChatMessage, Tool

from .realtime import talk

pytestmark = pytest.mark.unit

TOOL = {"type": "function", "name": "look_up", "description": "Looks up.", "parameters": {"type": "object"}}
CALL = ToolCall("call_1", "look_up", '{"city":"Oslo"}')


async def test_a_function_is_called_and_the_conversation_goes_on_with_what_came_of_it(house):
    gateway = await house.gateway()
    async with talk(gateway) as client:
        await client.send(
            type="session.update", session={"type": "realtime", "tools": [TOOL], "tool_choice": "required"}
        )
        await client.until("session.updated")
        await client.say("how cold is it?")
        await client.respond()
        job = await house.worker.jobs.get()
        assert job.sampling.tools == (Tool("look_up", "Looks up.", {"type": "object"}),)
        assert job.sampling.tool_choice == "required"
        await client.until("rate_limits.updated")
        await house.worker.emit(job, Delta(0, 0, "Let me see."))
        await house.worker.finish(job, "Let me see.", 1, ending=Ending("", (CALL,)))
        await client.until("response.output_item.done")
        assert await client.kinds(7) == [
            "response.output_item.added",
            "conversation.item.added",
            "response.function_call_arguments.delta",
            "response.function_call_arguments.done",
            "conversation.item.done",
            "response.output_item.done",
            "response.done",
        ]
        done = client.events[-4]
        assert (done.type, done.name, done.arguments) == (
            "response.function_call_arguments.done",
            "look_up",
            CALL.arguments,
        )
        response = client.events[-1].response
        assert response.status == "completed"
        assert [item.type for item in response.output] == ["message", "function_call"]
        assert response.output[1].call_id == "call_1"
        output = {"type": "function_call_output", "call_id": "call_1", "output": "-3"}
        await client.send(type="conversation.item.create", item=output)
        await client.until("conversation.item.done")
        await client.respond(tool_choice="auto")
        job = await house.worker.jobs.get()
        assert job.question == "how cold is it?"
        assert job.sampling.tool_choice == ""
        assert job.messages == (
            ChatMessage("user", "how cold is it?"),
            ChatMessage("assistant", "Let me see."),
            ChatMessage("assistant", "", (CALL,)),
            ChatMessage("tool", "-3", (), "call_1"),
        )


async def test_a_call_without_its_output_is_not_told_to_an_engine(house):
    gateway = await house.gateway()
    async with talk(gateway) as client:
        await client.say("how cold is it?")
        await client.respond(tools=[TOOL], tool_choice={"type": "function", "name": "look_up"})
        job = await house.worker.jobs.get()
        assert job.sampling.tool_choice == "=look_up"
        await house.worker.finish(job, "", 0, ending=Ending("", (CALL,)))
        await client.until("response.done")
        await client.say("never mind")
        await client.respond()
        job = await house.worker.jobs.get()
        assert job.sampling.tools == ()
        assert [each.content for each in job.messages] == ["how cold is it?", "never mind"]


async def test_a_call_survives_the_loss_of_its_news(house):
    """What is to be called is in the row: it reaches the client though nobody tells of the end."""
    gateway = await house.gateway()
    async with talk(gateway) as client:
        await client.say("how cold is it?")
        await client.respond(tools=[TOOL])
        job = await house.worker.jobs.get()
        await house.store.close(house.worker.record_of(job, "", 0, ending=Ending("", (CALL,))))
        done = await client.until("response.done")
        assert done.response.output[0].arguments == CALL.arguments


@pytest.mark.parametrize(("finish", "reason"), [("length", "max_output_tokens"), ("filter", "content_filter")])
async def test_a_cut_answer_is_incomplete_and_says_why(house, finish, reason):
    gateway = await house.gateway()
    async with talk(gateway) as client:
        await client.say("why?")
        await client.respond(max_output_tokens=1)
        job = await house.worker.jobs.get()
        await house.worker.emit(job, Delta(0, 0, "Be"))
        await house.worker.finish(job, "Be", 1, ending=Ending(finish))
        response = (await client.until("response.done")).response
        assert (response.status, response.status_details.reason) == ("incomplete", reason)
        assert (response.output[0].status, response.output[0].content[0].text) == ("incomplete", "Be")
