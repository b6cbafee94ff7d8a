"""D2, tutor sessions: ``ws://host/ws/ws/{session_id}?token=...``. The token opens the session, at any gateway."""

from collections.abc import Mapping

from parley_gateway.dialects import tutor_frames as frames
from parley_gateway.dialects.dialect import Dialect
from parley_gateway.dialects.line import Line
from parley_gateway.dialects.socket import POLICY, DialectSocket
from parley_gateway.dialects.talk import Answered, Question, answer, session_of
from parley_gateway.dialects.tutor_voice import converse
from parley_gateway.identity import Identity
from parley_protocol.faults import FaultCode, ProtocolError
from parley_runtime.errors import ParleyError
from parley_runtime.store.tutor_ports import SessionState, TutorSession
from parley_runtime.telemetry.logging import get_logger

log = get_logger("parley.tutor")

NAME = "tutor"
SYSTEM = "d2"


class Student:
    """One socket of a session."""

    def __init__(self, socket: DialectSocket, row: TutorSession) -> None:
        settings = socket.hub.settings
        self.session = row.id
        self.max_message = max(settings.tutor.max_audio, settings.limits.max_message)
        self._socket = socket
        self._desk = socket.hub.tutors
        self._line = Line(settings.tutor.waiting)
        self._kb = row.kb
        self._conversation = session_of(socket.hub, socket.identity, SYSTEM, row.id)

    @property
    def busy(self) -> bool:
        return self._line.busy

    def greet(self) -> None:
        """Nothing is said unasked."""

    async def hear(self, data: str | bytes) -> None:
        if not await self._desk.attendance.used(self):
            return
        frame = frames.decoded(data, self._socket.hub.settings.limits.max_message)
        waiting = self._socket.hub.settings.tutor.waiting
        if isinstance(frame, frames.Heard):
            taken = self._line.put(lambda: converse(self._socket, self._conversation, self._kb, frame))
        else:
            taken = self._line.put(lambda: self._answer(frame.content))
        if not taken:
            raise ProtocolError(FaultCode.OVERLOADED, f"{waiting} questions wait for their answers; wait for one")

    def refuse(self, error: ProtocolError) -> None:
        self._desk.attendance.seen(self)
        self._socket.send("error", frames.error(str(error)))

    def gone(self) -> None:
        """What is being asked is asked to its end: the conversation goes on at the next socket."""
        dropped = self._line.outlive(self._socket.hub.tasks)
        if dropped:
            log.info("questions of a student who has gone are not asked", questions=dropped)
        self._socket.hub.spawn(self._desk.attendance.leave(self))

    def over(self, state: SessionState) -> None:
        """See :class:`parley_gateway.tutoring.Pupil`."""
        dropped = self._line.clear()
        if dropped:
            log.info("questions of a session that is over are not asked", questions=dropped)
        self._socket.send("error", frames.error(frames.words(state)))
        self._socket.close(POLICY, state.value)

    async def _answer(self, text: str) -> None:
        socket = self._socket
        question = Question(text=text, session=self._conversation, kb=self._kb)
        outcome = await answer(socket.hub, socket.identity, question)
        if isinstance(outcome, Answered):
            socket.send("text", frames.answer(outcome.done.text))
        else:
            socket.send("error", frames.error(outcome.message, outcome.retry_after_ms))


async def open_socket(socket: DialectSocket, parameters: Mapping[str, str]) -> Student:
    """See :data:`parley_gateway.dialects.dialect.Open`. The token is checked before anything is read."""
    session, desk = parameters["session_id"], socket.hub.tutors
    token = frames.session_token(socket.scope.get("query_string", b""))
    if not desk.tokens.verify(token, session):
        raise ProtocolError(FaultCode.UNAUTHORIZED, "this address is not that of a session: its token does not fit")
    try:
        row = await socket.hub.store.tutors.find(session)
    except ParleyError as error:
        raise ProtocolError(error.code, str(error)) from None
    if row is None:
        raise ProtocolError(FaultCode.NOT_FOUND, "Session not found")
    if row.state is not SessionState.ACTIVE:
        raise ProtocolError(FaultCode.NOT_FOUND, frames.words(row.state))
    socket.identity = Identity(row.tenant)
    student = Student(socket, row)
    desk.attendance.join(student)
    return student


DIALECT = Dialect(
    name=NAME,
    path="/ws/ws/{session_id}",
    open=open_socket,
    error=lambda error: frames.error(str(error)),
)
