"""`ftlab submit`: from a YAML file to a job in the queue."""

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ftlab.cli.app import app
from ftlab.cli.session import Session, command

if TYPE_CHECKING:
    from ftlab.cli.job_source import JobSource
    from ftlab.client.wire import UploadOptions
    from ftlab.schemas import Dataset, Job


REUSE_WINDOW = 1000
"""Newest datasets among which a file is looked for before it is uploaded."""


@command(app)
def submit(
    session: Session,
    file: Annotated[Path, typer.Argument(metavar="CONFIG.yaml", help="The job; '-' reads standard input.")],
    assignments: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override a setting, as a.b=value.")
    ] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Show the job until it has ended.")] = False,
    idempotency_key: Annotated[
        str | None,
        typer.Option("--idempotency-key", metavar="KEY", help="Submit at most one job with this key, however often."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check and print the job, send nothing.")] = False,
) -> None:
    """Submit a job; a local dataset file is uploaded first, unless the service has it already."""
    from ftlab.cli.job_source import read_job

    source = read_job(file, assignments or [])
    if dry_run:
        _print_config(session, source)
        return
    ids = {path: dataset_id(session, path) for path in source.files}
    job = session.client.jobs.create(source.with_ids(ids), idempotency_key)
    place = f" at place {job.queue_position}" if job.queue_position else ""
    session.output.talk(f"Job {job.name!r} is in the queue{place}.")
    if not follow:
        _print_job(session, job)
        session.output.talk(f"Follow it with 'ftlab wait -f {job.id}'.")
        return
    from ftlab.cli.follow import detaching, follow_to_end

    with detaching(session, job.id):
        if not session.output.as_json:
            _print_job(session, job)
        ended = follow_to_end(session, job, after=0)
    if session.output.as_json:
        session.output.json(ended)


def upload(session: Session, path: Path, options: "UploadOptions | None" = None) -> "Dataset":
    """Upload a file and say so."""
    from ftlab.cli.text import size
    from ftlab.client.wire import UploadOptions

    with session.output.transfer(f"Uploading {path.name}") as on_progress:
        dataset = session.client.datasets.upload(path, on_progress=on_progress, **vars(options or UploadOptions()))
    skipped = f", {dataset.num_skipped} left out" if dataset.num_skipped else ""
    session.output.talk(
        f"Uploaded {path.name} ({dataset.num_rows} rows{skipped}, {size(dataset.size_bytes)}) as {dataset.id}."
    )
    for problem in dataset.problems:
        session.output.talk(f"  left out: {problem}")
    for field in dataset.unused_fields:
        session.output.talk(f"  {field}")
    return dataset


def dataset_id(session: Session, path: Path) -> str:
    """The newest dataset with this very content, else a new one.

    A submit that is repeated with its idempotency key is thereby the same request as before.
    """
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    for dataset in session.client.datasets.list(REUSE_WINDOW):
        if dataset.sha256 == sha256:
            session.output.talk(f"{path.name} is on the service already, as {dataset.id}.")
            return dataset.id
    return upload(session, path).id


def _print_job(session: Session, job: "Job") -> None:
    if session.output.as_json:
        session.output.json(job)
    else:
        session.output.data(job.id)


def _print_config(session: Session, source: "JobSource") -> None:
    from ftlab.schemas.job_file import config_document, write_yaml

    document = config_document(source.config) | source.document({path: str(path) for path in source.files})
    if session.output.as_json:
        session.output.json(document)
    else:
        session.output.data(write_yaml(document).rstrip())
    session.output.talk("The job is valid; nothing was sent.")
