"""`ftlab datasets ...` and `ftlab models ...`."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from ftlab.cli.app import CONTEXT, app
from ftlab.cli.download import report_file, target_file
from ftlab.cli.jobs import LimitOption, YesOption, confirm
from ftlab.cli.session import Session, command
from ftlab.cli.submit import upload

if TYPE_CHECKING:
    from ftlab.schemas import Dataset, TunedModel

    Record = TypeVar("Record", Dataset, TunedModel)

datasets = typer.Typer(help="Upload, list and delete datasets.", no_args_is_help=True, context_settings=CONTEXT)
models = typer.Typer(help="List tuned models, and check base models.", no_args_is_help=True, context_settings=CONTEXT)
app.add_typer(datasets, name="datasets")
app.add_typer(models, name="models")

DatasetArgument = Annotated[str, typer.Argument(metavar="ID", help="Id, unique id prefix or unique name of a dataset.")]
ModelArgument = Annotated[str, typer.Argument(metavar="ID", help="Id, unique id prefix or unique name of a model.")]


@command(datasets, "upload")
def upload_dataset(
    session: Session,
    file: Annotated[Path, typer.Argument(help="A file of rows: JSONL, JSON, CSV, TSV or Parquet.")],
    name: Annotated[str | None, typer.Option(help="Display name; default: the file's name.")] = None,
    bucket: Annotated[str | None, typer.Option(help="Bucket to store it in.", show_default=False)] = None,
    shape: Annotated[str | None, typer.Option(help="Shape of the rows; default: detected.")] = None,
    columns: Annotated[
        list[str] | None,
        typer.Option("--column", metavar="FIELD=COLUMN", help="Map a field of the shape to a column."),
    ] = None,
    accept_partial: Annotated[bool, typer.Option("--accept-partial", help="Skip rows that cannot be read.")] = False,
) -> None:
    """Upload a dataset and print its id. An interrupted upload of a large file resumes where it stopped."""
    from ftlab.client.wire import UploadOptions

    options = UploadOptions(name, bucket, shape, _columns(columns or []), accept_partial)
    dataset = upload(session, file, options)
    if session.output.as_json:
        session.output.json(dataset)
    else:
        session.output.data(dataset.id)


@command(datasets, "ls")
def list_datasets(session: Session, limit: LimitOption = 20) -> None:
    """List datasets, newest first."""
    from ftlab.formatting import size

    session.output.listing(
        session.client.datasets.list(limit),
        ("ID", "NAME", "BUCKET", "SHAPE", "ROWS", "SIZE", "CREATED"),
        lambda item: (
            *(item.id, item.name, item.bucket, item.shape),
            *(item.num_rows, size(item.size_bytes), item.created_at),
        ),
        empty="There are no datasets. Upload one with 'ftlab datasets upload FILE'.",
        shrink=("NAME", "BUCKET"),
        optional=("BUCKET", "SHAPE"),
    )


@command(datasets, "show")
def show_dataset(session: Session, dataset: DatasetArgument) -> None:
    """Show one dataset."""
    found = find_dataset(session, dataset)
    _show(session, found)
    if not session.output.as_json:
        for field in found.fields:
            session.output.data(str(field))


@command(datasets, "rm")
def remove_dataset(session: Session, dataset: DatasetArgument, yes: YesOption = False) -> None:
    """Delete a dataset that no waiting or running job uses."""
    found = find_dataset(session, dataset)
    confirm(f"Delete dataset {found.name!r} ({found.id}, {found.num_rows} rows)?", yes)
    session.client.datasets.delete(found.id)
    session.output.talk(f"Deleted {found.id}.")


@command(datasets, "mv")
def move_dataset(
    session: Session,
    dataset: DatasetArgument,
    bucket: Annotated[str, typer.Argument(metavar="BUCKET", help="Bucket to move it to.")],
) -> None:
    """Move a dataset into another bucket; its id stays."""
    moved = session.client.datasets.move(find_dataset(session, dataset).id, bucket)
    session.output.done(moved, f"Moved {moved.id} to bucket {moved.bucket}.")


@command(datasets, "url")
def dataset_url(
    session: Session,
    dataset: DatasetArgument,
    expires_s: Annotated[
        int | None,
        typer.Option("--expires-s", min=1, max=7 * 24 * 3600, metavar="SECONDS", help="Default: 24 hours."),
    ] = None,
) -> None:
    """Print a temporary URL at which anyone can download a dataset."""
    from ftlab.cli.text import local_time

    signed = session.client.datasets.url(find_dataset(session, dataset).id, expires_s)
    if session.output.as_json:
        session.output.json(signed)
        return
    session.output.data(signed.url)
    session.output.talk(f"Valid until {local_time(signed.expires_at)}.")


@command(datasets, "download")
def download_dataset(
    session: Session,
    dataset: DatasetArgument,
    file: Annotated[Path | None, typer.Option("--output", "-o", metavar="FILE", show_default=False)] = None,
) -> None:
    """Download a dataset as it was uploaded."""
    from ftlab.schemas.dataset_files import with_suffixes

    found = find_dataset(session, dataset)
    target = target_file(file, with_suffixes(found.id, found.format, found.compression))
    with session.output.progress(f"Downloading {target.name}") as on_progress:
        session.client.datasets.download(found.id, target, on_progress)
    report_file(session, target)


@command(models, "ls")
def list_models(session: Session, limit: LimitOption = 20) -> None:
    """List tuned models, newest first."""
    session.output.listing(
        session.client.models.list(limit),
        ("ID", "NAME", "KIND", "BASE MODEL", "JOB", "STEP", "CREATED", "PINNED"),
        lambda item: (
            *(item.id, item.name, item.kind, item.base_model, item.job_id, item.step, item.created_at),
            "pinned" if item.is_pinned else "",
        ),
        empty="There are no tuned models. A job delivers one when it completes.",
        shrink=("NAME", "BASE MODEL"),
        optional=("KIND", "CREATED", "STEP"),
    )


@command(models, "show")
def show_model(session: Session, model: ModelArgument) -> None:
    """Show one tuned model."""
    _show(session, find_model(session, model))


def _columns(assignments: list[str]) -> dict[str, str]:
    for assignment in assignments:
        if not all(assignment.partition("=")):
            raise typer.BadParameter(f"--column {assignment!r} must look like FIELD=COLUMN.")
    return {field: column for field, _, column in (assignment.partition("=") for assignment in assignments)}


def find_dataset(session: Session, text: str) -> "Dataset":
    client = session.client
    return _find("dataset", text, client.datasets.get, client.datasets.list)


def find_model(session: Session, text: str) -> "TunedModel":
    client = session.client
    return _find("model", text, client.models.get, client.models.list)


def _find(kind: str, text: str, get: "Callable[[str], Record]", list_all: "Callable[[], Iterable[Record]]") -> "Record":
    """The record with this id, unique name or unique id prefix."""
    from ftlab.errors import ConflictError, NotFoundError

    try:
        return get(text)
    except NotFoundError:
        records = list(list_all())
    fitting = [item for item in records if item.name == text]
    fitting = fitting or [item for item in records if _begins(item.id, text)]
    if not fitting:
        raise NotFoundError(f"There is no {kind} {text!r}.", f"{kind}_not_found")
    if len(fitting) > 1:
        ids = ", ".join(item.id for item in fitting[:5])
        raise ConflictError(f"{text!r} matches several {kind}s: {ids}.", "ambiguous")
    return fitting[0]


def _begins(record_id: str, text: str) -> bool:
    return bool(text) and (record_id.startswith(text) or record_id.partition("-")[2].startswith(text))


def _show(session: Session, record: "Dataset | TunedModel") -> None:
    if session.output.as_json:
        session.output.json(record)
        return
    fields = {
        _LABELS.get(name, name.replace("_", " ").capitalize()): _shown(name, value)
        for name, value in record
        if name != "fields"
    }
    session.output.record(fields)


_LABELS = {"num_rows": "Rows", "size_bytes": "Size", "sha256": "SHA-256", "num_skipped": "Rows left out"}


def _shown(name: str, value: object) -> object:
    """A value as text; `None` omits its line."""
    from datetime import datetime

    from ftlab.cli.text import local_time
    from ftlab.formatting import size

    if isinstance(value, datetime):
        return local_time(value)
    if name == "size_bytes" and isinstance(value, int):
        return size(value)
    if name == "confidence" and isinstance(value, float):
        return f"{value:.0%}"
    if isinstance(value, dict):
        return ", ".join(f"{key}={item}" for key, item in value.items())
    if isinstance(value, list | tuple):
        return "; ".join(map(str, value))
    return value or None if name == "num_skipped" else value
