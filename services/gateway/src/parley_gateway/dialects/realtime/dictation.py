"""Audio within an item of the conversation: each is heard whole, in a stream of its own."""

from collections.abc import Callable, Iterable

import msgspec

from parley_gateway.dialects.realtime.attention import Attention
from parley_gateway.dialects.realtime.effects import Effect
from parley_gateway.dialects.socket import DialectSocket
from parley_gateway.dialects.talk import fault_code
from parley_gateway.voice.ear import Ear
from parley_gateway.voice.events import HearingEvent
from parley_gateway.voice.words import join
from parley_protocol.audio import Ended, Failed, Heard, Hearing
from parley_protocol.faults import FaultCode, ProtocolError
from parley_protocol.ids import SessionId

Carry = Callable[[Iterable[Effect]], None]


class Dictation:
    """The audio of one item."""

    def __init__(self, item: str, over: Callable[["Dictation", Ended | Failed], None]) -> None:
        self.item = item
        self.ear: Ear | None = None
        self.words: list[str] = []
        self._over = over

    @property
    def text(self) -> str:
        return join(*self.words)

    def on_hearing(self, event: HearingEvent) -> None:
        """See :class:`parley_gateway.voice.events.Hears`."""
        match event:
            case Heard():
                self.words.append(event.text)
            case Ended() | Failed():
                self._over(self, event)
            case _:
                pass


class Dictations:
    """Of one socket. What becomes of each is told to ``attention``, and ``carry`` does what that says."""

    def __init__(self, socket: DialectSocket, session: SessionId, kb: str, attention: Attention, carry: Carry) -> None:
        self._socket = socket
        self._session = session
        self._kb = kb
        self._attention = attention
        self._carry = carry
        self._open: set[Dictation] = set()

    def hear(self, item: str, data: bytes, hearing: Hearing) -> None:
        """Have ``data`` heard as one utterance, whatever the session does of its microphone's silences."""
        dictation = Dictation(item, self._over)
        whole = msgspec.structs.replace(hearing, by_silence=False, partials=False)
        try:
            dictation.ear = self._socket.hub.ears.open(
                self._socket.identity, self._session, whole, dictation, kb=self._kb
            )
            self._open.add(dictation)
            dictation.ear.feed(data)
        except ProtocolError as error:
            self._drop(dictation)
            self._carry(self._attention.undictated(item, error.code, str(error)))
            return
        dictation.ear.end()

    def close(self) -> None:
        """The socket is gone."""
        for dictation in tuple(self._open):
            self._drop(dictation)

    def _drop(self, dictation: Dictation) -> None:
        self._open.discard(dictation)
        if dictation.ear is not None:
            dictation.ear.drop()

    def _over(self, dictation: Dictation, event: Ended | Failed) -> None:
        if dictation not in self._open:
            return
        self._open.discard(dictation)
        if isinstance(event, Failed):
            code = fault_code(event.fault.code)
            self._carry(self._attention.undictated(dictation.item, code, event.fault.message))
        elif not dictation.text:
            text = "no words were heard in this audio; check its format"
            self._carry(self._attention.undictated(dictation.item, FaultCode.NO_SPEECH, text))
        else:
            self._carry(self._attention.dictated(dictation.item, dictation.text, event.audio_ms))
