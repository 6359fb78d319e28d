"""Changing jobs: `pause`, `resume`, `append`, `move`, `cancel`, `rm`."""

import sys
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from ftlab.cli.app import app
from ftlab.cli.jobs import YesOption, confirm
from ftlab.cli.session import Session, command
from ftlab.cli.watch import JobArgument, JobsArgument
from ftlab.formatting import without_controls

if TYPE_CHECKING:
    from collections.abc import Callable

    from ftlab.schemas import Job

Changed = TypeVar("Changed")


@command(app)
def pause(session: Session, jobs: JobsArgument) -> None:
    """Pause jobs: each saves a checkpoint and releases its devices."""

    def pause_one(job: str) -> "Job":
        paused = session.client.jobs.pause(job)
        session.output.talk(f"{paused.message} Resume it with: ftlab resume {paused.id}")
        return paused

    _for_each(session, jobs, pause_one, _status_line)


@command(app)
def resume(
    session: Session,
    jobs: JobsArgument,
    checkpoint: Annotated[
        str | None,
        typer.Option(
            "--checkpoint",
            metavar="NAME",
            help="Resume from this checkpoint, 'best' or 'latest', instead of the newest intact one.",
        ),
    ] = None,
    assignments: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change a setting, as a.b=value.")
    ] = None,
    suggested: Annotated[
        bool, typer.Option("--suggested", help="Make the changes that the analysis of the failure suggests first.")
    ] = False,
    original: Annotated[
        bool, typer.Option("--original", help="Undo all changes of the settings since the job was submitted.")
    ] = False,
) -> None:
    """Put paused, failed or cancelled jobs back into the queue, also with other settings."""
    if checkpoint not in (None, "best", "latest") and len(jobs) > 1:
        raise typer.BadParameter("--checkpoint with the name of a checkpoint works with one job only.")
    changes = _adjustments(session, assignments or [])

    def resume_one(job: str) -> "Job":
        num_before = len(session.client.jobs.get(job).adjustments) if changes or suggested or original else 0
        resumed = session.client.jobs.resume(
            job, checkpoint, config_adjustments=changes or None, suggested=suggested, original=original
        )
        session.output.talk(resumed.message)
        for adjustment in resumed.adjustments[num_before:] if changes or suggested or original else ():
            session.output.talk(f"Changed: {adjustment.sentence}.")
        return resumed

    _for_each(session, jobs, resume_one, _status_line)


def _adjustments(session: Session, assignments: list[str]) -> dict[str, object]:
    """The settings of `--set`; a local file that a dataset field names is uploaded."""
    from pathlib import Path

    from ftlab.cli.job_source import DATASET_FIELDS, assign, dataset_file
    from ftlab.cli.submit import dataset_id

    changes: dict[str, object] = {}
    for assignment in assignments:
        assign(changes, assignment)
    for field in DATASET_FIELDS:
        given = changes.get(field)
        named = [dataset_file(item, Path.cwd(), "--set") for item in (given if isinstance(given, list) else [given])]
        if any(named):
            items = given if isinstance(given, list) else [given]
            ids = [dataset_id(session, file) if file else item for item, file in zip(items, named, strict=True)]
            changes[field] = ids if isinstance(given, list) else ids[0]
    return changes


@command(app)
def append(
    session: Session,
    job: JobArgument,
    datasets: Annotated[
        list[str], typer.Argument(metavar="DATASET...", help="Local files, or ids or names of datasets, in order.")
    ],
) -> None:
    """Add files to a job; a completed job is reopened and continues training. Local files are uploaded first."""
    from pathlib import Path

    from ftlab.cli.job_source import dataset_file
    from ftlab.cli.submit import dataset_id, require_dataset
    from ftlab.schemas.dataset_files import looks_like_file

    files = [dataset_file(name, Path.cwd(), "append") for name in datasets]
    for name, file in zip(datasets, files, strict=True):
        if file is None and looks_like_file(name):
            require_dataset(session, name, "append")
    ids = [name if file is None else dataset_id(session, file) for name, file in zip(datasets, files, strict=True)]
    longer = session.client.jobs.append(job, ids)
    _print_status(session, longer)
    session.output.talk(f"Job {longer.id} has {longer.num_files} files now. {longer.message}")


@command(app)
def move(
    session: Session,
    job: JobArgument,
    front: Annotated[bool, typer.Option("--front", help="Move it ahead of other jobs with the same priority.")] = False,
    behind: Annotated[
        str | None, typer.Option("--behind", help="Move it behind this job, which has the same priority.")
    ] = None,
    priority: Annotated[
        int | None, typer.Option("--priority", "-p", min=0, max=100, help="Set this priority; a higher one runs first.")
    ] = None,
) -> None:
    """Change the place of a waiting job in the queue."""
    if not front and behind is None and priority is None:
        raise typer.BadParameter("Pass --front, --behind JOB or --priority N.")
    if front and behind is not None:
        raise typer.BadParameter("Pass either --front or --behind JOB.")
    found = session.client.jobs.get(job)
    if priority is not None:
        found = session.client.jobs.set_priority(found.id, priority)
    if front:
        found = session.client.jobs.move_to_front(found.id)
    if behind is not None:
        found = session.client.jobs.move_behind(found.id, behind)
    _print_status(session, found)
    session.output.talk(found.message)


@command(app)
def release(session: Session, job: JobArgument) -> None:
    """Let a waiting job start without the jobs that it waits for."""
    released = session.client.chains.release(session.client.jobs.get(job).id)
    _print_status(session, released)
    session.output.talk(released.message)


@command(app)
def cancel(session: Session, jobs: JobsArgument, yes: YesOption = False) -> None:
    """Cancel jobs; their checkpoints are kept."""
    found = [session.client.jobs.get(job) for job in jobs]
    described = [_described(job) for job in found]
    question = (
        f"Cancel job {described[0]}?" if len(found) == 1 else f"Cancel {len(found)} jobs: {', '.join(described)}?"
    )
    confirm(question, yes)
    _for_each(session, [job.id for job in found], session.client.jobs.cancel, _status_line)


@command(app)
def rm(
    session: Session,
    jobs: JobsArgument,
    artifact: Annotated[
        str | None, typer.Option("--artifact", metavar="NAME", help="Delete only this artifact of an export.")
    ] = None,
    yes: YesOption = False,
) -> None:
    """Delete jobs that have ended, with their checkpoints, logs and models, or an artifact of an export."""
    if artifact is not None:
        _remove_artifact(session, jobs, artifact, yes)
        return
    found = list({job.id: job for job in (session.client.jobs.get(text) for text in jobs)}.values())
    described = [_described(job) for job in found]
    what = (
        f"Delete job {described[0]} with its checkpoints, logs and model?"
        if len(found) == 1
        else f"Delete {len(found)} jobs with their checkpoints, logs and models: {', '.join(described)}?"
    )
    confirm(f"{what} This cannot be undone. MLflow runs and registered models stay.", yes)

    def delete(job: str) -> dict[str, object]:
        session.client.jobs.delete(job)
        return {"id": job, "deleted": True}

    _for_each(session, [job.id for job in found], delete, lambda deleted: f"{deleted['id']}\tdeleted")


def _remove_artifact(session: Session, exports: list[str], artifact: str, yes: bool) -> None:
    if len(exports) != 1:
        raise typer.BadParameter("--artifact needs one export.")
    found = session.client.jobs.get(exports[0])
    confirm(f"Delete {artifact} of export {found.name!r} ({found.id})? This cannot be undone.", yes)
    session.client.exports.delete(found.id, artifact)
    session.output.done(
        {"id": found.id, "artifact": artifact, "deleted": True}, f"Deleted {artifact} of export {found.name!r}."
    )


def _described(job: "Job") -> str:
    from ftlab.cli.text import steps

    progress = f", step {steps(job.step, job.total_steps)}" if job.step else ""
    return f"{job.name!r} ({job.id}, {job.status}{progress})"


def _for_each(
    session: Session, jobs: list[str], change: "Callable[[str], Changed]", line: "Callable[[Changed], str]"
) -> None:
    """Change each job and print its result, as JSON or as a `line`.

    If one cannot be changed, continue with the others, and raise the first error at the end.
    """
    from ftlab.errors import FineTuneLabError

    errors: list[FineTuneLabError] = []
    changed = []
    for job in jobs:
        try:
            changed.append(change(job))
        except FineTuneLabError as error:
            errors.append(error)
            continue
        if not session.output.as_json:
            session.output.data(line(changed[-1]))
    if session.output.as_json and changed:
        session.output.json(changed if len(jobs) > 1 else changed[0])
    for other in errors[1:]:
        print(without_controls(f"ftlab: {other.message}"), file=sys.stderr)
    if errors:
        raise errors[0]


def _print_status(session: Session, job: "Job") -> None:
    if session.output.as_json:
        session.output.json(job)
    else:
        session.output.data(_status_line(job))


def _status_line(job: "Job") -> str:
    return f"{job.id}\t{job.status}"
