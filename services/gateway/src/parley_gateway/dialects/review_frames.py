"""Frames of D3, contract review. Pure: rows in, frames out, client's text in, messages out."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

from parley_gateway.dialects.words import in_chinese
from parley_protocol.faults import FaultCode, ProtocolError
from parley_protocol.reviews import Finding, ReviewStage, ReviewStatus, ReviewSummary, Risk, percent
from parley_runtime.store.review_ports import ReviewRow

MAX_FINDINGS = 200
"""Findings of one frame; all of them are told over HTTP."""
MAX_RESULT = 880 * 1024
"""Bytes of the findings of one frame, which as a whole stays under 900 KiB."""

_ORDER = {Risk.HIGH: 0, Risk.UNKNOWN: 1, Risk.MEDIUM: 2, Risk.LOW: 3}
_SAID = {
    ReviewStage.PENDING: "审查任务已排队，正在等待处理...",
    ReviewStage.READING: "正在读取合同文档...",
    ReviewStage.ANALYZING: "正在分析合同条款...",
}
_WORDS = {
    FaultCode.BAD_FRAME: "消息格式错误",
    FaultCode.UNKNOWN_TYPE: "未知的消息类型",
    FaultCode.INVALID: "消息内容无效",
    FaultCode.TOO_LARGE: "消息过大",
    FaultCode.RATE_LIMITED: "消息过于频繁，请放慢发送速度",
    FaultCode.UNAUTHORIZED: "需要有效的令牌",
    FaultCode.NOT_FOUND: "任务不存在",
    FaultCode.UNAVAILABLE: "服务暂时不可用，请稍后再试",
}
_PINGS = {"ping": "pong", "heartbeat": "heartbeat_ack"}
_STATUS = ("get_status", "status_request")


class Incoming(msgspec.Struct):
    """A message. ``timestamp`` is kept as the text that it was sent as. Unknown fields are ignored."""

    type: str
    timestamp: msgspec.Raw = msgspec.Raw(b"")


_incoming = msgspec.json.Decoder(Incoming)
_encode = msgspec.json.Encoder().encode


def heard(data: str | bytes) -> Incoming:
    """Raises ProtocolError that names the field."""
    try:
        return _incoming.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ProtocolError(FaultCode.BAD_FRAME, str(error)[:200]) from None


def pong(message: Incoming, server_time: str = "") -> dict[str, Any] | None:
    """The answer to a ping or heartbeat, with the very timestamp; None where it is none.

    Raises:
        ProtocolError: the timestamp is missing, or neither a number nor a text.
    """
    kind = _PINGS.get(message.type)
    if kind is None:
        return None
    stamp = bytes(message.timestamp)
    if stamp[:1] not in (*(b"%d" % digit for digit in range(10)), b"-", b'"'):
        raise ProtocolError(FaultCode.BAD_FRAME, "Expected `float` - at `$.timestamp`")
    frame = {"type": kind, "timestamp": message.timestamp}
    return frame | {"server_time": server_time} if server_time else frame


def asks_status(message: Incoming) -> bool:
    """Whether it asks how the task stands."""
    return message.type in _STATUS


def unknown_type(message: Incoming, known: str) -> ProtocolError:
    """For a type that this socket does not know."""
    return ProtocolError(FaultCode.UNKNOWN_TYPE, f"{message.type[:50]!r}; known: {known}")


def error(code: FaultCode, detail: str) -> dict[str, Any]:
    """What was wrong, in words."""
    words = _WORDS.get(code, "消息无法处理，请稍后再试")
    return {"type": "error", "message": f"{words}：{in_chinese(detail)}", "code": code.value}


def connection(task: int) -> dict[str, Any]:
    """The greeting."""
    return {"type": "connection", "message": f"已连接到任务 {task} 的进度推送", "task_id": task}


def time(seconds: float) -> str:
    """As frames tell it: UTC, with its offset."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")


def status(row: ReviewRow) -> dict[str, Any]:
    """How the task stands."""
    return {
        "type": "status",
        "task_id": row.task,
        "status": row.status.value,
        "contract_type": row.contract_type,
        "role": row.role,
        "created_at": time(row.created_at),
        "updated_at": time(row.updated_at),
        "stage": stage(row).value,
        "progress": percent(row.status, row.clauses, row.done),
    }


def stage(row: ReviewRow) -> ReviewStage:
    """The step that the task is at."""
    match row.status:
        case ReviewStatus.PENDING:
            return ReviewStage.PENDING
        case ReviewStatus.COMPLETED:
            return ReviewStage.COMPLETE
        case ReviewStatus.FAILED:
            return ReviewStage.FAILED
        case _:
            return ReviewStage.ANALYZING if row.clauses else ReviewStage.READING


def said(row: ReviewRow) -> str:
    """The step in words."""
    if row.status is ReviewStatus.COMPLETED:
        return f"合同审查完成，发现 {found(row)} 处需要注意的条款"
    return row.error if row.status is ReviewStatus.FAILED else _SAID[stage(row)]


def found(row: ReviewRow) -> int:
    """Findings of a completed task."""
    return sum(row.summary.risks.values()) if row.summary is not None else 0


def progress(row: ReviewRow) -> dict[str, Any]:
    """How far an open task is. Without a type: that is how clients know it."""
    done = percent(row.status, row.clauses, row.done)
    frame: dict[str, Any] = {"stage": stage(row).value, "progress": done, "message": said(row)}
    return frame | {"clauses": row.clauses, "done": row.done} if row.clauses else frame


def failed(row: ReviewRow) -> dict[str, Any]:
    """The end of a task that failed."""
    return {"type": "error", "message": row.error, "task_id": row.task, "stage": ReviewStage.FAILED.value}


def complete(row: ReviewRow, findings: Sequence[Finding]) -> dict[str, Any]:
    """The end of a completed task, with as many findings as a frame may hold."""
    kept, truncated = fitting(findings)
    return {
        "stage": ReviewStage.COMPLETE.value,
        "progress": 100,
        "message": said(row),
        "result": result(row, kept, truncated=truncated),
    }


def result(row: ReviewRow, findings: Sequence[Any], *, truncated: bool = False) -> dict[str, Any]:
    """What a review found."""
    summary = row.summary or ReviewSummary()
    return {
        "task_id": row.task,
        "contract_type": row.contract_type,
        "role": row.role,
        "risk": overall(summary),
        "summary": {
            "clauses": summary.clauses,
            "findings": found(row),
            **summary.risks,
        },
        "findings": findings,
        "truncated": truncated,
        "assessors": summary.assessors,
        "notes": summary.notes,
    }


def overall(summary: ReviewSummary) -> str:
    """The highest risk of all; ``none`` where nothing was found."""
    return next((risk.value for risk in Risk if summary.risks.get(risk.value)), "none")


def fitting(findings: Sequence[Finding]) -> tuple[list[msgspec.Raw], bool]:
    """Findings as JSON in the order of the contract, and whether some had to be left out: then the least risky are."""
    ranked = sorted(range(len(findings)), key=lambda number: _ORDER[findings[number].risk])
    kept: dict[int, bytes] = {}
    size = 0
    for number in ranked[:MAX_FINDINGS]:
        encoded = _encode(findings[number])
        if size + len(encoded) + 1 > MAX_RESULT:
            break
        kept[number] = encoded
        size += len(encoded) + 1
    return [msgspec.Raw(kept[number]) for number in sorted(kept)], len(kept) < len(findings)
