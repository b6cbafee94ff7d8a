"""The `parley` command."""

import typer

from parley_client.commands import ask, chat, dead, ingest, kb, status, up

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Run Parley, and talk to it.",
    epilog="Commands other than up and down speak to the gateway at --url (PARLEY_URL), with --token (PARLEY_TOKEN).",
)
app.command()(up.up)
app.command()(up.down)
app.command()(chat.chat)
app.command()(ask.ask)
app.command()(ingest.ingest)
app.add_typer(kb.app, name="kb")
app.command()(status.status)
app.add_typer(dead.app, name="dead")


def main() -> None:
    """Runs the command line."""
    app()
