"""Has sentences said by whichever worker is free, and hands on the audio that comes back."""

import secrets
from typing import Protocol

from parley_gateway.voice.mouth_settings import MouthSettings
from parley_gateway.voice.speech import Ask
from parley_protocol import codec
from parley_protocol.audio import Speak, Spoken
from parley_protocol.client import Voice
from parley_protocol.control import Audience, Hush
from parley_protocol.ids import TurnKey
from parley_protocol.routes import WORK, Stage
from parley_runtime.control import ControlPlane
from parley_runtime.errors import ParleyError
from parley_runtime.ports import Clock, Headers, Link, Message
from parley_runtime.tasks import Tasks
from parley_runtime.telemetry import names
from parley_runtime.telemetry.logging import get_logger
from parley_runtime.telemetry.metrics import counter

log = get_logger("parley.mouth")


class Takes(Protocol):
    """Who waits for audio."""

    def on_spoken(self, part: Spoken) -> None:
        """A part of it has come."""
        ...


class Saying:
    """Of a whole gateway. A *speech* is whatever one answer has said, by a name of its own."""

    def __init__(
        self, gateway: str, settings: MouthSettings, clock: Clock, publisher: Link, control: ControlPlane
    ) -> None:
        self._gateway = gateway
        self._settings = settings
        self._clock = clock
        self._publisher = publisher
        self._control = control
        self._incarnation = secrets.token_hex(4)
        self._count = 0
        self._speeches: dict[str, Takes] = {}
        self._tasks = Tasks("speech")

    def __len__(self) -> int:
        """Speeches that somebody waits for."""
        return len(self._speeches)

    def now(self) -> float:
        """Monotonic seconds."""
        return self._clock.monotonic()

    def begin(self, takes: Takes) -> str:
        """One more speech, whose audio goes there; its name is unique in the installation."""
        self._count += 1
        speech = f"{self._gateway}/{self._incarnation}/{self._count}"
        self._speeches[speech] = takes
        return speech

    def end(self, speech: str, *, hush: bool) -> None:
        """Nobody waits for it any more; if ``hush``, whoever is saying some of it may stop."""
        self._speeches.pop(speech, None)
        if hush:
            self._control.post(Audience.WORKERS.value, Hush(speech))

    def on_spoken(self, part: Spoken) -> bool:
        """From the event queue. False: nobody here waits for it."""
        takes = self._speeches.get(part.speech)
        if takes is None:
            return False
        takes.on_spoken(part)
        return True

    def ask(self, speech: str, ask: Ask, voice: Voice, key: TurnKey, headers: Headers) -> None:
        """Have a sentence said. What gets lost on the way is to be asked for again."""
        job = Speak(
            speech=speech,
            index=ask.index,
            text=ask.text,
            gateway=self._gateway,
            rate=voice.rate,
            voice=voice.voice,
            language=voice.language,
            speed=voice.speed,
            key=key,
            attempt=ask.attempt,
            budget_s=self._settings.longest_s,
            sent_at=self._clock.wall(),
        )
        if ask.attempt:
            counter(names.SPEAK_AGAIN).inc()
        # Once it is asked for again, nobody waits for this one.
        self._tasks.spawn(self._publish(Message(codec.pack(job), headers, expires_s=self._settings.ask_s)))

    async def _publish(self, message: Message) -> None:
        try:
            await self._publisher.publish(WORK, Stage.SPEAK, message, timeout_s=self._settings.ask_s)
        except ParleyError as error:
            log.info("sentence was not asked for; again soon", reason=type(error).__name__)

    async def close(self) -> None:
        """Let nobody wait for what is being published."""
        await self._tasks.close()
