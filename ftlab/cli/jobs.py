"""Lists of jobs, and tables about one: `ls`, `metrics`, `queue`."""

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from ftlab.cli.app import app
from ftlab.cli.session import Session, command, refuse_unknown
from ftlab.cli.watch import JobArgument

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ftlab.schemas import Job, MetricPoint

MAIN_METRICS = ("loss", "eval_loss", "learning_rate", "tokens_per_s")

YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")]
LimitOption = Annotated[int, typer.Option("--limit", "-n", min=1, help="Maximum records to show, newest first.")]


@command(app)
def ls(
    session: Session,
    status: Annotated[
        list[str] | None, typer.Option("--status", "-s", help="Show only jobs with this status; may be repeated.")
    ] = None,
    kind: Annotated[str | None, typer.Option("--kind", help="Show only jobs of this kind, such as evaluation.")] = None,
    sweep: Annotated[
        str | None, typer.Option("--sweep", metavar="SWEEP", help="Show only the trials of this sweep.")
    ] = None,
    limit: LimitOption = 20,
) -> None:
    """List jobs: active ones first, then the newest."""
    from ftlab.cli.text import GLYPHS, status_and_phase, steps
    from ftlab.formatting import duration, number
    from ftlab.schemas.common import DEFAULT_PRIORITY
    from ftlab.status import JobKind

    jobs = _active_first(session, _statuses(status), _kind(kind), sweep, limit + 1)
    shown, has_more = jobs[:limit], len(jobs) > limit
    if session.output.as_json:
        session.output.json(shown)
        return
    if not jobs:
        session.output.talk(
            f"No job is {' or '.join(status)}."
            if status
            else f"There is no job of the kind '{kind}'."
            if kind
            else f"Sweep {sweep!r} has no jobs."
            if sweep
            else "There are no jobs. Create one with 'ftlab submit CONFIG.yaml'."
        )
        return
    rows: list[tuple[object, ...]] = [
        (
            job.id,
            job.name,
            f"{GLYPHS[job.status]} {status_and_phase(job.status, job.phase)}",
            job.priority,
            steps(job.step, job.total_steps) if job.step else "",
            number(job.loss),
            duration(job.eta_s or None),
            job.created_at,
            job.kind,
            _what_for(job.waiting_for),
        )
        for job in shown
    ]
    if sys.stdout.isatty() and all(job.priority == DEFAULT_PRIORITY for job in shown):
        rows = [(*row[:3], "", *row[4:]) for row in rows]
    if sys.stdout.isatty() and all(job.kind is JobKind.TRAINING for job in shown):
        rows = [(*row[:8], "", row[9]) for row in rows]
    columns = ("ID", "NAME", "STATUS", "PRIORITY", "STEP", "LOSS", "ETA", "CREATED", "KIND", "WAITING FOR")
    optional = ("KIND", "PRIORITY", "CREATED")
    session.output.table(columns, rows, shrink=("NAME", "WAITING FOR"), optional=optional)
    if has_more:
        session.output.talk(f"There are more jobs; show them with '--limit {2 * limit}'.")


@command(app)
def metrics(
    session: Session,
    job: JobArgument,
    names: Annotated[list[str] | None, typer.Option("--name", help="Show only this metric; may be repeated.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="Show every metric, not only the main ones.")] = False,
    max_points: Annotated[
        int, typer.Option("--max-points", min=2, max=10_000, help="Maximum points per metric.")
    ] = 2000,
) -> None:
    """Print a job's main metrics, one row per step."""
    if names and everything:
        raise typer.BadParameter("--name and --all cannot be combined.")
    wanted = names or (None if everything or session.output.as_json else MAIN_METRICS)
    points = session.client.jobs.metrics(job, wanted, max_points)
    missing = set(names or ()) - {point.name for point in points}
    if missing:
        known = list(dict.fromkeys(point.name for point in session.client.jobs.metrics(job, None, 2)))
        session.output.talk(_no_metrics(sorted(missing), known))
    if session.output.as_json:
        session.output.json(list(points))
    elif points:
        session.output.table(*_by_step(points))
    elif not names:
        session.output.talk("There are no metrics yet.")


@command(app)
def queue(
    session: Session,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=100, help="Maximum waiting jobs to show.")] = 20,
) -> None:
    """Show the running jobs and the waiting jobs, in order."""
    from ftlab.cli.text import status_and_phase, steps
    from ftlab.formatting import duration

    found = session.client.queue(limit=limit)
    if session.output.as_json:
        session.output.json(found)
        return
    if not found.running and not found.queued:
        session.output.talk("No job is running or queued.")
        return
    rows: list[tuple[object, ...]] = [
        (
            status_and_phase(job.status, job.phase),
            job.job_id,
            job.name,
            job.priority,
            steps(job.step, job.total_steps) if job.step else "",
            duration(job.eta_s or None),
            job.created_at,
            job.kind,
            "",
        )
        for job in found.running
    ]
    rows += [
        (job.position, job.job_id, job.name, job.priority, "", "", job.created_at, job.kind, _what_for(job.waiting_for))
        for job in found.queued
    ]
    columns = ("PLACE", "ID", "NAME", "PRIORITY", "STEP", "ETA", "CREATED", "KIND", "WAITING FOR")
    optional = ("KIND", "CREATED", "PRIORITY", "STEP")
    session.output.table(columns, rows, shrink=("NAME", "WAITING FOR"), optional=optional)
    if found.has_more:
        session.output.talk(f"{found.num_queued - len(found.queued)} more in the queue.")
    if found.waiting_for:
        session.output.talk(found.waiting_for)


def confirm(question: str, yes: bool) -> None:
    """Ask for confirmation before something is destroyed; without a terminal, `--yes` is required."""
    from ftlab.errors import InvalidRequestError

    if yes:
        return
    if not sys.stdin.isatty():
        raise InvalidRequestError(f"{question} Pass --yes: there is no terminal to confirm on.", "invalid_option")
    if not typer.confirm(question, err=True):
        raise typer.Exit(1)


def _statuses(given: list[str] | None) -> list[str] | None:
    from ftlab.status import JobStatus

    refuse_unknown(given, [str(status) for status in JobStatus], "a status", "The statuses are")
    return given or None


def _kind(given: str | None) -> str | None:
    from ftlab.status import JobKind

    refuse_unknown([given] if given else None, [str(kind) for kind in JobKind], "a kind of jobs", "The kinds are")
    return given


def _active_first(
    session: Session, statuses: list[str] | None, kind: str | None, sweep: str | None, limit: int
) -> "list[Job]":
    """Up to `limit` jobs: running ones, then waiting ones, then ended ones; each group newest first."""
    from ftlab.status import JobStatus

    waiting = [JobStatus.QUEUED, JobStatus.PAUSED]
    ended = [status for status in JobStatus if status.is_terminal]
    holding = [status for status in JobStatus if status not in waiting + ended]

    def listed(group: list[JobStatus], most: int) -> "list[Job]":
        wanted = [status for status in group if statuses is None or status in statuses]
        return list(session.client.jobs.list(wanted, most, kind=kind, sweep=sweep)) if wanted and most else []

    found = listed(holding + waiting, limit)
    if len(found) < limit:
        found.sort(key=lambda job: job.status in waiting)
    else:  # newer jobs that wait may have left out one that runs
        found = listed(holding, limit)
        found += listed(waiting, limit - len(found))
    return found + listed(ended, limit - len(found))


def _what_for(sentence: str | None) -> str:
    """The text below "waiting for": the sentence without the words of the heading."""
    return (sentence or "").removeprefix("Waiting for ").removesuffix(".")


def _no_metrics(missing: list[str], known: list[str]) -> str:
    if not known:
        return "There are no metrics yet."
    return f"The job has no metric {' or '.join(map(repr, missing))}. It has {', '.join(known)}."


def _by_step(points: "Sequence[MetricPoint]") -> tuple[list[str], list[list[object]]]:
    """Columns and rows of a table with a column for each metric."""
    names = list(dict.fromkeys(point.name for point in points))
    table: dict[int, dict[str, float]] = {}
    for point in points:
        table.setdefault(point.step, {})[point.name] = point.value
    rows: list[list[object]] = [
        [step, *(f"{values[name]:.6g}" if name in values else "" for name in names)]
        for step, values in sorted(table.items())
    ]
    return ["step", *names], rows
