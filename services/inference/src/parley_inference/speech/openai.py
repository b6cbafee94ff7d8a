"""``openai``: any server that speaks OpenAI's ``/v1/audio/speech`` and streams raw PCM.

An attempt is repeated only while no audio has come. One that is cut off later ends in a retryable EngineError, and
whoever asked decides.
"""

import asyncio
import random
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, suppress
from dataclasses import dataclass
from typing import Any

import httpx

from parley_inference import openai_server
from parley_inference.breaker import Breaker
from parley_inference.engines.openai import MAX_ERROR_BODY, MAX_WAIT_S
from parley_inference.engines.openai_errors import retry_after
from parley_inference.openai_server import shown
from parley_inference.speech.resample import Resampler
from parley_inference.speech.scripts import speakable
from parley_inference.speech.synthesizer import SAMPLE, Utterance
from parley_runtime.config import setting
from parley_runtime.errors import EngineError, EngineRejected
from parley_runtime.telemetry.logging import get_logger

log = get_logger(__name__)

NAME = "openai"
PREFIX = "PARLEY_SPEECH"
BACKOFF_S = 0.1
"""First wait between attempts; doubled each time, with jitter. Somebody is waiting for the next word."""
AUDIO_TYPES = ("audio/", "application/octet-stream")

_RETRYABLE = frozenset({408, 409, 425, 429})
_VOICE = frozenset({400, 404, 422})
"""What a server may answer that does not have the voice."""
MOST_VOICES = 256
"""Names of voices that are remembered as unknown to the server."""
_HINTS = {
    401: "the key was refused: set PARLEY_SPEECH_API_KEY",
    403: "the key may not do this: check PARLEY_SPEECH_API_KEY",
    404: "no such model or path: check PARLEY_SPEECH_MODEL, and that PARLEY_SPEECH_BASE_URL ends in /v1 or the like",
    405: "no speech at this path: check PARLEY_SPEECH_BASE_URL",
    413: "the text is too long for the server: lower PARLEY_SPEECH_MAX_TEXT",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenAISpeechSettings:
    """Settings of the OpenAI-compatible synthesizer."""

    base_url: str = setting(
        "PARLEY_SPEECH_BASE_URL",
        "",
        "Address of an OpenAI-compatible server of speech, such as http://127.0.0.1:8880/v1",
    )
    api_key: str = setting("PARLEY_SPEECH_API_KEY", "", "Key for that server; empty: none is sent", secret=True)
    model: str = setting("PARLEY_SPEECH_MODEL", "tts-1", "Model of speech to ask for")
    voice: str = setting("PARLEY_SPEECH_VOICE", "alloy", "Voice to ask for where a client names none")
    rate: int = setting(
        "PARLEY_SPEECH_RATE", 24_000, "Rate of the PCM that the server sends", unit="Hz", minimum=8000, maximum=48_000
    )
    probe_s: float = setting(
        "PARLEY_SPEECH_PROBE_S", 2.0, "Time for the server to answer at start", unit="seconds", minimum=0.1
    )
    connect_s: float = setting(
        "PARLEY_SPEECH_CONNECT_S", 2.0, "Time for a connection to the server", unit="seconds", minimum=0.1
    )
    first_byte_s: float = setting(
        "PARLEY_SPEECH_FIRST_BYTE_S",
        5.0,
        "Time from the request to the first byte of audio",
        unit="seconds",
        minimum=0.05,
    )
    chunk_s: float = setting(
        "PARLEY_SPEECH_CHUNK_S", 5.0, "Longest silence of the server within a sentence", unit="seconds", minimum=0.05
    )
    retries: int = setting(
        "PARLEY_SPEECH_RETRIES",
        1,
        "Further attempts of one sentence while no audio has come",
        unit="attempts",
        zero="none; gateways ask again",
        minimum=0,
        maximum=10,
    )
    breaker: int = setting(
        "PARLEY_SPEECH_BREAKER",
        5,
        "Failures in a row after which the server is left alone for 1 to 30 seconds",
        unit="failures",
        zero="never",
        minimum=0,
    )

    def __post_init__(self) -> None:
        openai_server.check(PREFIX, self.base_url, self.api_key)


async def connect(settings: OpenAISpeechSettings) -> "OpenAISynthesizer":
    """The synthesizer, once the server has answered anything within ``probe_s``.

    Raises:
        ConfigError: no address, or a key that is refused.
        Unavailable: the server does not answer.
    """
    client = openai_server.open_client(
        PREFIX, settings.base_url, settings.api_key, connect_s=settings.connect_s, kept=32
    )
    try:
        # Not every server of speech lists its models: any answer shows that it is there.
        await openai_server.models(client, PREFIX, settings.base_url, settings.probe_s)
    except BaseException:
        await client.aclose()
        raise
    return OpenAISynthesizer(settings, client)


class OpenAISynthesizer:
    """One pooled client. Made by :func:`connect`."""

    name = NAME
    deterministic = False

    def __init__(self, settings: OpenAISpeechSettings, client: httpx.AsyncClient) -> None:
        self._settings = settings
        self._client = client
        self._breaker = Breaker(settings.breaker)
        self._unknown: dict[str, None] = {}
        """Voices that the server does not have."""

    @property
    def model(self) -> str:
        """As the settings name it."""
        return self._settings.model

    def problem(self) -> str | None:
        """While the breaker is open: how often the server has failed."""
        if not self._breaker.open:
            return None
        return f"{shown(self._settings.base_url)} failed {self._breaker.failures} times in a row"

    async def close(self) -> None:
        """Close all connections."""
        await self._client.aclose()

    async def speak(self, utterance: Utterance) -> AsyncGenerator[bytes, None]:
        """Stream one sentence. While the breaker is open it fails at once: speech that comes late is of no use. A
        sentence that is refused is tried once more with the usual voice: the server may not have the one named.
        """
        if not speakable(utterance.text):
            raise EngineRejected("there is nothing in this text that can be said")
        named, usual = utterance.voice, self._settings.voice
        voices = [usual] if not named or named in (usual, *self._unknown) else [named, usual]
        for voice in voices:
            try:
                async with aclosing(self._say(utterance, voice)) as chunks:
                    async for chunk in chunks:
                        yield chunk
                break
            except _Refused as error:
                if voice == usual or error.status not in _VOICE:
                    raise
        if voice != voices[0]:
            self._forget_voice(named)

    def _forget_voice(self, voice: str) -> None:
        log.info("the server of speech does not have a voice; its usual one speaks", engine=NAME, voice=voice[:64])
        self._unknown[voice] = None
        if len(self._unknown) > MOST_VOICES:
            del self._unknown[next(iter(self._unknown))]

    async def _say(self, utterance: Utterance, voice: str) -> AsyncGenerator[bytes, None]:
        attempt = 0
        while True:
            wait_s = self._breaker.wait_s(asyncio.get_running_loop().time())
            if wait_s:
                raise EngineError(f"{self.problem()}; it is left alone for now", retry_after_s=wait_s)
            said = reported = False
            try:
                async with aclosing(self._attempt(utterance, voice)) as chunks:
                    async for chunk in chunks:
                        said = True
                        yield chunk
            except EngineError as error:
                self._failed(error)
                reported = True
                if said or attempt >= self._settings.retries or error.retry_after_s > MAX_WAIT_S:
                    raise
                wait_s = max(error.retry_after_s, BACKOFF_S * 2.0**attempt * random.uniform(0.5, 1.0))  # noqa: S311 - jitter
            except EngineRejected:
                self._breaker.succeeded()
                reported = True
                raise
            else:
                self._breaker.succeeded()
                reported = True
                return
            finally:
                if not reported:
                    self._breaker.gave_up()
            attempt += 1
            await asyncio.sleep(wait_s)

    def _failed(self, error: EngineError) -> None:
        was_open = self._breaker.open
        self._breaker.failed(asyncio.get_running_loop().time(), error.retry_after_s)
        log.warning("speech attempt failed", engine=NAME, error=str(error), failures=self._breaker.failures)
        if self._breaker.open and not was_open:
            log.error("engine paused", engine=NAME, reason=self.problem())

    def _body(self, utterance: Utterance, voice: str) -> dict[str, Any]:
        return {
            "model": self._settings.model,
            "input": utterance.text,
            "voice": voice,
            "response_format": "pcm",
            "speed": utterance.speed,
            "stream_format": "audio",
        }

    async def _attempt(self, utterance: Utterance, voice: str) -> AsyncGenerator[bytes, None]:
        """One HTTP request. Leaving it early closes the connection, which tells the server to stop."""
        settings = self._settings
        request = self._client.build_request("POST", "audio/speech", json=self._body(utterance, voice))
        loop = asyncio.get_running_loop()
        deadline = loop.time() + settings.first_byte_s
        response = await openai_server.send(self._client, request, deadline, prefix=PREFIX, where=self._where())
        chunks = response.aiter_bytes()
        try:
            if response.status_code != 200:
                raise await self._refusal(response, chunks, deadline)
            self._check_type(response.headers.get("content-type", ""))
            resampler, size = Resampler(settings.rate, utterance.rate), 0
            while chunk := await self._chunk(chunks, deadline):
                size += len(chunk)
                deadline = loop.time() + settings.chunk_s
                if out := resampler.feed(chunk):
                    yield out
            if rest := resampler.end():
                yield rest
            if size < SAMPLE:
                raise EngineError(f"{self._where()} sent no audio")
        finally:
            await openai_server.leave(response, chunks, whole=False)

    def _check_type(self, kind: str) -> None:
        """Text that claims to be audio is noise to whoever hears it."""
        if kind and not kind.lower().startswith(AUDIO_TYPES):
            raise EngineError(f"{self._where()} sent {kind[:60]!r} where PCM was asked for; does it know pcm?")

    async def _chunk(self, chunks: AsyncIterator[bytes], deadline: float) -> bytes:
        return await openai_server.chunk(chunks, deadline, prefix=PREFIX, where=self._where(), what="a sentence")

    async def _refusal(
        self, response: httpx.Response, chunks: AsyncIterator[bytes], deadline: float
    ) -> EngineError | EngineRejected:
        size = 0
        with suppress(EngineError):  # read so that the connection may be used again; it may quote the text
            while size < MAX_ERROR_BODY and (chunk := await self._chunk(chunks, deadline)):
                size += len(chunk)
        return _explain(response.status_code, self._where(), retry_after(response.headers.get("retry-after", "")))

    def _where(self) -> str:
        return shown(self._settings.base_url)


def _explain(status: int, where: str, retry_after_s: float) -> EngineError | EngineRejected:
    """The error for a ``status`` that is not 200."""
    said = f"{where} answered HTTP {status}"
    if status >= 500 or status in _RETRYABLE:
        return EngineError(said, retry_after_s=retry_after_s)
    return _Refused(f"{said}: {_HINTS.get(status, 'the server refuses the request itself')}", status)


class _Refused(EngineRejected):
    """By the server, with this status."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status
