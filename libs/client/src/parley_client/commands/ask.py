"""`parley ask`: one question, one streamed answer."""

import asyncio
import signal
import sys
from typing import Annotated, Self

import msgspec
import typer

from parley_client.commands import common
from parley_client.connection import connect
from parley_client.options import ClientOptions
from parley_client.turn import Turn
from parley_protocol.client import AnswerDelta, Done, Restarted
from parley_protocol.events import TurnStatus


def ask(
    question: Annotated[str, typer.Argument(help="The question, or - to read it from standard input.")],
    kb: Annotated[str, typer.Option(help="Knowledge base to ask.")] = "default",
    deadline: Annotated[float | None, typer.Option(help="Give up after this many seconds.")] = None,
    session: Annotated[
        str | None, typer.Option(help="Go on with this conversation (--json prints the session).")
    ] = None,
    as_json: common.AsJson = False,
    url: common.Url = common.DEFAULT_URL,
    token: common.Token = None,
) -> None:
    """Ask one question and print the answer as it comes, then its sources and times. Ctrl-C cancels it.

    The exit status is 0 for a completed answer, 130 for a cancelled one and 1 for any other end.

    Examples:

        parley ask "What is a fence?"

        parley ask "断线以后怎么恢复？" --kb test --json
    """
    text = sys.stdin.read() if question == "-" else question
    options = ClientOptions(token=token, session=session, give_up_s=10.0, wait_first=False, on_notice=_notice)
    common.leave(common.run(_ask(url, options, text, kb, deadline, as_json=as_json)))


def _notice(text: str) -> None:
    common.err.print(f"[yellow]{common.escape(text)}[/yellow]")


async def _ask(
    url: str, options: ClientOptions, text: str, kb: str, deadline: float | None, *, as_json: bool
) -> TurnStatus:
    async with connect(url, options) as chat:
        with _Interrupts() as interrupts:
            turn = interrupts.turn = await chat.ask(text, kb=kb, deadline_s=deadline)
            async for event in turn:
                match event:
                    case AnswerDelta() if not as_json:
                        common.out.print(common.clean(event.text), end="", markup=False)
                    case Restarted() if not as_json:
                        common.out.print("\n[dim]… the answer starts anew:[/dim]")
                    case _:
                        pass
        done = await turn.done()
        _finish(done, chat.session or "", as_json=as_json)
        return done.status


class _Interrupts:
    """The first Ctrl-C cancels the turn, so that nobody works for it any more; another one, or one before the turn was
    accepted, leaves.
    """

    def __init__(self) -> None:
        self.turn: Turn | None = None
        self._loop = asyncio.get_running_loop()
        self._main = asyncio.current_task()
        self._cancelling: asyncio.Task[None] | None = None

    def __enter__(self) -> Self:
        self._loop.add_signal_handler(signal.SIGINT, self._arrived)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.remove_signal_handler(signal.SIGINT)

    def _arrived(self) -> None:
        if self.turn is not None and self._cancelling is None:
            self._cancelling = self._loop.create_task(self.turn.cancel())
        elif self._main is not None:
            self._main.cancel()


def _finish(done: Done, session: str, *, as_json: bool) -> None:
    if as_json:
        fields = msgspec.to_builtins(done) | {"session": session}
        sys.stdout.write(msgspec.json.encode(fields).decode() + "\n")
        return
    common.out.print()
    common.show_sources(done.sources, done.text)
    common.err.print(f"[dim]{common.escape(common.ending(done))}[/dim]")
