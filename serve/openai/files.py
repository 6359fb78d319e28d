"""Files of `/v1`: each is one of our datasets, or the results of a job. Every function blocks on the store."""

from collections.abc import Mapping
from pathlib import Path

from ftlab.errors import InvalidRequestError
from ftlab.openai.rows import MAX_LINE_BYTES, options_of
from ftlab.schemas import Dataset
from ftlab.schemas.requests import UploadEnd
from serve.context import Services
from serve.datasets import service
from serve.openai.ids import dataset_id, file_id, seconds
from serve.openai.objects import OpenAiDeleted, OpenAiFile, OpenAiList, page
from train.data.formats.source import open_plain

PURPOSE = "fine-tune"
FORM_TEXTS = ("purpose", "expires_after[anchor]", "expires_after[seconds]")
"""Fields of the upload's form besides the file."""


def to_file(dataset: Dataset) -> OpenAiFile:
    """The dataset as a file, with what OpenAI does not have: `dataset_id`, `kind` and `num_rows`."""
    own = {"dataset_id": dataset.id, "kind": dataset.kind, "num_rows": dataset.num_rows}
    return OpenAiFile(
        id=file_id(dataset.id),
        bytes=dataset.size_bytes,
        created_at=seconds(dataset.created_at),
        filename=dataset.name,
        **own,
    )


def check_purpose(purpose: str | None) -> None:
    """Raise `InvalidRequestError` (`unsupported_purpose`) for files that nothing here reads."""
    if purpose is None:
        raise InvalidRequestError("purpose is required; set it to 'fine-tune'.", "missing_field", "purpose")
    if purpose != PURPOSE:
        raise InvalidRequestError(
            "Files are for fine-tuning only; set purpose to 'fine-tune'.",
            "unsupported_purpose",
            "purpose",
        )


def check_form(texts: Mapping[str, str]) -> None:
    """Raise `InvalidRequestError` for another purpose, and for an expiry, which files do not have here."""
    check_purpose(texts.get("purpose"))
    if any(name.startswith("expires_after") for name in texts):
        raise no_expiry()


def no_expiry() -> InvalidRequestError:
    message = "Files do not expire here; leave expires_after out, and delete the file when you no longer need it."
    return InvalidRequestError(message, "unsupported_expiry", "expires_after")


def read_options(source: Path) -> UploadEnd:
    """The shape and the columns of an uploaded file, from its first row; nothing where the usual detection reads it."""
    try:
        with open_plain(source) as file:
            line = file.readline(MAX_LINE_BYTES)
    except (ValueError, OSError, EOFError):
        return UploadEnd()  # what is wrong with the file is said when it is read as a whole
    return UploadEnd(**options_of(line))


def list_files(
    services: Services, owner: str, after: str | None, limit: int, *, oldest_first: bool
) -> OpenAiList[OpenAiFile]:
    """One page of the uploaded files. `after` is the id of the last file of the page before."""
    with services.store.read() as tx:
        found = tx.datasets.list(
            owner=owner, after=after and dataset_id(after), limit=limit + 1, oldest_first=oldest_first
        )
    return page([to_file(Dataset.of(record)) for record in found[:limit]], has_more=len(found) > limit)


def get_file(services: Services, owner: str, file: str) -> OpenAiFile:
    """Raise `NotFoundError`."""
    return to_file(service.get(services, owner, dataset_id(file)))


def delete_file(services: Services, owner: str, file: str) -> OpenAiDeleted:
    """Raise `NotFoundError`, and `ConflictError` (`dataset_in_use`) while a job that has not ended uses it."""
    service.remove(services, owner, dataset_id(file))
    return OpenAiDeleted(id=file, object="file")
