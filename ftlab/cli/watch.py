"""`ftlab wait`, `logs` and `events`: a job as it runs, through restarts of the service, and afterwards."""

import time
from collections import Counter
from typing import TYPE_CHECKING, Annotated

import typer

from ftlab.cli.app import app
from ftlab.cli.exits import ExitCode
from ftlab.cli.session import Session, command, refuse_unknown
from ftlab.cli.text import GLYPHS
from ftlab.formatting import one_line

if TYPE_CHECKING:
    from ftlab.schemas import Event, Job, LogLine

COMPLETION_TIMEOUT_S = 2.0
COMPLETED_JOBS = 100
"""Number of newest jobs offered for shell completion."""


def complete_job(incomplete: str) -> list[tuple[str, str]]:
    """Ids and names of the newest jobs for shell completion; none if the service does not answer at once."""
    from ftlab.client import RetryPolicy
    from ftlab.client.brief import BriefClient
    from ftlab.errors import FineTuneLabError

    try:
        with BriefClient(timeout_s=COMPLETION_TIMEOUT_S, retry=RetryPolicy(max_retries=0)) as client:
            jobs = list(client.jobs.list(limit=COMPLETED_JOBS))
    except (FineTuneLabError, OSError):
        return []
    words = [(word, f"{job.name}, {job.status}") for job in jobs for word in (job.id, job.name)]
    return [(word, what) for word, what in words if word.startswith(incomplete) and " " not in word]


JobArgument = Annotated[
    str,
    typer.Argument(metavar="ID", help="Id, unique id prefix or unique name of a job.", autocompletion=complete_job),
]

JobsArgument = Annotated[
    list[str],
    typer.Argument(metavar="ID...", help="Jobs: ids, unique id prefixes or unique names.", autocompletion=complete_job),
]


@command(app, patient=True)
def wait(
    session: Session,
    ids: JobsArgument,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Show progress while waiting (one job only).")] = False,
    timeout_s: Annotated[float | None, typer.Option("--timeout", min=0, metavar="SECONDS", show_default=False)] = None,
) -> None:
    """Wait until jobs have ended; the exit code reports how.

    5: one failed, 6: one was cancelled, 7: timed out.
    """
    from ftlab.cli.follow import detaching, follow_alone

    if follow and (len(ids) > 1 or timeout_s is not None):
        raise typer.BadParameter("--follow works with one job only, and not with --timeout.")
    jobs = [session.client.jobs.get(text) for text in ids]
    with detaching(session, " ".join(job.id for job in jobs)):
        if follow:
            session.output.talk(f"{GLYPHS[jobs[0].status]} {jobs[0].message}")
            follow_alone(session, jobs[0], after=jobs[0].last_seq)
            return
        ended = _wait_for(session, jobs, timeout_s)
    if session.output.as_json:
        session.output.json(ended if len(ended) > 1 else ended[0])
    _exit_by(session, ended)


@command(app, patient=True)
def logs(
    session: Session,
    job: JobArgument,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Keep following until the job ends.")] = False,
    tail: Annotated[
        int, typer.Option("--tail", "-n", min=1, max=5000, help="Number of newest lines to show first.")
    ] = 200,
) -> None:
    """Print a job's log: status changes, steps, evaluations, checkpoints, notices and warnings."""
    from ftlab.cli.follow import detaching

    found = session.client.jobs.get(job)
    recorded = session.client.jobs.logs(found.id, tail)
    for line in recorded:
        _print_line(session, line)
    if not follow:
        return
    with detaching(session, found.id):
        # Lines that came between the two requests above would be printed twice.
        printed = Counter((line.at, line.text) for line in recorded)
        for event in session.client.jobs.follow(found.id, after=found.last_seq):
            for line in _lines_of(event):
                if printed[line.at, line.text] > 0:
                    printed[line.at, line.text] -= 1
                else:
                    _print_line(session, line)


@command(app, patient=True)
def events(
    session: Session,
    job: Annotated[
        str | None,
        typer.Argument(
            metavar="[ID]",
            help="Id, unique id prefix or unique name of a job; default: follow all jobs.",
            autocompletion=complete_job,
        ),
    ] = None,
    kinds: Annotated[
        list[str] | None, typer.Option("--kind", "-k", help="Show only events of this kind; may be repeated.")
    ] = None,
    after: Annotated[
        int | None,
        typer.Option("--after", min=0, help="Show only events with a higher number, or position among all jobs."),
    ] = None,
) -> None:
    """Print the events that are recorded of a job, oldest first; or those of all jobs, as they happen."""
    from ftlab.schemas import EventKind

    refuse_unknown(kinds, [str(kind) for kind in EventKind], "a kind of event", "Known:")
    if job is not None:
        found = session.client.jobs.get(job)
        for event in session.client.jobs.events(found.id, after or 0, kinds):
            _print_event(session, event, "")
        return
    stream = session.client.jobs.follow_all(after, kinds)
    try:
        for event in stream:
            _print_event(session, event, f"{event.job_id} ")
    except KeyboardInterrupt:
        session.output.talk(f"\nContinue with 'ftlab events --after {stream.position}'.")
        raise typer.Exit(ExitCode.INTERRUPTED) from None


def _print_event(session: Session, event: "Event", prefix: str) -> None:
    from ftlab.schemas.log_lines import event_text

    if session.output.as_json:
        session.output.json_line(event)
        return
    at = f"{event.at.astimezone():%Y-%m-%d %H:%M:%S}"
    session.output.data(f"{prefix}{event.seq:>6} {at} {event.kind:<10} {one_line(event_text(event.payload))}")


def _wait_for(session: Session, jobs: "list[Job]", timeout_s: float | None) -> "list[Job]":
    from ftlab.errors import WaitTimeoutError

    deadline = None if timeout_s is None else time.monotonic() + timeout_s
    ended = []
    for job in jobs:
        left_s = None if deadline is None else max(0.0, deadline - time.monotonic())
        try:
            found = session.client.jobs.wait(
                job.id, left_s, raise_on_failure=False, on_status=lambda seen: _say_paused(session, seen)
            )
        except WaitTimeoutError:
            # The time that was left for this job is not what the user asked for.
            raise WaitTimeoutError(f"Job {job.id} did not end within {timeout_s:g} s.") from None
        if not session.output.as_json:
            session.output.data(f"{found.id}\t{found.status}")
        ended.append(found)
    return ended


def _say_paused(session: Session, job: "Job") -> None:
    """Report that the job is paused: it does not continue until somebody resumes it."""
    from ftlab.status import JobStatus

    if job.status is JobStatus.PAUSED:
        session.output.talk(f"Job {job.id} is paused; resume it with 'ftlab resume {job.id}'.")


def _exit_by(session: Session, jobs: "list[Job]") -> None:
    """Raise the first failure's error, or else the first cancellation's."""
    from ftlab.status import JobStatus

    for status in (JobStatus.FAILED, JobStatus.CANCELLED):
        for job in jobs:
            if job.status is status:
                session.client.jobs.wait(job.id)


def _lines_of(event: "Event") -> "list[LogLine]":
    from ftlab.schemas.log_lines import log_lines

    return log_lines(event.payload, at=event.at, attempt=event.attempt)


def _print_line(session: Session, line: "LogLine") -> None:
    if session.output.as_json:
        session.output.json_line(line)
    else:
        session.output.data(f"{line.at.astimezone():%H:%M:%S} {line.level:<7} {one_line(line.text)}")
