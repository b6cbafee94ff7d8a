"""Turns that are said: what survives a connection and what does not, frames of audio, recordings."""

import asyncio
import wave
from pathlib import Path

import msgspec
import pytest
import typer
import websockets
from websockets.asyncio.server import ServerConnection, serve

from parley_client import ClientOptions, connect
from parley_client.commands import common
from parley_client.commands.chat import chat
from parley_client.commands.listen import Answered, listen, read_wav
from parley_client.errors import ClientError, TurnLost, TurnRefused
from parley_client.resume import Memory
from parley_client.turn import Turn
from parley_protocol import codec
from parley_protocol.client import (
    Accepted,
    AnswerFlush,
    AnswerSpoken,
    AudioStart,
    AudioStop,
    Done,
    ErrorFrame,
    Hello,
    Latency,
    Limits,
    TranscriptFinal,
    Voice,
    Welcome,
)
from parley_protocol.events import Fault, TurnStatus
from parley_protocol.speech import AnswerAudio, encode_audio

pytestmark = pytest.mark.unit
LIMITS = Limits(frame=1, text=1, queued_turns=1, rate=1)


async def _no_cancel(turn: str) -> None:
    raise AssertionError(turn)


class TestMemory:
    def test_a_turn_that_is_being_said_goes_with_its_connection(self) -> None:
        memory, turn = Memory(session="s", position=None, token=None), Turn("t", _no_cancel)
        memory.turns.speak(turn)
        assert memory.hello().pending == ()
        with pytest.raises(TurnLost, match="say it again"):
            turn.check()

    def test_one_that_was_said_to_its_end_is_asked_for_again(self) -> None:
        memory, turn = Memory(session="s", position=None, token=None), Turn("t", _no_cancel)
        memory.turns.speak(turn)
        memory.turns.said(turn.id)
        assert memory.hello().pending == ("t",)
        turn.check()


@pytest.mark.parametrize("binary", [True, False])
async def test_audio_goes_both_ways(binary: bool) -> None:
    taken: list[object] = []

    async def script(socket: ServerConnection) -> None:
        encode = codec.encode_pack if binary else codec.encode_json
        latency = Latency(accepted_ms=1, first_token_ms=2, total_ms=3)
        async for data in socket:
            if isinstance(data, bytes) and (not binary or data[0] == 0xC4):
                taken.append(msgspec.msgpack.decode(data) if binary else data)
                continue
            frame = codec.decode_client(data)
            taken.append(frame)
            if isinstance(frame, Hello):
                await socket.send(encode(Welcome(session="s", resumed=False, gap=False, heartbeat_s=25, limits=LIMITS)))
            if isinstance(frame, AudioStop):
                await socket.send(encode(TranscriptFinal(turn="t", seq=0, position="p", text="hello")))
                await socket.send(encode(Accepted(turn="t")))
                audio = encode_audio(AnswerAudio(turn="t", sentence=0, at=0, rate=8000), b"\x01\x02" * 80)
                await socket.send(msgspec.msgpack.encode(audio) if binary else audio)
                done = Done(
                    turn="t",
                    seq=1,
                    position="p",
                    status=TurnStatus.COMPLETED,
                    text="",
                    usage=None,
                    sources=(),
                    latency=latency,
                )
                await socket.send(encode(done))
                await socket.send(encode(AnswerSpoken(turn="t", ms=10)))

    answered = Answered()
    async with serve(script, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        options = ClientOptions(binary=binary, on_audio=answered.on_audio, on_sound=answered.on_sound)
        async with connect(f"http://127.0.0.1:{port}", options) as chat:
            speech = await chat.speak(turn="t", kb="docs", voice=Voice(rate=8000))
            await speech.send(b"ab")
            turn = await speech.stop()
            heard = [frame.text for frame in [frame async for frame in turn] if isinstance(frame, TranscriptFinal)]
            await answered.over.wait()
            with pytest.raises(ClientError, match="begin another"):
                await speech.send(b"more")
    start = taken[1]
    assert isinstance(start, AudioStart)
    assert (start.kb, start.speak, taken[2]) == ("docs", Voice(rate=8000), b"ab")
    assert isinstance(taken[3], AudioStop)
    assert heard == ["hello"]
    assert answered.rate == 8000


async def test_nothing_heard_is_said() -> None:
    async def script(socket: ServerConnection) -> None:
        async for data in socket:
            frame = codec.decode_client(data)
            if isinstance(frame, Hello):
                welcome = Welcome(session="s", resumed=False, gap=False, heartbeat_s=25, limits=LIMITS)
                await socket.send(codec.encode_pack(welcome))
            if isinstance(frame, AudioStop):
                error = ErrorFrame(code="no_speech", message="no words", retryable=False, turn="t")
                await socket.send(codec.encode_pack(error))

    async with websockets.serve(script, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        async with connect(f"http://127.0.0.1:{port}") as chat:
            speech = await chat.speak(turn="t")
            with pytest.raises(TurnRefused) as refused:
                await speech.stop()
    assert refused.value.code == "no_speech"


def test_recordings_that_can_be_said(tmp_path: Path) -> None:
    path = tmp_path / "said.wav"
    with wave.open(str(path), "wb") as file:
        file.setnchannels(2)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(bytes(range(200)) * 4)
    recording = read_wav(path)
    assert (recording.format.rate, recording.format.channels) == (8000, 2)
    assert [len(piece) for piece in recording.pieces()] == [640, 160]


@pytest.mark.parametrize("width", [0, 1])
def test_recordings_that_cannot(tmp_path: Path, width: int) -> None:
    path = tmp_path / "said.wav"
    if width:
        with wave.open(str(path), "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(width)
            file.setframerate(8000)
            file.writeframes(b"abc")
    else:
        path.write_bytes(b"no sound")
    with pytest.raises(ClientError, match=r"said\.wav"):
        read_wav(path)


def test_what_is_taken_back_is_not_written(tmp_path: Path) -> None:
    answered = Answered()
    for at in (0, 800):
        answered.on_audio(AnswerAudio(turn="t", sentence=0, at=at, rate=8000), b"\x01\x02" * 800)
    answered.on_sound(AnswerFlush(turn="t", ms=50))
    assert not answered.over.is_set()
    answered.on_sound(AnswerFlush(turn="t", ms=50, ended=True))
    answered.write(tmp_path / "out.wav")
    with wave.open(str(tmp_path / "out.wav")) as file:
        assert (file.getframerate(), file.getnframes()) == (8000, 400)
    assert answered.over.is_set()


async def test_an_answer_is_awaited_for_as_long_as_some_of_it_comes() -> None:
    answered = Answered()
    waiting = asyncio.create_task(answered.to_its_end(5.0))
    for at in range(3):
        answered.on_audio(AnswerAudio(turn="t", sentence=0, at=800 * at, rate=8000), bytes(1600))
        await asyncio.sleep(0)
        assert not waiting.done()
    answered.on_sound(AnswerSpoken(turn="t", ms=300))
    assert await waiting
    assert answered.seconds == pytest.approx(0.3)
    assert not await Answered().to_its_end(0.01)


@pytest.mark.parametrize(("status", "code"), [(TurnStatus.COMPLETED, 0), (TurnStatus.FAILED, 1)])
async def test_a_recordings_command_ends_as_its_turn_does(
    tmp_path: Path, status: TurnStatus, code: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """And tells that nobody could speak the answer."""
    for console in (common.out, common.err):
        monkeypatch.setattr(console, "_file", None)
    with wave.open(str(tmp_path / "said.wav"), "wb") as file:
        file.setparams((1, 2, 8000, 0, "NONE", ""))
        file.writeframes(bytes(320))

    async def script(socket: ServerConnection) -> None:
        turn = ""
        async for data in socket:
            match data if isinstance(data, str) or data[:1] in b"\xc4\xc5" else codec.decode_client(data):
                case Hello():
                    welcome = Welcome(session="s", resumed=False, gap=False, heartbeat_s=25, limits=LIMITS)
                    await socket.send(codec.encode_pack(welcome))
                case AudioStart(turn=turn):
                    pass
                case AudioStop():
                    latency = Latency(accepted_ms=1, first_token_ms=1, total_ms=1)
                    done = Done(
                        turn=turn, seq=0, position="p", status=status, text="", usage=None, sources=(), latency=latency
                    )
                    fault = Fault("unavailable", "nobody speaks at present", retryable=True)
                    for frame in (Accepted(turn=turn), done, AnswerSpoken(turn=turn, ms=0, fault=fault)):
                        await socket.send(codec.encode_pack(frame))

    async with websockets.serve(script, "127.0.0.1", 0) as server, asyncio.timeout(20):
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        said, out = tmp_path / "said.wav", tmp_path / "out.wav"
        ended = await listen(said, out, kb="k", session=None, url=url, token=None)
    with pytest.raises(typer.Exit) as left:
        common.leave(ended)
    assert left.value.exit_code == code
    assert "nobody speaks at present" in capsys.readouterr().err


async def test_where_the_answer_cannot_be_written_is_said_before_anything_is(tmp_path: Path) -> None:
    with wave.open(str(tmp_path / "said.wav"), "wb") as file:
        file.setparams((1, 2, 8000, 0, "NONE", ""))
    out = tmp_path / "nowhere" / "out.wav"
    with pytest.raises(ClientError, match="there is no folder"):
        await listen(tmp_path / "said.wav", out, kb="k", session=None, url="http://127.0.0.1:9", token=None)


def test_an_answer_is_spoken_to_what_was_spoken_only() -> None:
    with pytest.raises(typer.BadParameter, match="--audio"):
        chat(out=Path("out.wav"))


def test_an_empty_file_is_no_recording(tmp_path: Path) -> None:
    (tmp_path / "said.wav").write_bytes(b"")
    with pytest.raises(ClientError, match="it has no audio"):
        read_wav(tmp_path / "said.wav")
