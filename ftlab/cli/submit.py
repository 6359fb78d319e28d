"""`ftlab submit`: from a YAML file to a job in the queue."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ftlab.cli.app import app
from ftlab.cli.chains import check_chain, submit_chain
from ftlab.cli.session import Session, command

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ftlab.cli.job_source import JobSource
    from ftlab.client.wire import UploadOptions
    from ftlab.schemas import Dataset, Job


@command(app)
def submit(
    session: Session,
    file: Annotated[
        Path | None, typer.Argument(metavar="CONFIG.yaml", help="Job file; '-' reads standard input.")
    ] = None,
    template: Annotated[
        str | None, typer.Option("--template", "-t", metavar="NAME", help="Template that the settings are added to.")
    ] = None,
    model: Annotated[str | None, typer.Option("--model", metavar="MODEL", help="Base model.")] = None,
    dataset: Annotated[
        list[str] | None,
        typer.Option("--dataset", metavar="DATASET", help="File, id or name of the dataset; may be repeated."),
    ] = None,
    eval_dataset: Annotated[
        str | None,
        typer.Option("--eval-dataset", metavar="DATASET", help="File, id or name of the dataset to evaluate on."),
    ] = None,
    eval_split: Annotated[
        float | None,
        typer.Option("--eval-split", metavar="SHARE", help="Share of the rows to evaluate on, instead of a dataset."),
    ] = None,
    assignments: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override a setting, as a.b=value.")
    ] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Show progress until the job ends.")] = False,
    idempotency_key: Annotated[
        str | None,
        typer.Option(
            "--idempotency-key", metavar="KEY", help="Submitting again with the same key returns the first job."
        ),
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run", help="Validate the job, print all of its settings and what it would need; store nothing."
        ),
    ] = False,
) -> None:
    """Submit a job, or all jobs of a file; local dataset files are uploaded first, unless the service has them."""
    from ftlab.cli.job_source import read_chain, read_file, read_job

    if file is None and template is None:
        raise typer.BadParameter("Give a job file, or --template NAME.")
    job_file = read_file(file) if file else None
    base = session.client.templates.get(template) if template else None
    options = _settings(model=model, dataset=dataset, eval_dataset=eval_dataset, eval_split=eval_split)
    if job_file is not None and job_file.is_chain:
        if template or options or assignments:
            num_jobs = len(job_file.documents)
            raise typer.BadParameter(f"{job_file.source} has {num_jobs} jobs; give their settings in the file.")
        chain = read_chain(job_file)
        if dry_run:
            check_chain(session, chain)
        else:
            submit_chain(session, chain, idempotency_key, follow=follow, source=job_file.source)
        return
    source = read_job(job_file, assignments or [], template=base, options=options)
    if dry_run:
        from ftlab.cli.dry_run import print_dry_run

        print_dry_run(session, source)
        return
    ids = dataset_ids(session, [source], str(file or f"template {template!r}"))
    job = session.client.jobs.create(source.with_ids(ids), idempotency_key)
    if not follow:
        report_submitted(session, job)
        return
    _say_submitted(session, job)
    from ftlab.cli.follow import detaching, follow_alone

    with detaching(session, job.id):
        if not session.output.as_json:
            _print_job(session, job)
        follow_alone(session, job, after=0)


def _settings(
    model: str | None, dataset: list[str] | None, eval_dataset: str | None, eval_split: float | None
) -> dict[str, object]:
    """The settings that options give; files are named relative to the current folder, not to the job file."""

    def named(item: str) -> str:
        return str(Path(item).absolute()) if Path(item).is_file() else item

    datasets = [named(item) for item in dataset or ()]
    given = {
        "model": model,
        "dataset": datasets if len(datasets) > 1 else next(iter(datasets), None),
        "eval_dataset": named(eval_dataset) if eval_dataset else None,
        "eval_split": eval_split,
    }
    return {name: value for name, value in given.items() if value is not None}


def report_submitted(session: Session, job: "Job") -> None:
    """Print the job, its notices, and how to follow it."""
    _say_submitted(session, job)
    _print_job(session, job)
    _print_notices(session, job)
    _print_auto(session, job)
    how = f"'ftlab results {job.id}'" if job.is_cached else f"'ftlab wait -f {job.id}'"
    session.output.talk(f"{'See it' if job.is_cached else 'Follow it'} with {how}.")


def upload(session: Session, path: Path, options: "UploadOptions | None" = None) -> "Dataset":
    """Upload a file and report it."""
    from ftlab.client.wire import UploadOptions
    from ftlab.formatting import size

    with session.output.progress(f"Uploading {path.name}") as on_progress:
        dataset = session.client.datasets.upload(path, on_progress=on_progress, **vars(options or UploadOptions()))
    if dataset.is_duplicate:
        session.output.talk(f"{path.name} was uploaded before; using {dataset.id}.")
        return dataset
    skipped = f", {dataset.num_skipped} skipped" if dataset.num_skipped else ""
    session.output.talk(
        f"Uploaded {path.name} ({dataset.num_rows} rows{skipped}, {size(dataset.size_bytes)}) as {dataset.id}."
    )
    for problem in dataset.problems:
        session.output.talk(f"  skipped: {problem}")
    for field in dataset.unused_fields:
        session.output.talk(f"  {field}")
    return dataset


def dataset_ids(session: Session, jobs: "Sequence[JobSource]", source: str) -> dict[Path, str]:
    """The ids of all local files that jobs name; a file that the service does not have is uploaded.

    Raise `InvalidRequestError` before anything is uploaded when the name of a file was misspelt.
    """
    require_datasets(session, jobs, source)
    return {path: dataset_id(session, path) for path in dict.fromkeys(path for job in jobs for path in job.files)}


def require_datasets(session: Session, jobs: "Sequence[JobSource]", source: str) -> None:
    """Raise `InvalidRequestError` for a dataset that is neither a local file nor on the service."""
    for name in dict.fromkeys(name for job in jobs for name in job.missing_files):
        require_dataset(session, name, source)


def require_dataset(session: Session, name: str, source: str) -> None:
    """Raise `InvalidRequestError` when the service has no dataset of this name either: a file name was misspelt."""
    from ftlab.errors import InvalidRequestError, NotFoundError

    try:
        session.client.datasets.get(name)
    except NotFoundError:
        raise InvalidRequestError(
            f"{source}: there is no dataset file {name!r}, and no dataset with this name on the service.",
            "file_not_found",
            "dataset",
        ) from None


def dataset_id(session: Session, path: Path) -> str:
    """The newest dataset with this very content, else a new one.

    A submission that is repeated with its idempotency key is thereby the same request as before.
    """
    from ftlab.cli.dry_run import find_uploaded

    if (found := find_uploaded(session, path)) is not None:
        session.output.talk(f"{path.name} was uploaded before; using {found}.")
        return found
    return upload(session, path).id


def _say_submitted(session: Session, job: "Job") -> None:
    if job.is_cached:
        session.output.talk(f"These models were measured before on these rows, by job {job.name!r}.")
        return
    if job.is_replay:
        session.output.talk(f"This idempotency key was used before, for job {job.name!r}; it is {job.status}.")
        return
    place = f" at position {job.queue_position}" if job.queue_position else ""
    session.output.talk(f"Job {job.name!r} is in the queue{place}.")


def _print_notices(session: Session, job: "Job") -> None:
    """Print the notices about a new job, such as a base model that could not be checked."""
    from ftlab.schemas import NoticePayload
    from ftlab.schemas.events import AUTO_RESOLVED

    if session.output.quiet or job.is_replay or job.is_cached or job.last_seq <= 1:
        return
    for event in session.client.jobs.events(job.id, kinds="notice"):
        if isinstance(event.payload, NoticePayload) and event.payload.code != AUTO_RESOLVED:
            session.output.talk(f"Notice: {event.payload.message}")


def _print_auto(session: Session, job: "Job") -> None:
    """Print what each `auto` became, one setting after another."""
    from ftlab.cli.text import auto_lines

    if job.auto:
        session.output.talk("Chosen by the service:")
    for line in auto_lines(job.auto):
        session.output.talk(line)


def _print_job(session: Session, job: "Job") -> None:
    if session.output.as_json:
        session.output.json(job)
    else:
        session.output.data(job.id)
