"""Entry point of the `ftlab` command."""

import sys
from typing import Annotated, NoReturn

import typer

# Each import registers its commands; their order is that of the help page.
from ftlab.cli import up as _up  # noqa: F401  isort: skip
from ftlab.cli import status as _status  # noqa: F401  isort: skip
from ftlab.cli import submit as _submit  # noqa: F401  isort: skip
from ftlab.cli import job_files as _job_files  # noqa: F401  isort: skip
from ftlab.cli import watch as _watch  # noqa: F401  isort: skip
from ftlab.cli import monitor as _monitor  # noqa: F401  isort: skip
from ftlab.cli import samples as _samples  # noqa: F401  isort: skip
from ftlab.cli import chat as _chat  # noqa: F401  isort: skip
from ftlab.cli import jobs as _jobs  # noqa: F401  isort: skip
from ftlab.cli import checkpoints as _checkpoints  # noqa: F401  isort: skip
from ftlab.cli import job_details as _job_details  # noqa: F401  isort: skip
from ftlab.cli import analyze as _analyze, why as _why  # noqa: F401  isort: skip
from ftlab.cli import compare as _compare  # noqa: F401  isort: skip
from ftlab.cli import evaluate as _evaluate  # noqa: F401  isort: skip
from ftlab.cli import export as _export  # noqa: F401  isort: skip
from ftlab.cli import sweep as _sweep  # noqa: F401  isort: skip
from ftlab.cli import control as _control  # noqa: F401  isort: skip
from ftlab.cli import download as _download  # noqa: F401  isort: skip
from ftlab.cli import records as _records  # noqa: F401  isort: skip
from ftlab.cli import import_openai as _import_openai  # noqa: F401  isort: skip
from ftlab.cli import templates as _templates  # noqa: F401  isort: skip
from ftlab.cli import models as _models  # noqa: F401  isort: skip
from ftlab.cli import inference as _inference  # noqa: F401  isort: skip
from ftlab.cli import preview as _preview  # noqa: F401  isort: skip
from ftlab.cli import checks as _checks  # noqa: F401  isort: skip
from ftlab.cli import notify as _notify  # noqa: F401  isort: skip
from ftlab.cli import costs as _costs  # noqa: F401  isort: skip
from ftlab.cli import nodes as _nodes  # noqa: F401  isort: skip
from ftlab.cli import disk as _disk  # noqa: F401  isort: skip
from ftlab.cli import quota as _quota  # noqa: F401  isort: skip
from ftlab.cli import users as _users  # noqa: F401  isort: skip
from ftlab.cli import keys as _keys  # noqa: F401  isort: skip
from ftlab.cli import login as _login  # noqa: F401  isort: skip
from ftlab.cli import mcp as _mcp  # noqa: F401  isort: skip
from ftlab.cli.app import app
from ftlab.cli.examples import add_examples
from ftlab.cli.exits import ExitCode, exit_code_of
from ftlab.cli.session import JsonOption, QuietOption, ServerOption
from ftlab.errors import FineTuneLabError, JobEndedError
from ftlab.formatting import one_line, without_controls
from ftlab.version import installed_version


def main() -> NoReturn:
    """Run the command line. An error becomes one sentence on stderr and an exit code, never a traceback."""
    try:
        app()
    except FineTuneLabError as error:
        _explain(error)
        sys.exit(exit_code_of(error))
    except OSError as error:
        print(without_controls(f"ftlab: {_what_failed(error)}"), file=sys.stderr)
        sys.exit(ExitCode.ERROR)
    sys.exit(ExitCode.OK)


def _explain(error: FineTuneLabError) -> None:
    if isinstance(error, JobEndedError):
        for line in error.log_tail:
            print(f"  | {one_line(line)}", file=sys.stderr)
    request = f" (request {error.request_id})" if error.request_id and error.status >= 500 else ""
    print(without_controls(f"ftlab: {error.message}{request}"), file=sys.stderr)


def _what_failed(error: OSError) -> str:
    what = error.strerror or str(error) or type(error).__name__
    return f"{error.filename}: {what}." if error.filename else f"{what}."


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


add_examples(app)


if __name__ == "__main__":
    main()
