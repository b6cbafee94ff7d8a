"""Parley's async Python client, and the ``parley`` command (``parley_client.cli``).

    async with parley_client.connect("http://127.0.0.1:8000") as chat:
        turn = await chat.ask("What is a fence?")
        async for event in turn:
            if isinstance(event, AnswerDelta):
                print(event.text, end="")
        done = await turn.done()

    speech = await chat.speak()  # 16 kHz, mono, 16 bits
    await speech.send(audio)
    turn = await speech.stop()

    async with talk(chat, voice=Voice()) as talking:  # hands free, see parley_client.talking
        async for event in talking: ...

A dropped connection is not seen: the client comes back with jittered back-off, resumes, and the same iteration goes on.
"""

from parley_client.connection import Chat, connect
from parley_client.errors import ClientClosed, ClientError, Disconnected, TurnLost, TurnRefused
from parley_client.options import ClientOptions, Observer
from parley_client.speech import Speech
from parley_client.talking import Sound, Talk, Unasked, talk
from parley_client.turn import Turn
from parley_protocol.client import (
    AnswerDelta,
    AnswerFlush,
    AnswerSpoken,
    AudioFormat,
    Done,
    Restarted,
    RetrievalFrame,
    SpeechStartedFrame,
    SpeechStoppedFrame,
    StatusFrame,
    TranscriptFinal,
    TranscriptPartial,
    Voice,
)

__all__ = [
    "AnswerDelta",
    "AnswerFlush",
    "AnswerSpoken",
    "AudioFormat",
    "Chat",
    "ClientClosed",
    "ClientError",
    "ClientOptions",
    "Disconnected",
    "Done",
    "Observer",
    "Restarted",
    "RetrievalFrame",
    "Sound",
    "Speech",
    "SpeechStartedFrame",
    "SpeechStoppedFrame",
    "StatusFrame",
    "Talk",
    "TranscriptFinal",
    "TranscriptPartial",
    "Turn",
    "TurnLost",
    "TurnRefused",
    "Unasked",
    "Voice",
    "connect",
    "talk",
]
