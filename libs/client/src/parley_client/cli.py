"""The `parley` command."""

import typer

from parley_client.commands import up

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Run Parley, and talk to it.")
app.command()(up.up)
app.command()(up.down)


def main() -> None:
    """Runs the command line."""
    app()
