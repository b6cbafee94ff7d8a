"""What a response is to be, and what is asked for it. Pure."""

from dataclasses import dataclass
from typing import Any

from parley_gateway.dialects.realtime import items
from parley_gateway.dialects.realtime.config import (
    ChosenFunction,
    Format,
    Session,
    VoiceId,
    check_choice,
    check_named,
    check_tools,
)
from parley_gateway.dialects.realtime.conversation import Conversation
from parley_gateway.dialects.realtime.events import ResponseWishes
from parley_gateway.dialects.realtime.faults import Unfit
from parley_gateway.dialects.realtime.items import Item, Reference
from parley_gateway.dialects.realtime.response import Plan
from parley_protocol.work import ChatMessage

GREETING = "Hello."
"""What is asked where nobody has said a word and there are no instructions either."""
_NOTHING = ResponseWishes()


@dataclass(frozen=True, slots=True)
class Prompt:
    """A turn's question, and the conversation that it ends. ``messages`` holds one by the user: the question."""

    question: str
    messages: tuple[ChatMessage, ...]


def plan_of(
    session: Session,
    wishes: ResponseWishes | None,
    conversation: Conversation,
    *,
    max_text: int = 1_000_000,
    event_id: str | None = None,
) -> Plan:
    """The session's settings where ``wishes`` leave them. Raises Unfit, which names the field."""
    wanted = wishes or _NOTHING
    if wanted.prompt is not None:
        raise Unfit("stored prompts are not offered", word="unsupported_parameter", param="response.prompt")
    instructions = session.instructions if wanted.instructions is None else wanted.instructions
    if len(instructions) > max_text:
        raise Unfit("too long", word="string_above_max_length", param="response.instructions")
    tools = session.tools if wanted.tools is None else check_tools(wanted.tools, "response.tools")
    choice: Any = session.tool_choice if wanted.tool_choice is None else wanted.tool_choice
    check_choice(choice, "response.tool_choice")
    check_named(tools, choice, "response.tool_choice")
    output = wanted.audio.output if wanted.audio is not None else None
    form: Format = session.audio.output.format
    voice = session.audio.output.voice
    if output is not None:
        form, voice = output.format or form, output.voice or voice
    return Plan(
        modality=(wanted.output_modalities or session.output_modalities)[0],
        instructions=instructions,
        max_output_tokens=wanted.max_output_tokens or session.max_output_tokens,
        format=form,
        voice=voice.id if isinstance(voice, VoiceId) else voice,
        speed=session.audio.output.speed,
        tools=tuple(tools),
        tool_choice=f"={choice.name}" if isinstance(choice, ChosenFunction) else choice,
        metadata=wanted.metadata,
        input=None if wanted.input is None else _input(wanted.input, conversation, max_text),
        alone=wanted.conversation == "none",
        event_id=event_id,
    )


def _input(raw: list[dict[str, Any]], conversation: Conversation, max_text: int) -> tuple[Item, ...]:
    found: list[Item] = []
    for index, each in enumerate(raw):
        item = items.read(each, f"response.input[{index}]", max_text)
        if isinstance(item, Reference):
            item = conversation.get(item.id, f"response.input[{index}].id")
        found.append(item)
    return tuple(found)


def prompt_of(plan: Plan, conversation: Conversation, limit: int, *, saying: str = "") -> Prompt:
    """The instructions, and as much of the end of what was said as ``limit`` code points hold. The question is what
    the user said last; where that is nothing, the instructions stand for it. ``saying``: what is being said, and no
    item of the conversation yet.
    """
    said = items.messages(_tail(plan.input if plan.input is not None else tuple(conversation.items), limit))
    if saying.strip():
        said.append(ChatMessage("user", saying))
    question = next((each.content for each in reversed(said) if each.role == "user"), "")
    if not question:
        question = plan.instructions.strip() or GREETING
        return Prompt(question, (*said, ChatMessage("user", question)))
    if plan.instructions.strip():
        said.insert(0, ChatMessage("system", plan.instructions))
    return Prompt(question, tuple(said))


def _tail(said: tuple[Item, ...], room: int) -> list[Item]:
    kept: list[Item] = []
    for item in reversed(said):
        room -= items.size(item)
        if room < 0 and kept:
            break
        kept.append(item)
    kept.reverse()
    return kept
