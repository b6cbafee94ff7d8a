"""`parley chat`: a conversation in the terminal."""

import asyncio
import signal
import sys
import threading
from pathlib import Path
from typing import Annotated, Any

import typer

from parley_client.commands import common
from parley_client.commands.listen import listen
from parley_client.connection import Chat, connect
from parley_client.errors import TurnLost, TurnRefused
from parley_client.options import ClientOptions
from parley_client.turn import Turn
from parley_protocol.client import RetrievalFrame, StatusFrame
from parley_protocol.events import Source

HELP = "/kb NAME  another knowledge base    /sources  passages of the last answer    /quit  leave    Ctrl-C  cancel"


def chat(
    kb: Annotated[str, typer.Option(help="Knowledge base to ask.")] = "default",
    session: Annotated[str | None, typer.Option(help="Go on with this conversation.")] = None,
    audio: Annotated[
        Path | None, typer.Option(help="Ask one question from this WAV file, said as fast as it was spoken.")
    ] = None,
    hands_free: Annotated[
        bool,
        typer.Option(help="With --audio: silence ends a question, and what is said over an answer may interrupt it."),
    ] = False,
    out: Annotated[Path | None, typer.Option(help="With --audio: have the answer spoken into this WAV file.")] = None,
    url: common.Url = common.DEFAULT_URL,
    token: common.Token = None,
) -> None:
    """Talk to Parley in the terminal: answers stream in, with their sources; follow-up questions are understood.

    Ctrl-C cancels the answer under way, and leaves when there is none or when it is pressed again. A dropped
    connection is resumed by itself.

    With --audio the exit status is 0 for a completed answer, hands free the last one, and 1 for any other end.
    """
    if audio is not None:
        said = listen(audio, out, kb=kb, session=session, url=url, token=token, hands_free=hands_free)
        common.leave(common.run(said))
    if hands_free:
        raise typer.BadParameter("there is no microphone here: --hands-free goes with --audio")
    if out is not None:
        raise typer.BadParameter("what is typed is answered in text: --out goes with --audio")
    options = ClientOptions(token=token, session=session, wait_first=False, on_notice=_notice)
    common.run(_Terminal(kb).talk(url, options))


def _notice(text: str) -> None:
    common.err.print(f"\n[yellow]{common.escape(text)}[/yellow]")


class _Terminal:
    """Reads questions in a daemon thread, so that the connection stays alive while the user thinks."""

    def __init__(self, kb: str) -> None:
        self._kb = kb
        self._turn: Turn | None = None
        self._sources: tuple[Source, ...] = ()
        self._lines: asyncio.Queue[str | None] = asyncio.Queue(1)
        self._ready = threading.Event()
        self._cancelling: asyncio.Task[None] | None = None
        self._main: asyncio.Task[Any] | None = None
        self._busy = False
        self._staged = False

    async def talk(self, url: str, options: ClientOptions) -> None:
        self._main = asyncio.current_task()
        async with connect(url, options) as chat:
            common.out.print(f"[bold]Parley[/bold] at {common.escape(url)}, knowledge base {common.escape(self._kb)}")
            common.out.print(f"[dim]{common.escape(HELP)}[/dim]")
            loop = asyncio.get_running_loop()
            loop.add_signal_handler(signal.SIGINT, self._interrupt)
            threading.Thread(target=self._read, args=(loop,), daemon=True).start()
            while (line := await self._next()) is not None:
                await self._handle(chat, line.strip())
            common.out.print(f"[dim]to go on later: parley chat --session {chat.session}[/dim]")

    async def _next(self) -> str | None:
        self._ready.set()
        return await self._lines.get()

    def _read(self, loop: asyncio.AbstractEventLoop) -> None:
        while True:
            self._ready.wait()
            self._ready.clear()
            try:
                line: str | None = input("\n› ")
            except EOFError:
                line = None
            asyncio.run_coroutine_threadsafe(self._lines.put(line), loop).result()
            if line is None:
                return

    def _interrupt(self) -> None:
        if self._turn is not None and self._cancelling is None:
            self._cancelling = asyncio.ensure_future(self._turn.cancel())
        elif not self._busy and not self._lines.full():
            common.out.print()
            self._lines.put_nowait(None)
        elif self._main is not None:
            self._main.cancel()

    async def _handle(self, chat: Chat, line: str) -> None:
        match line.split(maxsplit=1):
            case []:
                return
            case ["/quit" | "/exit"]:
                await self._lines.put(None)
            case ["/kb", name]:
                self._kb = name
                common.out.print(f"[dim]asking {common.escape(name)} from here on[/dim]")
            case ["/sources"]:
                self._passages()
            case [word, *_] if word.startswith("/"):
                common.out.print(f"[dim]{common.escape(HELP)}[/dim]")
            case _:
                await self._answer(chat, line)

    def _passages(self) -> None:
        for number, source in enumerate(self._sources, 1):
            common.out.print(f"[bold]\\[{number}] {common.escape(source.title or source.document)}[/bold]")
            common.out.print(common.clean(source.text), markup=False, style="dim")
        if not self._sources:
            common.out.print("[dim]no answer has had sources yet[/dim]")

    async def _answer(self, chat: Chat, text: str) -> None:
        self._busy = True
        try:
            self._turn = await chat.ask(text, kb=self._kb)
            async for event in self._turn:
                self._show(event)
        except TurnRefused as error:
            common.err.print(f"[red]{common.escape(error.code)}[/red]: {common.escape(str(error))}")
        except TurnLost as error:
            common.err.print(f"[red]lost[/red]: {common.escape(str(error))}")
        finally:
            self._turn = self._cancelling = None
            self._busy = False

    def _show(self, event: object) -> None:
        if self._staged:
            sys.stderr.write("\r\x1b[K")
            self._staged = False
        match event:
            case StatusFrame() if sys.stdout.isatty() and sys.stderr.isatty():
                common.err.print(f"[dim]{common.escape(event.stage)} …[/dim]", end="\r")
                self._staged = True
            case RetrievalFrame():
                self._sources = event.sources
            case _:
                common.show_answer(event)
