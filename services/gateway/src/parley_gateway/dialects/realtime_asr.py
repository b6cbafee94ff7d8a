"""D4, realtime ASR text: ``ws://host/ws/realtime-asr``. A client's recogniser sends what it hears; questions in it are
answered, streamed.
"""

import uuid
from collections.abc import Iterable, Mapping

from parley_gateway.dialects.asr import frames
from parley_gateway.dialects.asr.answering import NAME, SYSTEM, Answering
from parley_gateway.dialects.asr.frames import AudioConfig, Code, Control, Unfit
from parley_gateway.dialects.asr.machine import Begin, Cancel, Effect, Machine, Say
from parley_gateway.dialects.asr.questions import is_question
from parley_gateway.dialects.asr.sound import Sound
from parley_gateway.dialects.dialect import Dialect
from parley_gateway.dialects.socket import DialectSocket
from parley_gateway.dialects.talk import session_of
from parley_gateway.limits import Bucket
from parley_gateway.voice.early import Ahead, ahead_of
from parley_protocol.faults import ProtocolError
from parley_runtime.answering import RETRIEVING
from parley_runtime.telemetry.logging import get_logger

log = get_logger("parley.dialect")


class RealtimeAsr:
    """One socket of D4. Answers run in a task, one at a time; frames of the client are handled meanwhile."""

    def __init__(self, socket: DialectSocket) -> None:
        limits = socket.hub.settings.limits
        self._socket = socket
        self._bucket = Bucket(limits.message_rate, limits.message_burst, socket.hub.now())
        self._kind = ""
        self._machine = Machine(str(uuid.uuid4()), is_question, limit=socket.hub.settings.asr.queued)
        self._answering = Answering(socket, self._machine, self._carry)
        self._sound: Sound | None = None
        self._ahead = Ahead(None, socket.hub.spawn)

    @property
    def kind(self) -> str:
        """Audio is counted as such, and told of in no line of its own."""
        return self._kind

    @property
    def bucket(self) -> Bucket:
        """How often a frame may come: audio comes more often than words."""
        return self._bucket if self._sound is None else self._sound.bucket

    @property
    def busy(self) -> bool:
        return self._machine.busy

    def greet(self) -> None:
        self._carry(self._machine.greet())

    async def hear(self, data: str | bytes) -> None:
        self._kind = "audio" if isinstance(data, bytes) else ""
        if isinstance(data, bytes):
            self._feed(data)
            return
        heard = frames.decoded(data, self._socket.hub.settings.limits.max_text)
        if isinstance(heard, AudioConfig):
            self._listen(heard)
            return
        machine = self._machine
        effects = machine.control(heard.action) if isinstance(heard, Control) else machine.chunk(heard)
        for effect in effects:
            if isinstance(effect, Cancel):
                await self._answering.stop(effect.asked)
        self._carry(effects)

    def refuse(self, error: ProtocolError) -> None:
        self._socket.send("error", frames.refusal(error))

    def _listen(self, config: AudioConfig) -> None:
        """Another format ends the stream before."""
        socket = self._socket
        if self._sound is not None:
            self._sound.close()
            self._sound = None
        session = session_of(socket.hub, socket.identity, SYSTEM, self._machine.session)
        settings = socket.hub.settings
        self._ahead.drop()
        self._sound = Sound(socket, session, config, self._heard, self._paused, settings.asr.kb)
        if settings.asr.engine(settings.engine) not in RETRIEVING:
            self._ahead = ahead_of(socket.hub, socket.identity, session, settings.asr.kb)

    def _feed(self, data: bytes) -> None:
        if self._sound is None:
            raise Unfit(Code.INVALID_FIELD, frames.NO_CONFIG)
        self._sound.feed(data)

    def _heard(self, text: str, final: bool) -> None:
        self._socket.send("transcript", frames.transcript(text, final=final))
        if final:
            self._carry(self._machine.heard(text))
            self._ahead.drop()

    def _paused(self, text: str) -> None:
        """Passages are looked for where the utterance holds a question that would be asked at once."""
        text = text.strip()
        self._ahead.said(text, paused=bool(text) and not self._machine.busy and is_question(text))

    def gone(self) -> None:
        if self._sound is not None:
            self._sound.close()
        self._ahead.drop()
        if self._machine.waiting:
            log.info("questions of a client who has gone are not asked", questions=self._machine.waiting)
        self._answering.close()

    def _carry(self, effects: Iterable[Effect]) -> None:
        for effect in effects:
            match effect:
                case Say(kind, frame):
                    self._socket.send(kind, frame)
                case Begin(asked):
                    self._answering.begin(asked, self._ahead.take(asked.text))
                case Cancel():
                    pass  # waited for where it was asked


async def open_socket(socket: DialectSocket, _: Mapping[str, str]) -> RealtimeAsr:
    """See :data:`parley_gateway.dialects.dialect.Open`."""
    return RealtimeAsr(socket)


DIALECT = Dialect(
    name=NAME,
    path="/ws/realtime-asr",
    system=SYSTEM,
    open=open_socket,
    error=frames.refusal,
)
