"""Looking at jobs: `ls`, `show`, `metrics`, `checkpoints`, `queue`."""

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from ftlab.cli.app import app
from ftlab.cli.session import Session, command
from ftlab.cli.watch import JobArgument

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ftlab.schemas import Attempt, Job, MetricPoint

YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
LimitOption = Annotated[int, typer.Option("--limit", "-n", min=1, help="Newest records to show.")]


@command(app)
def ls(
    session: Session,
    status: Annotated[list[str] | None, typer.Option("--status", "-s", help="Only jobs in this status.")] = None,
    limit: LimitOption = 20,
) -> None:
    """List jobs, newest first."""
    from ftlab.cli.text import GLYPHS, duration, local_time, number, steps

    jobs = list(session.client.jobs.list(_statuses(status), limit))
    if session.output.as_json:
        session.output.json(jobs)
        return
    if not jobs:
        session.output.talk("There are no jobs. 'ftlab submit CONFIG.yaml' makes one.")
        return
    rows = [
        (
            job.id,
            job.name,
            f"{GLYPHS[job.status]} {job.status}",
            job.priority,
            steps(job.step, job.total_steps) if job.step else "",
            number(job.loss),
            duration(job.eta_s),
            local_time(job.created_at),
            _what_for(job.waiting_for),
        )
        for job in jobs
    ]
    session.output.table(("ID", "NAME", "STATUS", "PRIORITY", "STEP", "LOSS", "ETA", "CREATED", "WAITING FOR"), rows)


@command(app)
def show(session: Session, job: JobArgument) -> None:
    """Show one job, its attempts, and what each resume started from."""
    from ftlab.cli.text import one_line
    from ftlab.schemas import EventKind, NoticePayload, ResumedPayload
    from ftlab.schemas.events import DATA_CHECKED

    found = session.client.jobs.get(job)
    attempts = session.client.jobs.attempts(found.id)
    notices = list(session.client.jobs.events(found.id, kinds=EventKind.NOTICE))
    receipts = [event for event in notices if isinstance(event.payload, ResumedPayload)]
    checked = [
        event.payload.message
        for event in notices
        if isinstance(event.payload, NoticePayload) and event.payload.code == DATA_CHECKED
    ]
    if session.output.as_json:
        more = {"attempts": list(attempts), "receipts": receipts, DATA_CHECKED: checked[-1] if checked else None}
        session.output.json(found.model_dump(mode="json") | more)
        return
    session.output.record(_job_fields(found) | {"Data": checked[-1] if checked else None})
    for attempt in attempts:
        session.output.data(_attempt_line(attempt))
        for event in receipts:
            if event.attempt == attempt.number and isinstance(event.payload, ResumedPayload):
                session.output.data(f"  {one_line(event.payload.message)}")


@command(app)
def metrics(
    session: Session,
    job: JobArgument,
    names: Annotated[list[str] | None, typer.Option("--name", help="Only this metric; may be repeated.")] = None,
    max_points: Annotated[int, typer.Option("--max-points", min=2, max=10_000, help="Points a metric.")] = 2000,
) -> None:
    """Print a job's metrics, one row a step."""
    points = session.client.jobs.metrics(job, names, max_points)
    if session.output.as_json:
        session.output.json(list(points))
    elif points:
        session.output.table(*_by_step(points))
    else:
        session.output.talk("There are no metrics yet.")


@command(app)
def checkpoints(session: Session, job: JobArgument) -> None:
    """List a job's checkpoints, newest first."""
    from ftlab.cli.text import local_time, number, size

    found = session.client.jobs.checkpoints(job)
    if session.output.as_json:
        session.output.json(list(found))
        return
    rows = [
        (
            item.name,
            item.step,
            number(item.metrics.get("loss")),
            number(item.metrics.get("eval_loss")),
            "best" if item.is_best else "",
            size(item.size_bytes),
            local_time(item.created_at),
        )
        for item in found
    ]
    session.output.table(("NAME", "STEP", "LOSS", "EVAL LOSS", "BEST", "SIZE", "CREATED"), rows)


@command(app)
def queue(
    session: Session,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=100, help="Waiting jobs to show.")] = 20,
) -> None:
    """Show what runs and what waits, in order."""
    from ftlab.cli.text import local_time

    found = session.client.queue(limit=limit)
    if session.output.as_json:
        session.output.json(found)
        return
    rows: list[tuple[object, ...]] = [("running", job_id, "", "", "", "") for job_id in found.running]
    rows += [
        (
            entry.position,
            entry.job_id,
            entry.name,
            entry.priority,
            local_time(entry.created_at),
            _what_for(entry.waiting_for),
        )
        for entry in found.queued
    ]
    session.output.table(("PLACE", "ID", "NAME", "PRIORITY", "CREATED", "WAITING FOR"), rows)
    if found.has_more:
        session.output.talk(f"{found.num_queued - len(found.queued)} more wait behind these.")
    if found.waiting_for:
        session.output.talk(found.waiting_for)


def confirm(question: str, yes: bool) -> None:
    """Ask before something is undone; where nobody can answer, `--yes` has to."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise typer.BadParameter(f"{question} Pass --yes: there is no terminal to confirm on.")
    if not typer.confirm(question, err=True):
        raise typer.Exit(1)


def _statuses(given: list[str] | None) -> list[str] | None:
    from ftlab.schemas.common import did_you_mean
    from ftlab.status import JobStatus

    known = [str(status) for status in JobStatus]
    for status in given or []:
        if status not in known:
            hint = did_you_mean(status, known)
            raise typer.BadParameter(f"{status!r} is not a status.{hint} The statuses are {', '.join(known)}.")
    return given or None


def _what_for(sentence: str | None) -> str:
    """What stands below "waiting for": the sentence without what the heading says already."""
    return (sentence or "").removeprefix("Waiting for ").removesuffix(".")


def _attempt_line(attempt: "Attempt") -> str:
    """`Attempt 2, 0:12:30 from step 50: worker_crashed, ...`."""
    from ftlab.cli.text import elapsed, one_line

    resumed_from = attempt.resumed_from_step
    origin = "from the base model" if resumed_from is None else f"from step {resumed_from}"
    end = f"{attempt.reason}, {one_line(attempt.message or '')}" if attempt.ended_at else "alive"
    return f"Attempt {attempt.number}, {elapsed(attempt.created_at, attempt.ended_at)} {origin}: {end}"


def _job_fields(job: "Job") -> dict[str, object]:
    from ftlab.cli.text import GLYPHS, duration, elapsed, files, local_time, number, steps

    return {
        "Id": job.id,
        "Name": job.name,
        "Status": f"{GLYPHS[job.status]} {job.status}",
        "Message": job.message,
        "Reason": job.reason,
        "Priority": job.priority,
        "Queue place": job.queue_position,
        "Base model": job.config.get("model"),
        "Dataset": ", ".join(job.datasets),
        "Step": steps(job.step, job.total_steps) if job.step else None,
        "File": files(job.file, job.num_files, job.file_progress).removeprefix("file ") or None,
        "Epoch": number(job.epoch),
        "Loss": number(job.loss),
        "Eval loss": number(job.eval_loss),
        "ETA": duration(job.eta_s),
        "Retries used": job.retries_used or None,
        "Model": job.model_id,
        "MLflow run": job.mlflow_run_id,
        "Created": local_time(job.created_at),
        "Started": local_time(job.started_at),
        "Paused": local_time(job.paused_at),
        "Finished": local_time(job.finished_at),
        "Ran for": elapsed(job.started_at, job.finished_at),
    }


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
