"""Showing a job until it has ended: one live line on a terminal, plain lines elsewhere."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import typer

from ftlab.cli.exits import ExitCode
from ftlab.cli.run_view import RunView
from ftlab.cli.session import Session
from ftlab.errors import JobEndedError
from ftlab.formatting import duration, number
from ftlab.schemas import Event, EventKind, Job
from ftlab.status import JobKind

if TYPE_CHECKING:
    from rich.text import Text

    from ftlab.cli.output import Output


def follow_to_end(session: Session, job: Job, after: int) -> Job:
    """Show the job's events after a sequence number, and return the completed job.

    Raises `JobFailedError` and `JobCancelledError`.
    """
    display = _display(session.output, RunView.of(job))
    with display:
        for event in session.client.jobs.follow(job.id, after):
            display.show(event)
    ended = session.client.jobs.wait(job.id)
    results = [("loss", ended.loss), ("eval loss", ended.eval_loss)]
    shown = "".join(f", {name} {number(value)}" for name, value in results if value is not None)
    took = duration(ended.run_time_s)
    if ended.kind is not JobKind.TRAINING:
        session.output.talk(f"Completed after {took}.")
        return ended
    session.output.talk(f"Completed after {took} at step {ended.step}{shown}.")
    session.output.talk(f"Download the model with 'ftlab download {ended.id}'.")
    return ended


def follow_alone(session: Session, job: Job, after: int) -> None:
    """Show the only job of a command until it has ended; as JSON, print it then, also where it has not completed.

    Raises what `follow_to_end` raises.
    """
    try:
        ended = follow_to_end(session, job, after)
    except JobEndedError:
        if session.output.as_json:
            session.output.json(session.client.jobs.get(job.id))
        raise
    if session.output.as_json:
        session.output.json(ended)


@contextmanager
def detaching(session: Session, job_id: str) -> Iterator[None]:
    """Let Ctrl+C end the command with exit code 130, and report that the job keeps running."""
    try:
        yield
    except KeyboardInterrupt:
        session.output.talk(f"\nDetached. Job {job_id} keeps running; follow it again with 'ftlab wait -f {job_id}'.")
        raise typer.Exit(ExitCode.INTERRUPTED) from None


class _PlainDisplay:
    """Print one line per event that is worth one."""

    def __init__(self, output: "Output", view: RunView) -> None:
        self._output = output
        self._view = view

    def __enter__(self) -> None:
        return None

    def __exit__(self, *_: object) -> None:
        return None

    def show(self, event: Event) -> None:
        if line := self._view.apply(event):
            self._output.talk(line)


class _LiveDisplay:
    """One line that is redrawn; notices and status changes stay above it."""

    def __init__(self, view: RunView) -> None:
        from rich.console import Console
        from rich.live import Live

        self._view = view
        self._live = Live(
            console=Console(stderr=True, highlight=False),
            get_renderable=self._line,
            refresh_per_second=8,
            transient=True,
        )

    def __enter__(self) -> None:
        self._live.__enter__()

    def __exit__(self, *_: object) -> None:
        self._live.__exit__(None, None, None)

    def show(self, event: Event) -> None:
        from rich.text import Text

        line = self._view.apply(event)
        if line and event.kind not in (EventKind.METRICS, EventKind.PROGRESS):
            self._live.console.print(Text(line))

    def _line(self) -> "Text":
        from rich.text import Text

        return Text(self._view.live_line(), no_wrap=True, overflow="ellipsis")


def _display(output: "Output", view: RunView) -> _PlainDisplay | _LiveDisplay:
    return _LiveDisplay(view) if output.shows_progress else _PlainDisplay(output, view)
