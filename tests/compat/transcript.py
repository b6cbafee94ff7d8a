"""Transcripts: what a documented client and its server say to each other, as a file that people read.

    near /contact                     connect at the first gateway (`far`: at the second one); what is open is closed
    > {"type": "ping"}                the client sends this text as it stands
    < {"type": "pong", ...}           the next frame: a JSON object with these fields, and perhaps more
    <* {...}                          none, one or more frames like this
    meanwhile {...}                   such a frame comes between those that follow, once
    closed 1008                       the server closes with this code, and sends nothing before
    silence                           the server has nothing to say: a protocol ping is answered, no frame came before
    POST /v1/sessions {...}           an HTTP request at the gateway named last; `= 200 {...}` is what it answers

Lines with `>` that no `<` parts are sent before anything is read, as clients do that send in `onopen`. `$name` is what
was captured as `<text:name>`, or given by the test. Numbers are compared digit by digit.
"""

import asyncio
import json
import re
import ssl
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

LIMIT_S = 60.0
FOLDER = Path(__file__).parent / "transcripts"
PLACE = re.compile(r"<([a-z ]+)(?::(\w+))?>(?:\((.*)\))?")


class Digits(str):
    """A number as it was written."""

    __slots__ = ()


def read(text: str) -> Any:
    """JSON whose numbers keep their digits."""
    return json.loads(text, parse_float=Digits, parse_int=Digits)


def _is_time(value: Any) -> bool:
    return datetime.fromisoformat(value).utcoffset() == timedelta(0) and value.endswith("+00:00")


def _is_integer(value: Any) -> bool:
    return isinstance(value, Digits) and value.lstrip("-").isdecimal()


KINDS: dict[str, Callable[[Any], bool]] = {
    "any": lambda _: True,
    "text": lambda value: isinstance(value, str) and not isinstance(value, Digits) and value.strip() != "",
    "uuid": lambda value: str(uuid.UUID(value)) == value,
    "time": _is_time,
    "epoch": lambda value: isinstance(value, str) and not isinstance(value, Digits) and value.isdecimal(),
    "integer": _is_integer,
    "number": lambda value: isinstance(value, Digits),
}
"""What stands in a transcript for a value that is another one each time."""


@dataclass
class Matcher:
    """Compares frames with what a transcript says of them, and remembers what it names."""

    names: dict[str, str] = field(default_factory=dict)
    count: int = -1
    """Of the last frame with `<count>`: it goes up from 0 by one, frame after frame."""
    height: int = -1
    """The last `<rising>`."""

    def fill(self, text: str) -> str:
        """`text` with what is known in the places of `$name`."""
        return re.sub(r"\$(\w+)", lambda found: self.names[found[1]], text)

    def differs(self, wanted: Any, got: Any, where: str = "") -> str:
        """Where `got` is not as wanted, or nothing."""
        if isinstance(wanted, dict) and isinstance(got, dict):
            return next(filter(None, (self._field(name, wanted[name], got, where) for name in wanted)), "")
        if isinstance(wanted, list) and isinstance(got, list):
            if wanted and wanted[-1] == "<more>":
                wanted, got = wanted[:-1], got[: len(wanted) - 1]
            if len(wanted) != len(got):
                return f"{where} has {len(got)} entries, not {len(wanted)}"
            pairs = enumerate(zip(wanted, got, strict=True))
            return next(filter(None, (self.differs(*pair, f"{where}[{at}]") for at, pair in pairs)), "")
        if isinstance(wanted, str) and not isinstance(wanted, Digits) and (place := PLACE.fullmatch(wanted)):
            return self._place(place, got, where)
        same = type(wanted) is type(got) and wanted == got
        return "" if same else f"{where} is {got!r}, not {wanted!r}"

    def _field(self, name: str, wanted: Any, got: Mapping[str, Any], where: str) -> str:
        path = f"{where}.{name}"
        if wanted == "<absent>":
            return f"{path} is there" if name in got else ""
        return self.differs(wanted, got[name], path) if name in got else f"{path} is missing"

    def _place(self, place: re.Match[str], got: Any, where: str) -> str:
        kind, name, options = place.groups()
        if kind in ("count", "rising"):
            return self._figure(kind, got, where)
        if kind == "one of":
            fits = got in options.split("|")
        elif kind == "with":
            fits = isinstance(got, str) and options in got
        else:
            fits = False
            with suppress(TypeError, ValueError, AttributeError):
                fits = KINDS[kind](got)
        if fits and name:
            self.names[name] = str(got)
        return "" if fits else f"{where} is {got!r}, which is not {place[0]}"

    def _figure(self, kind: str, got: Any, where: str) -> str:
        number = int(got) if _is_integer(got) else None
        if number is None or (number != self.count + 1 if kind == "count" else number < self.height):
            return f"{where} is {got!r} after {self.count if kind == 'count' else self.height}"
        if kind == "count":
            self.count = number
        else:
            self.height = number
        return ""


@dataclass
class Player:
    """Plays transcripts against gateways: `sockets` are the addresses `near` and `far`, ws:// or wss://."""

    sockets: Sequence[str]
    trust: ssl.SSLContext | None = None
    matcher: Matcher = field(default_factory=Matcher)
    _socket: ClientConnection | None = None
    _base: str = ""
    _held: str | None = None
    _answer: httpx.Response | None = None
    _meanwhile: list[Any] = field(default_factory=list)

    async def play(self, name: str, **names: str) -> None:
        """Raises AssertionError that tells the line which did not go as written."""
        self.matcher.names |= names
        try:
            for number, line in lines((FOLDER / f"{name}.txt").read_text(encoding="utf-8")):
                try:
                    await self._line(*line)
                except (AssertionError, OSError, ConnectionClosed, TimeoutError) as error:
                    raise AssertionError(f"{name}.txt:{number}: {' '.join(line)}\n{error!r}") from error
        except AssertionError:
            self._held, self._meanwhile = None, []
            raise
        finally:
            await self._leave()

    async def _line(self, verb: str, rest: str) -> None:
        rest = self.matcher.fill(rest)
        match verb:
            case "near" | "far":
                await self._leave()
                self._base = self.sockets[verb == "far"]
                self._socket = await connect(self._base + rest, ssl=self._tls(), proxy=None, close_timeout=2)
            case ">":
                await self._open.send(rest)
            case "<":
                await self._expect(read(rest))
            case "meanwhile":
                self._meanwhile.append(read(rest))
            case "<*":
                while self._fits(read(rest), await self._frame()) == "":
                    self._held = None
            case "silence":
                await self._silence()
            case "closed":
                await self._closed(int(rest))
            case "POST" | "GET" | "DELETE":
                await self._ask(verb, *rest.split(" ", 1))
            case "=":
                self._compare(*rest.split(" ", 1))
            case _:
                raise AssertionError("no such line in a transcript")

    @property
    def _open(self) -> ClientConnection:
        assert self._socket is not None, "nothing is open: begin with `near PATH`"
        return self._socket

    def _tls(self) -> ssl.SSLContext | None:
        return self.trust if self._base.startswith("wss:") else None

    async def _leave(self) -> None:
        socket, self._socket, held, self._held = self._socket, None, self._held, None
        missed, self._meanwhile = self._meanwhile, []
        if socket is not None:
            await socket.close()
        assert held is None, f"a frame that the transcript does not have: {held}"
        assert missed == [], f"did not come: {missed}"

    async def _frame(self) -> str:
        while self._held is None:
            async with asyncio.timeout(LIMIT_S):
                data = await self._open.recv()
            assert isinstance(data, str), "servers send text"
            assert len(data.encode()) < 900 * 1024
            expected = next((one for one in self._meanwhile if self.matcher.differs(one, read(data)) == ""), None)
            if expected is None:
                self._held = data
            else:
                self._meanwhile.remove(expected)
        return self._held

    def _fits(self, wanted: Any, frame: str) -> str:
        before = self.matcher.count, self.matcher.height
        if "<count>" not in json.dumps(wanted):
            self.matcher.count = -1
        why = self.matcher.differs(wanted, read(frame))
        if why:
            self.matcher.count, self.matcher.height = before
        return why

    async def _expect(self, wanted: Any) -> None:
        frame = await self._frame()
        why = self._fits(wanted, frame)
        assert why == "", f"{why}: {frame[:600]}"
        self._held = None

    async def _silence(self) -> None:
        async with asyncio.timeout(LIMIT_S):
            await (await self._open.ping())
        with suppress(TimeoutError):
            async with asyncio.timeout(0):
                self._held = str(await self._open.recv())
        assert self._held is None, f"said unasked: {self._held}"

    async def _closed(self, code: int) -> None:
        try:
            async with asyncio.timeout(LIMIT_S):
                frame = await self._open.recv()
        except ConnectionClosed:
            frame = ""
        assert frame == "", f"before the close: {frame!r}"
        assert self._open.close_code == code, self._open.close_code

    async def _ask(self, verb: str, path: str, body: str = "") -> None:
        base = (self._base or self.sockets[0]).replace("ws", "http", 1)
        async with httpx.AsyncClient(verify=self.trust or True, trust_env=False, timeout=LIMIT_S) as http:
            headers = {"Content-Type": "application/json"}
            self._answer = await http.request(verb, base + path, content=body.encode(), headers=headers)

    def _compare(self, status: str, body: str) -> None:
        answer = self._answer
        assert answer is not None, "no request came before"
        assert str(answer.status_code) == status, f"{answer.status_code} {answer.text[:600]}"
        why = self.matcher.differs(read(body), read(answer.text))
        assert why == "", f"{why}: {answer.text[:600]}"


def lines(text: str) -> Iterator[tuple[int, tuple[str, str]]]:
    """(number, (verb, the rest)) of each line that says something."""
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip() and not line.startswith("#"):
            verb, _, rest = line.partition(" ")
            yield number, (verb, rest.strip())
