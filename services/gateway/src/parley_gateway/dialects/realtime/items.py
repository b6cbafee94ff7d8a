"""Conversation items: what a client may put in, and what an engine is told of them. Pure."""

from collections.abc import Sequence
from typing import Any, Literal

import msgspec

from parley_gateway.dialects.realtime.faults import Unfit
from parley_protocol.events import ToolCall
from parley_protocol.work import ChatMessage

ItemStatus = Literal["completed", "incomplete", "in_progress"]
MAX_ID = 128
"""Characters of an item's id, and of a call's."""
USERS = ("input_text", "input_audio")
PARTS = {"system": ("input_text",), "user": USERS, "assistant": ("output_text", "output_audio")}
"""Kinds of content by role."""


class Part(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """A part of a message. Audio is never told back: a client has what it sent and what it got."""

    type: Literal["input_text", "input_audio", "input_image", "output_text", "output_audio"]
    text: str | None = None
    transcript: str | None = None
    audio: str | None = None
    image_url: str | None = None
    detail: str | None = None

    @property
    def said(self) -> str:
        """Its text, or what was heard."""
        return (self.text if self.type in ("input_text", "output_text") else self.transcript) or ""


class _Item(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="type"):
    id: str = ""
    object: Literal["realtime.item"] = "realtime.item"
    status: ItemStatus = "completed"


class Message(_Item, frozen=True, kw_only=True, tag="message"):
    """Something said."""

    role: Literal["system", "user", "assistant"]
    content: list[Part]

    @property
    def text(self) -> str:
        """All parts as one text."""
        return "\n".join(part.said for part in self.content if part.said)


class FunctionCall(_Item, frozen=True, kw_only=True, tag="function_call"):
    """What the model wants the client to call; ``arguments`` is JSON."""

    name: str
    arguments: str
    call_id: str = ""


class FunctionOutput(_Item, frozen=True, kw_only=True, tag="function_call_output"):
    """What came of it."""

    call_id: str
    output: str


class Reference(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="item_reference"):
    """An item of the conversation, in the input of a response."""

    id: str


Item = Message | FunctionCall | FunctionOutput
_MINE = Message | FunctionCall | FunctionOutput | Reference
MCP = ("mcp_approval_response", "mcp_list_tools", "mcp_call", "mcp_approval_request")


def read(raw: Any, where: str, max_text: int, *, audio: bool = False) -> Item | Reference:
    """A client's item; with ``audio`` it may be a user's sound without words. Raises Unfit, which names the field."""
    if isinstance(raw, dict) and raw.get("type") in MCP:
        raise Unfit("MCP servers are not offered", word="unsupported_value", param=f"{where}.type")
    item: Item | Reference = converted(raw, _MINE, where)
    if len(item.id) > MAX_ID:
        raise Unfit(f"an id has {MAX_ID} characters at most", word="string_above_max_length", param=f"{where}.id")
    match item:
        case Message():
            _check_message(item, where, max_text, audio=audio)
            return item if item.status == "completed" else msgspec.structs.replace(item, status="completed")
        case FunctionCall():
            _check_length(item.arguments, f"{where}.arguments", max_text)
        case FunctionOutput():
            _check_length(item.output, f"{where}.output", max_text)
            _check_length(item.call_id, f"{where}.call_id", MAX_ID)
        case Reference():
            pass
    return item


def _check_message(item: Message, where: str, max_text: int, *, audio: bool) -> None:
    allowed = PARTS[item.role]
    sounds = 0
    for index, part in enumerate(item.content):
        at = f"{where}.content[{index}]"
        if part.type == "input_image":
            raise Unfit("images are not offered", word="unsupported_value", param=f"{at}.type")
        if part.type not in allowed:
            raise Unfit(f"content of a message by {item.role} is {' or '.join(allowed)}", param=f"{at}.type")
        if part.type in ("input_text", "output_text") and part.text is None:
            raise Unfit("a text part needs a text", word="missing_required_parameter", param=f"{at}.text")
        if part.type in ("input_audio", "output_audio") and part.transcript is None:
            sounds += 1
            if part.type == "output_audio" or not audio or part.audio is None:
                raise Unfit(
                    "audio is heard in an item of the conversation by its user alone: give its transcript here",
                    word="unsupported_value",
                    param=f"{at}.audio",
                )
            if sounds > 1:
                raise Unfit("one part of an item may be audio without a transcript", param=f"{at}.audio")
    _check_length(item.text, f"{where}.content", max_text)


def _check_length(text: str, where: str, limit: int) -> None:
    if len(text) > limit:
        raise Unfit(
            f"{len(text)} characters are more than the {limit} that are taken",
            word="string_above_max_length",
            param=where,
        )
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise Unfit("half of a surrogate pair: send well-formed Unicode", param=where)


def sound_of(item: Item) -> str | None:
    """Its audio that is still to be heard, base64."""
    parts = item.content if isinstance(item, Message) and item.role == "user" else []
    return next((part.audio for part in parts if part.type == "input_audio" and part.transcript is None), None)


def worded(item: Message, transcript: str) -> Message:
    """The item with the words of its audio."""
    parts = [
        msgspec.structs.replace(part, transcript=transcript)
        if part.type == "input_audio" and part.transcript is None
        else part
        for part in item.content
    ]
    return msgspec.structs.replace(item, content=parts)


def kept(item: Item) -> Item:
    """The item as it is kept and told: without audio."""
    if isinstance(item, Message) and any(part.audio is not None for part in item.content):
        parts = [msgspec.structs.replace(part, audio=None) for part in item.content]
        return msgspec.structs.replace(item, content=parts)
    return item


def size(item: Item) -> int:
    """Code points that it keeps."""
    match item:
        case Message():
            return sum(len(part.said) for part in item.content)
        case FunctionCall():
            return len(item.arguments) + len(item.name)
        case FunctionOutput():
            return len(item.output)


def messages(items: Sequence[Item]) -> list[ChatMessage]:
    """What an engine is told of the items. A call is told with what came of it, and not before; messages without a
    word are left out.
    """
    outputs = {item.call_id: item for item in items if isinstance(item, FunctionOutput)}
    found: list[ChatMessage] = []
    for item in items:
        match item:
            case Message() if item.text.strip():
                found.append(ChatMessage(item.role, item.text))
            case FunctionCall() if item.call_id in outputs:
                call = ToolCall(item.call_id, item.name, item.arguments)
                found.append(ChatMessage("assistant", "", (call,)))
                found.append(ChatMessage("tool", outputs.pop(item.call_id).output, (), item.call_id))
            case _:
                pass
    return found


def converted(raw: Any, kind: Any, where: str) -> Any:
    """``raw`` as ``kind``. Raises Unfit; ``where`` is the path of ``raw`` within its event, "" for the event itself."""
    try:
        return msgspec.convert(raw, kind)
    except msgspec.ValidationError as error:
        raise unfit(str(error), where) from None
    except RecursionError:
        raise Unfit("the event is nested too deeply", param=where or None) from None


def unfit(said: str, where: str) -> Unfit:
    """A validation error of msgspec in this protocol's words: ``Expected `int`, got `str` - at `$.session.speed```."""
    message, _, path = said.partition(" - at `")
    path = path.rstrip("`").removeprefix("$").removeprefix(".")
    if path.startswith("[...]"):
        path = path.removeprefix("[...]").removeprefix(".")
    parts = [where, path] if not path.startswith("[") else [where + path]
    word = "invalid_type" if message.startswith("Expected") else "invalid_value"
    for begin, other in (
        ("Object missing required field `", "missing_required_parameter"),
        ("Object contains unknown field `", "unknown_parameter"),
    ):
        if message.startswith(begin):
            parts.append(message.removeprefix(begin).rstrip("`"))
            word = other
    param = ".".join(part for part in parts if part)
    return Unfit(f"{message}{f': {param}' if param else ''}", word=word, param=param or None)
