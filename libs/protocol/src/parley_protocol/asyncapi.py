"""The AsyncAPI 3 document of everything on the socket and in the broker, generated from the types that encode.

``python -m parley_protocol.asyncapi [--check] [PATH]`` writes the document, or fails when the file is not current.
"""

import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any, get_args

import msgspec

from parley_protocol import audio, client, control, routes, work
from parley_protocol.faults import CloseCode, FaultCode

VERSION = "1.0.0"
DEFAULT_PATH = "docs/asyncapi.json"
REF = "#/components/schemas/{name}"

_INTRO = (
    "Native frames are JSON text frames, or MessagePack binary frames under the subprotocol parley.v1.msgpack. "
    "Between processes everything is MessagePack; types marked as arrays are MessagePack arrays in the order shown. "
    "Readers ignore unknown fields and count and drop unknown kinds."
)

_HEADERS = {
    "type": "object",
    "properties": {
        "parley-kind": {"type": "string", "description": "The message's kind, for people and tools."},
        "parley-v": {"type": "integer", "const": 1},
        "traceparent": {"type": "string", "description": "W3C trace context of the turn."},
    },
}


def _members(union: Any) -> tuple[type[msgspec.Struct], ...]:
    return get_args(union) or (union,)


_GROUPS: dict[str, tuple[type[msgspec.Struct], ...]] = {
    "clientFrames": _members(client.ClientFrame),
    "serverFrames": _members(client.ServerFrame),
    "retrieveJobs": (work.Retrieve,),
    "generateJobs": (work.Generate,),
    "records": (work.Record,),
    "knowledgeCommands": _members(work.KnowledgeCommand),
    "listenJobs": (audio.Listen,),
    "speakJobs": (audio.Speak,),
    "audioBatches": (audio.AudioBatch,),
    "gatewayMessages": _members(audio.GatewayMessage),
    "control": _members(control.Control),
}

_BODIES: tuple[type[msgspec.Struct], ...] = (work.KnowledgeReply, control.Presence)
"""Bodies of ``Reply``."""


def document() -> dict[str, Any]:
    """The whole document as plain data, in a stable order."""
    kinds = [kind for group in _GROUPS.values() for kind in group]
    _, schemas = msgspec.json.schema_components([*kinds, *_BODIES], ref_template=REF)
    return {
        "asyncapi": "3.0.0",
        "info": {"title": "Parley", "version": VERSION, "description": _INTRO},
        "defaultContentType": "application/json",
        "servers": {
            "gateway": {"host": "127.0.0.1:8000", "protocol": "ws", "description": "Any gateway serves any session."},
            "broker": {"host": "127.0.0.1:5672", "protocol": "amqp", "description": "RabbitMQ 3.10 or later."},
        },
        "channels": _channels(),
        "operations": _operations(),
        "components": {
            "messages": {kind.__name__: _message(kind) for kind in kinds},
            "schemas": {name: schemas[name] for name in sorted(schemas)},
        },
    }


def _message(kind: type[msgspec.Struct]) -> dict[str, Any]:
    on_socket = kind in _GROUPS["clientFrames"] or kind in _GROUPS["serverFrames"]
    config = kind.__struct_config__
    message: dict[str, Any] = {
        "name": str(config.tag or kind.__name__),
        "summary": (kind.__doc__ or "").strip().splitlines()[0],
        "contentType": "application/json" if on_socket else "application/msgpack",
        "payload": {"$ref": REF.format(name=kind.__name__)},
    }
    if not on_socket:
        message["headers"] = _HEADERS
    return message


def _channel(address: str, server: str, groups: Iterable[str], text: str, **bindings: Any) -> dict[str, Any]:
    names = [kind.__name__ for group in groups for kind in _GROUPS[group]]
    channel: dict[str, Any] = {
        "address": address,
        "description": text,
        "servers": [{"$ref": f"#/servers/{server}"}],
        "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in names},
    }
    if bindings:
        channel["bindings"] = bindings
    return channel


def _channels() -> dict[str, Any]:
    queues = {queue.name: queue for queue in routes.topology().queues}
    codes = ", ".join(f"{code.value} {code.name.lower()}" for code in CloseCode)
    faults = ", ".join(code.value for code in FaultCode)
    text = f"Close codes: {codes}. Codes of error frames: {faults}."
    channels = {"connect": _channel("/v1/connect", "gateway", ("clientFrames", "serverFrames"), text)}
    stages = (
        (routes.Stage.RETRIEVE, "retrieveJobs", "First stage of a typed turn. The only stage with a length limit."),
        (routes.Stage.GENERATE, "generateJobs", "Generation."),
        (routes.Stage.RECORD, "records", "Closes the row; no delivery limit."),
        (routes.Stage.KNOWLEDGE, "knowledgeCommands", "Knowledge-base commands, each answered by one Reply."),
        (routes.Stage.LISTEN, "listenJobs", "The lease of a stream of audio, unsettled as long as it lasts."),
        (routes.Stage.SPEAK, "speakJobs", "One sentence to be spoken."),
    )
    for stage, group, text in stages:
        queue = queues[routes.stage_queue(stage)]
        amqp = {"is": "queue", "queue": {"name": queue.name, "durable": True}, "x-arguments": queue.arguments}
        channels[stage.value] = _channel(queue.name, "broker", (group,), text, amqp=amqp)
    text = "One queue per gateway connection epoch; routing key: the gateway's process id."
    channels["events"] = _channel(routes.EVENTS, "broker", ("gatewayMessages",), text)
    text = "One queue per listening worker's connection epoch; routing key: the worker's process id."
    channels["audio"] = _channel(routes.AUDIO, "broker", ("audioBatches",), text)
    text = "Routing keys: workers, gateways, or a process id. Losable: whatever matters is repeated by a watch."
    channels["control"] = _channel(routes.CONTROL, "broker", ("control",), text)
    return channels


def _operations() -> dict[str, Any]:
    """Each operation as the named process sees it."""
    plan = (
        ("clientSends", "receive", "connect", "clientFrames", "gateway"),
        ("clientReceives", "send", "connect", "serverFrames", "gateway"),
        ("submitTurn", "send", "retrieve", "retrieveJobs", "gateway"),
        ("retrieve", "receive", "retrieve", "retrieveJobs", "rag"),
        ("handOn", "send", "generate", "generateJobs", "rag"),
        ("generate", "receive", "generate", "generateJobs", "inference"),
        ("record", "send", "record", "records", "inference, or gateway when forced"),
        ("store", "receive", "record", "records", "rag"),
        ("manageKnowledge", "receive", "knowledge", "knowledgeCommands", "rag"),
        ("askToListen", "send", "listen", "listenJobs", "gateway"),
        ("listen", "receive", "listen", "listenJobs", "asr"),
        ("sendAudio", "send", "audio", "audioBatches", "gateway"),
        ("hearAudio", "receive", "audio", "audioBatches", "asr"),
        ("askToSpeak", "send", "speak", "speakJobs", "gateway"),
        ("speak", "receive", "speak", "speakJobs", "inference"),
        ("deliverEvents", "receive", "events", "gatewayMessages", "gateway"),
        ("hearControl", "receive", "control", "control", "every process"),
    )
    operations: dict[str, Any] = {}
    for name, action, channel, group, who in plan:
        operations[name] = {
            "action": action,
            "channel": {"$ref": f"#/channels/{channel}"},
            "summary": f"{who}: {action} on {channel}",
            "messages": [{"$ref": f"#/channels/{channel}/messages/{kind.__name__}"} for kind in _GROUPS[group]],
        }
    return operations


def render() -> str:
    """The document as JSON text, ending in a newline."""
    return json.dumps(document(), indent=1, ensure_ascii=False) + "\n"


def main(arguments: list[str]) -> int:
    """Write or check the file; returns the exit status."""
    check = "--check" in arguments
    paths = [argument for argument in arguments if argument != "--check"]
    if len(paths) > 1 or any(path.startswith("-") for path in paths):
        sys.stderr.write(f"usage: python -m parley_protocol.asyncapi [--check] [PATH, default {DEFAULT_PATH}]\n")
        return 2
    path = Path(paths[0] if paths else DEFAULT_PATH)
    text = render()
    if not check:
        path.write_text(text, encoding="utf-8")
        return 0
    if path.exists() and path.read_text(encoding="utf-8") == text:
        return 0
    sys.stderr.write(f"{path} is not current: run ./task docs and commit the result\n")
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
