"""Entry point of the `ftlab` command.

The command tree and what it needs are imported by `main`: a shell that completes the name of a command needs neither.
"""

import atexit
import gc
import os
import sys
from typing import TYPE_CHECKING, NoReturn

from ftlab.cli.command_table import command_in, names_for_bash, words_before_cursor

if TYPE_CHECKING:
    from ftlab.errors import FineTuneLabError

COLLECTED_AFTER = 100_000
"""Objects after which Python's garbage collector looks for unused ones; its default is 700."""


def main() -> NoReturn:
    """Run the command line. An error becomes one sentence on stderr and an exit code, never a traceback."""
    if (names := names_for_bash()) is not None:
        print("\n".join(names))
        sys.exit()
    _spare_collector()
    # Looking for plugins of pydantic reads the metadata of every installed package.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    from ftlab.cli.commands import app_with
    from ftlab.cli.exits import ExitCode, exit_code_of
    from ftlab.errors import FineTuneLabError
    from ftlab.formatting import without_controls

    completed = words_before_cursor()
    try:
        app_with(command_in(sys.argv[1:] if completed is None else completed))()
    except FineTuneLabError as error:
        _explain(error)
        sys.exit(exit_code_of(error))
    except OSError as error:
        print(without_controls(f"ftlab: {_what_failed(error)}"), file=sys.stderr)
        sys.exit(ExitCode.ERROR)
    sys.exit(ExitCode.OK)


def _spare_collector() -> None:
    """Have Python's garbage collector look less often, and not at all when the process ends.

    Nearly all that a command imports stays: looking through it took a seventh of the time of a short one. The monitor,
    which runs for long, sets the limit back.
    """
    gc.set_threshold(COLLECTED_AFTER)
    atexit.register(gc.freeze)


def _explain(error: "FineTuneLabError") -> None:
    from ftlab.errors import JobEndedError, JobFailedError
    from ftlab.formatting import one_line, without_controls

    if isinstance(error, JobEndedError):
        for line in error.log_tail:
            print(f"  | {one_line(line)}", file=sys.stderr)
    request = f" (request {error.request_id})" if error.request_id and error.status >= 500 else ""
    print(without_controls(f"ftlab: {error.message}{request}"), file=sys.stderr)
    if isinstance(error, JobFailedError):
        print(f"See why, and how to continue, with 'ftlab why {error.job_id}'.", file=sys.stderr)


def _what_failed(error: OSError) -> str:
    what = error.strerror or str(error) or type(error).__name__
    return f"{error.filename}: {what}." if error.filename else f"{what}."


if __name__ == "__main__":
    main()
