"""Changing what waits or runs: `pause`, `resume`, `append`, `move`, `cancel`."""

from typing import TYPE_CHECKING, Annotated

import typer

from ftlab.cli.app import app
from ftlab.cli.jobs import YesOption, confirm
from ftlab.cli.session import Session, command
from ftlab.cli.watch import JobArgument

if TYPE_CHECKING:
    from ftlab.schemas import Job


@command(app)
def pause(session: Session, job: JobArgument) -> None:
    """Pause a job: it saves a checkpoint and gives its devices back."""
    paused = session.client.jobs.pause(job)
    _print_status(session, paused)
    session.output.talk(f"{paused.message} 'ftlab resume {paused.id}' lets it go on.")


@command(app)
def resume(
    session: Session,
    job: JobArgument,
    checkpoint: Annotated[
        str | None,
        typer.Option("--checkpoint", metavar="NAME", help="Go on from this one instead of the newest good one."),
    ] = None,
) -> None:
    """Put a paused job back into the queue."""
    resumed = session.client.jobs.resume(job, checkpoint)
    _print_status(session, resumed)
    session.output.talk(resumed.message)


@command(app)
def append(
    session: Session,
    job: JobArgument,
    datasets: Annotated[
        list[str], typer.Argument(metavar="DATASET...", help="Local files, or ids or names of datasets, in order.")
    ],
) -> None:
    """Have a job train on more files; a completed one is re-opened. Local files are uploaded first."""
    from pathlib import Path

    from ftlab.cli.job_source import dataset_file, looks_like_file
    from ftlab.cli.submit import dataset_id, require_dataset

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
    front: Annotated[bool, typer.Option("--front", help="Make it the first of its priority.")] = False,
    priority: Annotated[
        int | None, typer.Option("--priority", "-p", min=0, max=100, help="Give it this priority; higher goes first.")
    ] = None,
) -> None:
    """Change the place of a waiting job in the queue."""
    if not front and priority is None:
        raise typer.BadParameter("Say --front, --priority N, or both.")
    found = session.client.jobs.get(job)
    if priority is not None:
        found = session.client.jobs.set_priority(found.id, priority)
    if front:
        found = session.client.jobs.move_to_front(found.id)
    _print_status(session, found)
    session.output.talk(found.message)


@command(app)
def cancel(session: Session, job: JobArgument, yes: YesOption = False) -> None:
    """Cancel a job; its checkpoints are kept."""
    from ftlab.cli.text import steps

    found = session.client.jobs.get(job)
    progress = f", step {steps(found.step, found.total_steps)}" if found.step else ""
    confirm(f"Cancel job {found.name!r} ({found.id}, {found.status}{progress})?", yes)
    _print_status(session, session.client.jobs.cancel(found.id))


def _print_status(session: Session, job: "Job") -> None:
    if session.output.as_json:
        session.output.json(job)
    else:
        session.output.data(f"{job.id}\t{job.status}")
