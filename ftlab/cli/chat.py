"""`ftlab chat`: chat with a model, or with the base model that it was trained from."""

import sys
import time
from contextlib import suppress
from typing import Annotated, Any

import typer

from ftlab.cli.app import app
from ftlab.cli.session import Session, command
from ftlab.cli.watch import complete_job
from ftlab.formatting import without_controls

POLL_S = 3.0
NOT_READY = "engine_not_ready"
"""Code of a request whose engine waits for devices."""
PROMPT = "> "

Conversation = list[dict[str, str]]


@command(app, patient=True)
def chat(
    session: Session,
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL",
            help="Id or name of a job, or the name of a model, such as 'job:NAME/step-10', 'ft:...' or 'org/name'.",
            autocompletion=complete_job,
        ),
    ],
    message: Annotated[
        str | None, typer.Argument(help="What to say. Default: standard input, or a conversation in the terminal.")
    ] = None,
    base: Annotated[bool, typer.Option("--base", help="Chat with the base model of the job instead.")] = False,
    system: Annotated[str | None, typer.Option("--system", help="System message of the conversation.")] = None,
    temperature: Annotated[
        float | None, typer.Option("--temperature", min=0.0, max=2.0, help="0 always takes the most likely token.")
    ] = None,
    max_tokens: Annotated[int | None, typer.Option("--max-tokens", min=1, help="Longest answer.")] = None,
    seed: Annotated[int | None, typer.Option("--seed", help="Seed of the random choices.")] = None,
) -> None:
    """Chat with a model in the terminal."""
    name = _name_of(session, model, base=base)
    given = {"temperature": temperature, "max_tokens": max_tokens, "seed": seed}
    options = {option: value for option, value in given.items() if value is not None}
    conversation: Conversation = [{"role": "system", "content": system}] if system else []
    if message is None and sys.stdin.isatty() and not session.output.as_json:
        _converse(session, name, conversation, options)
        return
    if message is None:
        message = sys.stdin.read().strip()
    if not message:
        raise typer.BadParameter("There is no message: give it as an argument, or on standard input.")
    conversation.append({"role": "user", "content": message})
    if session.output.as_json:
        session.output.json(_patiently(session, lambda: session.client.chat.create(name, conversation, **options)))
    else:
        _answer(session, name, conversation, options)


def _name_of(session: Session, model: str, *, base: bool) -> str:
    """The name of the model for a request."""
    from ftlab.cli.job_source import model_reference

    if not base:
        return model_reference(session, model)
    return str(session.client.jobs.get(model.removeprefix("job:").partition("/")[0]).config["model"])


def _converse(session: Session, name: str, conversation: Conversation, options: dict[str, Any]) -> None:
    """Read a message, print the answer, and so on, until the input ends."""
    session.output.talk(f"This is {name}. End the conversation with Ctrl-D.")
    with suppress(ImportError):
        import readline  # noqa: F401  history and editing of the input

    while True:
        try:
            said = input(PROMPT).strip()
        except EOFError:
            session.output.talk("")
            return
        if not said:
            continue
        conversation.append({"role": "user", "content": said})
        answer = _answer(session, name, conversation, options)
        conversation.append({"role": "assistant", "content": answer})


def _answer(session: Session, name: str, conversation: Conversation, options: dict[str, Any]) -> str:
    """Print an answer while it arrives."""

    def print_all() -> str:
        pieces = []
        for piece in session.client.chat.stream(name, conversation, tries_once=True, **options):
            pieces.append(piece)
            print(without_controls(piece), end="", flush=True)
        print(flush=True)
        return "".join(pieces)

    return str(_patiently(session, print_all))


def _patiently(session: Session, ask: Any) -> Any:
    """The result of `ask`, repeated while the engine waits for devices; says what it waits for."""
    from ftlab.errors import ServiceUnavailableError

    said: str | None = None
    while True:
        try:
            return ask()
        except ServiceUnavailableError as error:
            if error.code != NOT_READY:
                raise
            if error.message != said:
                said = error.message
                session.output.talk(said)
        time.sleep(POLL_S)
