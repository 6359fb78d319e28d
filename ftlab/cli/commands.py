"""The command tree, of which a call imports only the modules of its own command.

Importing and building all of them takes longer than what most commands do.
"""

from importlib import import_module
from typing import Annotated

import typer

from ftlab.cli.app import app
from ftlab.cli.command_table import MODULES
from ftlab.cli.examples import add_examples
from ftlab.cli.session import JsonOption, QuietOption, ServerOption
from ftlab.version import installed_version


def app_with(command: str | None) -> typer.Typer:
    """The command tree with this command, and with all commands where none has this name."""
    found = [module for module, commands in MODULES.items() if command in commands]
    for module in found or MODULES:
        import_module(f"ftlab.cli.{module}")
    add_examples(app)
    return app


def _print_version(wanted: bool) -> None:
    if wanted:
        print(installed_version() or "not installed, run from a checkout")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
    server: ServerOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """The common options may also stand before the command, where `session.before_command` reads them."""
