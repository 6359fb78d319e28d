"""What is wrong with a dataset, as one error for the whole file."""

from collections.abc import Iterator
from contextlib import contextmanager

from ftlab.errors import FineTuneLabError, InvalidRequestError

_OF_A_FILE = ("dataset_invalid", "dataset_content_missing", "chat_template_unsupported")
"""Codes of errors that lie in one of a job's files."""


class DatasetInvalidError(InvalidRequestError):
    """The dataset cannot be trained on; the message says where and why, without quoting its rows."""

    default_code = "dataset_invalid"


@contextmanager
def named_file(dataset_id: str, *, is_eval: bool = False) -> Iterator[None]:
    """Say of what is wrong with one of a job's files in which dataset it is; the error stays what it is."""
    try:
        yield
    except FineTuneLabError as error:
        if error.code not in _OF_A_FILE:
            raise
        name = f"The eval dataset {dataset_id}" if is_eval else f"Dataset {dataset_id}"
        raise type(error)(f"{name}: {error.message}", error.code, error.param) from error
