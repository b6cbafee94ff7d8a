"""The `parley` command."""

import typer

from parley_client.commands import ask, chat, dead, ingest, kb, readings, status, token, tutors, up

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Run Parley, and talk to it.",
    epilog="All but up, down and token speak to the gateway at --url (PARLEY_URL), with --token (PARLEY_TOKEN).",
)
app.command()(up.up)
app.command()(up.down)
app.command()(chat.chat)
app.command()(ask.ask)
app.command()(ingest.ingest)
app.add_typer(kb.app, name="kb")
app.add_typer(readings.app, name="readings")
app.command()(status.status)
app.add_typer(dead.app, name="dead")
app.command()(token.token)
app.add_typer(tutors.app, name="tutors")


def main() -> None:
    """Runs the command line."""
    app()
