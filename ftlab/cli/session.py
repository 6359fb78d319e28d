"""Common options, client and output of every command that connects to the service."""

import inspect
import sys
from collections.abc import Callable, Sequence
from functools import cached_property
from types import TracebackType
from typing import TYPE_CHECKING, Annotated, Any, Concatenate, ParamSpec, Self

import typer

if TYPE_CHECKING:
    from ftlab.cli.output import Output
    from ftlab.client import AsyncClient, Client
    from ftlab.settings import Settings

P = ParamSpec("P")

FIRST_CONTACT_S = 5.0
"""Retry budget in seconds of a command that only reads, while no service has ever answered; commands that wait for a
job are more patient.
"""

ServerOption = Annotated[
    str | None, typer.Option("--server", metavar="URL", help="Address of the service.", show_default=False)
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="Print data and errors only.")]

_COMMON: dict[str, tuple[Any, Any]] = {
    "server": (ServerOption, None),
    "as_json": (JsonOption, False),
    "quiet": (QuietOption, False),
}


def before_command(context: typer.Context, option: str) -> Any:
    """The value of a common option placed before the command, as in `ftlab --json ls`."""
    return context.find_root().params.get(option)


def refuse_unknown(given: Sequence[str] | None, known: list[str], kind: str, listed: str) -> None:
    """Raise `typer.BadParameter` for the first word that is not `known`; `listed` begins the list of those that are."""
    from ftlab.schemas.common import did_you_mean

    for word in given or ():
        if word not in known:
            hint = did_you_mean(word, known)
            raise typer.BadParameter(f"{word!r} is not {kind}.{hint} {listed} {', '.join(known)}.")


class Session:
    """Connection of one command to the service."""

    def __init__(self, server: str | None, output: "Output", patient: bool) -> None:
        self.server = server
        self.output = output
        self._patient = patient
        self._client: Client | None = None

    @property
    def client(self) -> "Client":
        """Connected on first use, so that a command that needs no service works without one."""
        if self._client is None:
            from ftlab.client import Client, RetryPolicy
            from ftlab.client.brief import BriefClient

            kind = Client if self._patient else BriefClient
            retry = RetryPolicy(first_contact_s=None if self._patient else FIRST_CONTACT_S)
            self._client = kind(*self._address(), retry=retry, owner=self._settings.owner or "")
        return self._client

    def async_client(self, budget_s: float) -> "AsyncClient":
        """A new client, which the caller closes; it tries each request again for `budget_s` seconds."""
        from ftlab.client import AsyncClient, RetryPolicy

        retry = RetryPolicy(budget_s=budget_s, max_retries=None if budget_s else 0)
        return AsyncClient(*self._address(), retry=retry, owner=self._settings.owner or "")

    def _address(self) -> tuple[str, str]:
        return self._settings.server_url, self._settings.api_key or ""

    @cached_property
    def _settings(self) -> "Settings":
        from ftlab.settings import load_settings

        return load_settings({"server": self.server}, with_login=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._client is not None:
            self._client.close()


def command(
    app: typer.Typer, name: str | None = None, *, patient: bool = False, is_default: bool = False
) -> Callable[[Callable[Concatenate[Session, P], None]], Callable[Concatenate[Session, P], None]]:
    """Register a command with the options `--server`, `--json` and `--quiet`; it gets a `Session` first.

    `patient` is for commands that follow a job: they outlive a restart of the service from the start. `is_default` is
    for what a group of commands does without one of them.
    """

    def register(function: Callable[Concatenate[Session, P], None]) -> Callable[Concatenate[Session, P], None]:
        def run(context: typer.Context, server: str | None, as_json: bool, quiet: bool, **arguments: Any) -> None:
            from ftlab.cli.exits import exit_code_of
            from ftlab.cli.output import Output, json_text
            from ftlab.errors import FineTuneLabError

            if context.invoked_subcommand is not None:
                return
            as_json = as_json or before_command(context, "as_json")
            output = Output(as_json, quiet or before_command(context, "quiet"))
            with Session(server or before_command(context, "server"), output, patient) as session:
                try:
                    function(session, **arguments)  # type: ignore[call-arg]
                except FineTuneLabError as error:
                    if not as_json:
                        raise
                    print(json_text(error.to_wire()), file=sys.stderr, flush=True)
                    raise typer.Exit(exit_code_of(error)) from None

        own = list(inspect.signature(function).parameters.values())[1:]
        common = [
            inspect.Parameter(option, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
            for option, (annotation, default) in _COMMON.items()
        ]
        first = inspect.Parameter("context", inspect.Parameter.KEYWORD_ONLY, annotation=typer.Context)
        parameters = [first] + [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in own] + common
        run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        run.__doc__ = function.__doc__
        if is_default:
            app.callback(invoke_without_command=True)(run)
        else:
            app.command(name or function.__name__)(run)
        return function

    return register
