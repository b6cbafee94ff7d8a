"""``/v1/reviews``: contracts in, reviews out. Workers do the work; a task is in the store before its job is sent."""

import hashlib
from collections.abc import AsyncGenerator, Mapping
from pathlib import PurePosixPath
from typing import Any

import msgspec
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute

from parley_gateway.api.http import JSON, body, decoded, owner_only, plain_error, route
from parley_gateway.dialects import review_frames as frames
from parley_gateway.hub import Hub
from parley_gateway.identity import Identity
from parley_protocol import codec
from parley_protocol.faults import FaultCode, ProtocolError
from parley_protocol.reviews import ReadReview, ReviewStatus, percent
from parley_protocol.routes import WORK, Stage
from parley_runtime.errors import NotFound, OutcomeUnknown, Overloaded, ParleyError
from parley_runtime.ports import Headers, Message
from parley_runtime.store.review_ports import RESERVED_IDS, NewReview, ReviewRow
from parley_runtime.telemetry import names
from parley_runtime.telemetry.logging import get_logger
from parley_runtime.telemetry.metrics import counter

log = get_logger("parley.reviews")

HEADERS: Headers = {"parley-kind": "review.read", "parley-v": 1}
MAX_WORDS = 64
"""Code points of contract_type and role."""
MAX_NAME = 255
MAX_DIGITS = 18
ENVELOPE = 65_536
"""Bytes of a form or of JSON around the document."""
BEGINS = {".txt": b"", ".md": b"", ".pdf": b"%PDF-", ".docx": b"PK\x03\x04"}
"""Files that are taken, and what each begins with. (A PDF may have up to 1024 bytes of something else before it.)"""


class Upload(msgspec.Struct, kw_only=True):
    """A contract as it is handed in. ``id`` is asked for by the owner only."""

    text: str = ""
    contract_type: str = ""
    role: str = ""
    id: int | None = None
    name: str = ""
    data: bytes = b""
    media_type: str = ""


class JsonUpload(msgspec.Struct, kw_only=True):
    """The body as JSON."""

    text: str
    contract_type: str = ""
    role: str = ""
    id: int | None = None


def routes(hub: Hub) -> list[BaseRoute]:
    """Upload, one review, its text."""
    return [
        route(hub, "/v1/reviews", {"POST": create}, shape=both),
        route(hub, "/v1/reviews/{task}", {"GET": one}, shape=both),
        route(hub, "/v1/reviews/{task}/text", {"GET": text}, shape=both),
    ]


def both(code: str, message: str, retryable: bool) -> Mapping[str, Any]:
    """Parley's own shape of errors, and the `detail` that this dialect's clients look for."""
    return {**plain_error(code, message, retryable), "detail": message}


async def create(hub: Hub, request: Request, identity: Identity) -> Response:
    """202 ``{"task_id", "status"}``; 200 where the id that was asked for stands for this very contract already."""
    limit = hub.settings.limits.max_document
    raw = await body(request, limit + ENVELOPE, "PARLEY_MAX_DOCUMENT")
    if request.headers.get("content-type", "").lower().startswith("multipart/form-data"):
        upload = await _form(request, raw)
    else:
        told = decoded(raw, JsonUpload)
        upload = Upload(text=told.text, contract_type=told.contract_type, role=told.role, id=told.id)
    if upload.id is not None:
        owner_only(hub, identity)
    new = checked(upload, identity.tenant, limit)
    row, fresh = await hub.store.reviews.create(new, limit=hub.settings.reviews.queued, task=upload.id)
    if fresh:
        await _send(hub, row)
        counter(names.REVIEWS).labels("taken").inc()
        log.info("review taken", task=row.task, bytes=len(new.data))
    return JSON({"task_id": row.task, "status": row.status.value}, 202 if fresh else 200)


async def one(hub: Hub, request: Request, identity: Identity) -> Response:
    """How a task stands and, once it is complete, everything that was found."""
    row = await _row(hub, request, identity)
    answer: dict[str, Any] = {
        "task_id": row.task,
        "status": row.status.value,
        "contract_type": row.contract_type,
        "role": row.role,
        "name": row.name,
        "created_at": frames.time(row.created_at),
        "updated_at": frames.time(row.updated_at),
        "stage": frames.stage(row).value,
        "progress": percent(row.status, row.clauses, row.done),
        "message": frames.said(row),
    }
    if row.status is ReviewStatus.COMPLETED:
        findings = await hub.store.reviews.findings(identity.tenant, row.task)
        answer["result"] = frames.result(row, findings)
    return JSON(answer)


async def text(hub: Hub, request: Request, identity: Identity) -> Response:
    """The contract's text, which offsets of findings count in. 404 until it has been read."""
    row = await _row(hub, request, identity)
    found = await hub.store.reviews.text(identity.tenant, row.task)
    if found is None:
        raise NotFound("the contract has not been read yet, or cannot be")
    return PlainTextResponse(found)


async def _row(hub: Hub, request: Request, identity: Identity) -> ReviewRow:
    raw = request.path_params["task"]
    row = None
    if raw.isascii() and raw.isdecimal() and len(raw) <= MAX_DIGITS:
        row = await hub.store.reviews.row(identity.tenant, int(raw))
    if row is None:
        raise NotFound("there is no review with this id")
    return row


async def _send(hub: Hub, row: ReviewRow) -> None:
    """The job, confirmed. Where it may be nowhere, the task is withdrawn; where that is not known, a sweep finds it."""
    job = Message(codec.pack(ReadReview(tenant=row.tenant, task=row.task)), HEADERS)
    try:
        await hub.publisher.publish(WORK, Stage.REVIEW, job, timeout_s=hub.settings.turns.publish_s)
    except OutcomeUnknown:
        log.info("a review's job may not be in its queue; workers look for it", task=row.task)
    except ParleyError as error:
        await hub.store.reviews.withdraw(row.tenant, row.task)
        log.warning("review refused", task=row.task, reason=type(error).__name__)
        wait = hub.settings.turns.retry_after_s
        raise Overloaded("reviews cannot be taken at present; try again soon", retry_after_s=wait) from error


async def _form(request: Request, raw: bytes) -> Upload:
    async def stream() -> AsyncGenerator[bytes, None]:
        yield raw

    parser = MultiPartParser(request.headers, stream(), max_files=1, max_fields=8, max_part_size=len(raw) + 1)
    try:
        form = await parser.parse()
    except (MultiPartException, KeyError, UnicodeDecodeError) as error:
        raise ProtocolError(FaultCode.BAD_FRAME, f"the form cannot be taken: {str(error)[:200]}") from None
    upload = Upload()
    async with _closing(form):
        for name, value in form.multi_items():
            if isinstance(value, UploadFile):
                upload.data, upload.name = await value.read(), value.filename or "contract"
                upload.media_type = (value.content_type or "").split(";")[0].strip()
            elif name in ("text", "contract_type", "role"):
                setattr(upload, name, value)
            elif name == "id":
                upload.id = _id(value)
    return upload


class _closing:
    """Closes a form's files."""

    def __init__(self, form: Any) -> None:
        self._form = form

    async def __aenter__(self) -> None:
        return None

    async def __aexit__(self, *_: object) -> None:
        await self._form.close()


def _id(raw: str) -> int:
    if not (raw.isascii() and raw.isdecimal()) or len(raw) > MAX_DIGITS:
        raise ProtocolError(FaultCode.INVALID, f"id must be a whole number from 1 to {RESERVED_IDS}")
    return int(raw)


def checked(upload: Upload, tenant: str, limit: int) -> NewReview:
    """The task to make of an upload. Pure.

    Raises:
        ProtocolError: what is wrong with it as far as can be told without reading the document.
    """
    for name, said in (("contract_type", upload.contract_type), ("role", upload.role)):
        if len(said) > MAX_WORDS or not _whole(said):
            raise ProtocolError(FaultCode.INVALID, f"{name} may have {MAX_WORDS} characters")
    if upload.name and upload.text.strip():
        raise ProtocolError(FaultCode.INVALID, "send either text or a file, not both")
    if not upload.name and not _whole(upload.text):
        raise ProtocolError(FaultCode.INVALID, "text holds half of a surrogate pair")
    data = upload.data if upload.name else upload.text.encode()
    if not data.strip():
        raise ProtocolError(FaultCode.INVALID, "the contract is empty; send text or a file")
    if len(data) > limit:
        raise ProtocolError(FaultCode.TOO_LARGE, f"the contract has more than {limit:,} bytes; see PARLEY_MAX_DOCUMENT")
    if upload.name:
        _check_file(upload)
    digest = hashlib.sha256()
    for part in (upload.contract_type, upload.role, upload.name, upload.media_type):
        digest.update(part.encode() + b"\0")
    digest.update(data)
    return NewReview(
        tenant=tenant,
        contract_type=upload.contract_type,
        role=upload.role,
        name=upload.name,
        media_type=upload.media_type,
        data=data,
        digest=digest.hexdigest(),
    )


def _check_file(upload: Upload) -> None:
    if len(upload.name) > MAX_NAME or not upload.name.isprintable():
        raise ProtocolError(FaultCode.INVALID, f"a file's name has up to {MAX_NAME} printable characters")
    ending = PurePosixPath(upload.name).suffix.lower()
    if ending not in BEGINS:
        raise ProtocolError(FaultCode.INVALID, f"files of these kinds can be reviewed: {', '.join(BEGINS)}")
    if BEGINS[ending] not in upload.data[:1024]:
        raise ProtocolError(FaultCode.INVALID, f"the file is damaged: it is no {ending[1:].upper()}; export it anew")


def _whole(said: str) -> bool:
    return not any("\ud800" <= character <= "\udfff" for character in said)
