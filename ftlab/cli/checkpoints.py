"""`ftlab checkpoints ...`: list, pin and delete checkpoints, one by one or by a rule."""

from typing import TYPE_CHECKING, Annotated

import typer

from ftlab.cli.app import CONTEXT, app
from ftlab.cli.delete_by_rule import Rows, delete_by_rule
from ftlab.cli.jobs import YesOption, confirm
from ftlab.cli.session import Session, command
from ftlab.cli.watch import JobArgument, complete_job

if TYPE_CHECKING:
    from ftlab.schemas.replies import CheckpointPrune

checkpoints = typer.Typer(help="List, pin and delete checkpoints.", no_args_is_help=True, context_settings=CONTEXT)
app.add_typer(checkpoints, name="checkpoints")

NameArgument = Annotated[
    str, typer.Argument(metavar="NAME", help="The checkpoint, such as step-00000120, or its step.")
]
NamesArgument = Annotated[list[str], typer.Argument(metavar="NAME...", help="The checkpoints, or their steps.")]


@command(checkpoints, "ls")
def list_checkpoints(session: Session, job: JobArgument) -> None:
    """List a job's checkpoints, newest first."""
    from ftlab.formatting import number, size

    session.output.listing(
        session.client.jobs.checkpoints(job),
        ("NAME", "STEP", "LOSS", "EVAL LOSS", "BEST", "SIZE", "CREATED", "PINNED"),
        lambda item: (
            *(item.name, item.step, number(item.metrics.get("loss")), number(item.metrics.get("eval_loss"))),
            *("best" if item.is_best else "", size(item.size_bytes), item.created_at),
            "pinned" if item.is_pinned else "",
        ),
    )


@command(checkpoints, "pin")
def pin(session: Session, job: JobArgument, name: NameArgument) -> None:
    """Keep a checkpoint until it is unpinned: neither a limit nor a rule removes it."""
    _set_pinned(session, job, name, is_pinned=True)


@command(checkpoints, "unpin")
def unpin(session: Session, job: JobArgument, name: NameArgument) -> None:
    """Let a checkpoint be removed again."""
    _set_pinned(session, job, name, is_pinned=False)


@command(checkpoints, "rm")
def remove(session: Session, job: JobArgument, names: NamesArgument, yes: YesOption = False) -> None:
    """Delete checkpoints of a job with their files."""
    found = session.client.jobs.get(job)
    confirm(f"Delete {', '.join(names)} of job {found.name!r} ({found.id})? This cannot be undone.", yes)
    for name in names:
        session.client.jobs.delete_checkpoint(found.id, name)
        session.output.talk(f"Deleted {name} of job {found.name!r}.")


@command(checkpoints, "prune")
def prune(
    session: Session,
    jobs: Annotated[
        list[str] | None,
        typer.Argument(metavar="[JOB...]", help="The jobs; default: all of yours.", autocompletion=complete_job),
    ] = None,
    older_than: Annotated[
        float, typer.Option("--older-than", metavar="DAYS", min=0, help="Only those saved more days ago.")
    ] = 0.0,
    keep_best: Annotated[bool, typer.Option(help="Keep the best checkpoint of each job.")] = True,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would be deleted.")] = False,
    yes: YesOption = False,
) -> None:
    """Delete old checkpoints, except pinned ones, the newest of each job, and those that are still needed."""
    from ftlab.formatting import size

    ids = [session.client.jobs.get(job).id for job in jobs or ()]

    def delete(dry: bool) -> "CheckpointPrune":
        return session.client.jobs.prune_checkpoints(ids, older_than_days=older_than, keep_best=keep_best, dry_run=dry)

    def rows(found: "CheckpointPrune") -> Rows:
        deleted: Rows = [(item.job_id, item.name, size(item.size_bytes), item.created_at, "") for item in found.data]
        return deleted + [(item.job_id, item.name, "", "", f"stays: {item.reason}") for item in found.kept]

    header = ("JOB", "NAME", "SIZE", "CREATED", "")
    delete_by_rule(session, delete, noun="checkpoint", header=header, rows=rows, dry_run=dry_run, yes=yes)


def _set_pinned(session: Session, job: str, name: str, *, is_pinned: bool) -> None:
    found = session.client.jobs.get(job)
    changed = session.client.jobs.pin_checkpoint(found.id, name, is_pinned=is_pinned)
    session.output.done(
        changed, f"{changed.name} of job {found.name!r} is {'pinned' if is_pinned else 'no longer pinned'}."
    )
