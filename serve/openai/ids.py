"""Ids as OpenAI's clients see them. Each is derived from the id of one of our records, so none has to be stored."""

import re
from collections.abc import Callable
from datetime import datetime

from ftlab.errors import NotFoundError
from ftlab.openai.ids import in_openai_ids
from tracking.store.ids import NUM_CHARS

CHANNEL = "openai"
"""First part of the names of channels that are webhook endpoints."""

_TAIL = rf"[0-9a-z]{{{NUM_CHARS}}}"
_RESULT = re.compile(rf"file-result-({_TAIL})")
_EVENT = re.compile(rf"ftevent-({_TAIL})-([0-9]{{1,9}})")
_CHECKPOINT = re.compile(rf"ftckpt_({_TAIL})-([0-9]{{1,9}})")


def file_id(dataset_id: str) -> str:
    """`file-...` of a dataset."""
    return in_openai_ids(dataset_id)


def fine_tune_id(job_id: str) -> str:
    """`ftjob-...` of a job."""
    return in_openai_ids(job_id)


def public_upload_id(upload_id: str) -> str:
    """`upload_...` of an upload in pieces."""
    return in_openai_ids(upload_id)


def dataset_id(text: str) -> str:
    """The dataset of a `file-...`. Raises `NotFoundError` (`file_not_found`) for anything else."""
    return _ours(text, "file-", "ds", no_such_file)


def job_id(text: str) -> str:
    """The job of an `ftjob-...`. Raises `NotFoundError` (`fine_tune_not_found`) for anything else."""
    return _ours(text, "ftjob-", "job", no_such_job)


def upload_id(text: str) -> str:
    """Our upload of an `upload_...`. Raises `NotFoundError` (`upload_not_found`) for anything else."""
    return _ours(text, "upload_", "up", no_such_upload)


def result_file_id(job: str) -> str:
    """The file with the results of a job."""
    return f"file-result-{_tail(job)}"


def job_of_result(text: str) -> str | None:
    """The job whose results a file holds; `None` for any other file."""
    match = _RESULT.fullmatch(text)
    return f"job-{match[1]}" if match else None


def event_id(job: str, seq: int) -> str:
    """The id of one event of a job."""
    return f"ftevent-{_tail(job)}-{seq}"


def checkpoint_id(job: str, step: int) -> str:
    """The id of the checkpoint of one step."""
    return f"ftckpt_{_tail(job)}-{step}"


def event_seq(text: str, job: str) -> int | None:
    """The number of this job's event with an id; `None` for an id of anything else."""
    return _number(_EVENT, text, job)


def checkpoint_step(text: str, job: str) -> int | None:
    """The step of this job's checkpoint with an id; `None` for an id of anything else."""
    return _number(_CHECKPOINT, text, job)


def seconds(at: datetime) -> int:
    """A time as OpenAI writes it: whole seconds since 1970."""
    return int(at.timestamp())


def endpoint_id(channel: str) -> str:
    """`we_...` of a webhook endpoint, which is one of our channels."""
    return f"we_{_tail(channel)}"


def channel_name(text: str) -> str:
    """The channel of a `we_...`. Raises `NotFoundError` (`webhook_endpoint_not_found`) for anything else."""
    return _ours(text, "we_", CHANNEL, no_such_endpoint)


def no_such_endpoint(text: str) -> NotFoundError:
    message = f"There is no webhook endpoint {text!r}."
    return NotFoundError(message, "webhook_endpoint_not_found", "webhook_endpoint_id")


def no_such_file(text: str) -> NotFoundError:
    return NotFoundError(f"There is no file {text!r}.", "file_not_found", "file_id")


def no_such_job(text: str) -> NotFoundError:
    return NotFoundError(f"Could not find fine tune: {text}", "fine_tune_not_found", "fine_tune_id")


def no_such_upload(text: str) -> NotFoundError:
    return NotFoundError(f"There is no upload {text!r}.", "upload_not_found", "upload_id")


def _ours(text: str, prefix: str, ours: str, missing: Callable[[str], NotFoundError]) -> str:
    if not re.fullmatch(rf"{prefix}{_TAIL}", text):
        raise missing(text)
    return f"{ours}-{text.removeprefix(prefix)}"


def _tail(own_id: str) -> str:
    return own_id.partition("-")[2]


def _number(form: re.Pattern[str], text: str, job: str) -> int | None:
    match = form.fullmatch(text)
    return int(match[2]) if match and match[1] == _tail(job) else None
