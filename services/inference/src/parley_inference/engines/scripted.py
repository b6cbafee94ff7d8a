"""``scripted``: the same tokens at the same pace every time, for tests and benchmarks. Never chosen by ``auto``.

A question may hold directives, as words of their own between blanks:

    tag=WORD   token k is ``WORD.t<k>`` in place of ``t<k>``: another turn's text, loss, doubling and disorder show
    salt       with a tag: token k is ``WORD.<run>.t<k>``, where <run> is six random hexadecimal digits of this run.
               No two runs agree then, so that a successor cannot go on where its predecessor was: it starts anew
    tokens=N   N tokens, whatever the setting
    every=MS   MS milliseconds before each token, whatever the setting
    call=NAME  in place of tokens: the call of the client's function NAME, where it offers one of that name
               (``args=JSON`` are its arguments). Asked again with what came of it, it says that first, then its tokens

Tokens are joined by one blank; the last one has none behind it. WORD is letters, digits, ``-`` and ``_``.
"""

import asyncio
import re
import secrets
from collections.abc import AsyncGenerator
from dataclasses import dataclass

from parley_inference.engine import Piece, Request
from parley_protocol.events import Ending, ToolCall, Usage
from parley_runtime.config import setting
from parley_runtime.errors import EngineError

NAME = "scripted"
MAX_TOKENS = 1_000_000
_TAG = re.compile(r"(?<!\S)tag=([\w-]+)(?!\S)", re.ASCII)
_SALT = re.compile(r"(?<!\S)salt(?!\S)")
_TOKENS = re.compile(r"(?<!\S)tokens=(\d{1,7})(?!\S)", re.ASCII)
_CALL = re.compile(r"(?<!\S)call=([\w.-]+)(?!\S)", re.ASCII)
_ARGS = re.compile(r"(?<!\S)args=(\{\S*\})(?!\S)")
_EVERY = re.compile(r"(?<!\S)every=(\d{1,7}(?:\.\d{1,3})?)(?!\S)", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class ScriptedSettings:
    """Settings of the engine for tests and benchmarks."""

    tokens: int = setting(
        "PARLEY_SCRIPT_TOKENS",
        20,
        "Tokens of each scripted answer; a question may say otherwise (tokens=N)",
        unit="tokens",
        minimum=1,
    )
    interval_ms: float = setting(
        "PARLEY_SCRIPT_INTERVAL_MS",
        0.0,
        "Time before each scripted token; a question may say otherwise (every=MS)",
        unit="milliseconds",
        zero="all at once",
        minimum=0,
    )
    sentence: int = setting(
        "PARLEY_SCRIPT_SENTENCE",
        0,
        "Tokens of each scripted sentence, which a full stop ends",
        unit="tokens",
        zero="no full stops",
        minimum=0,
    )
    fail_at: int = setting(
        "PARLEY_SCRIPT_FAIL_AT",
        0,
        "The scripted engine fails in place of this token (counted from 1), at every attempt",
        unit="token",
        zero="never",
        minimum=0,
    )


@dataclass(frozen=True, slots=True)
class Script:
    """One run's answer: ``count`` tokens, ``interval_s`` seconds before each; ``mark`` begins each of them, and a full
    stop ends each one that is the last of ``sentence``.
    """

    count: int
    interval_s: float
    mark: str = ""
    sentence: int = 0
    cut: bool = False
    """The client's own bound is below what was to be said."""

    def token(self, index: int) -> str:
        """The text of token ``index`` (from 1)."""
        stop = "." if self.sentence and index % self.sentence == 0 else ""
        return f"{self.mark}t{index}{stop}{'' if index == self.count else ' '}"


def script_of(request: Request, settings: ScriptedSettings) -> Script:
    """The script of one run: the settings, the question's directives upon them, and the client's own bound. Salted
    ones are new at every call.
    """
    question = request.question
    tokens, every, tag = _TOKENS.search(question), _EVERY.search(question), _TAG.search(question)
    wanted = min(MAX_TOKENS, max(1, int(tokens[1]))) if tokens else settings.tokens
    mark = f"{tag[1]}." if tag else ""
    if mark and _SALT.search(question):
        mark += f"{secrets.token_hex(3)}."
    count = min(wanted, request.sampling.max_tokens or wanted)
    interval_s = (float(every[1]) if every else settings.interval_ms) / 1000
    return Script(count, interval_s, mark, settings.sentence, count < wanted)


def call_of(request: Request) -> ToolCall | None:
    """What a question wants to be called, where the client offers it and has not called it yet."""
    sampling = request.sampling
    named = _CALL.search(request.question)
    name = named[1] if named else sampling.tool_choice.removeprefix("=") if sampling.tool_choice[:1] == "=" else ""
    called = request.messages and request.messages[-1].role == "tool"
    if called or sampling.tool_choice == "none" or all(tool.name != name for tool in sampling.tools):
        return None
    given = _ARGS.search(request.question)
    return ToolCall(f"call_{name}", name, given[1] if given else "{}")


class ScriptedGenerator:
    """Token *k* is ``t<k>`` and a space, so that loss, doubling and disorder can be seen in the text; what a question
    may change of that is said at the top.
    """

    name = NAME
    model = NAME
    deterministic = True
    continues = False
    calls_tools = True

    def __init__(self, settings: ScriptedSettings) -> None:
        self.settings = settings

    async def generate(self, request: Request, *, prefix: str = "") -> AsyncGenerator[Piece, None]:
        """Always the whole script, the part within ``prefix`` without waits. ``sampling.max_tokens`` cuts it."""
        script, fail_at = script_of(request, self.settings), self.settings.fail_at
        words = sum(len(message.content.split()) for message in request.messages)
        if (call := call_of(request)) is not None:
            yield Piece("", Usage(prompt_tokens=words, completion_tokens=1), ending=Ending(calls=(call,)))
            return
        loop = asyncio.get_running_loop()
        due, said = loop.time(), 0
        if request.messages and request.messages[-1].role == "tool":
            said = len(head := f"{request.messages[-1].content} ")
            yield Piece(head)
        for index in range(1, script.count + 1):
            # By the clock and not by sleeps added up, so that load does not stretch the script.
            due += script.interval_s if said >= len(prefix) else 0.0
            await asyncio.sleep(max(0.0, due - loop.time()))
            if index == fail_at:
                raise EngineError(f"the script fails at token {index} (PARLEY_SCRIPT_FAIL_AT)")
            text = script.token(index)
            said += len(text)
            yield Piece(text)
        cut = Ending("length") if script.cut else None
        yield Piece("", Usage(prompt_tokens=words, completion_tokens=script.count), ending=cut)

    def problem(self) -> str | None:
        """Always fine."""
        return None

    async def close(self) -> None:
        """Nothing to free."""
