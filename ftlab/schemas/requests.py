"""Bodies of requests that change something, besides a job's config."""

from typing import Literal

from pydantic import Field

from ftlab.schemas import StrictModel
from ftlab.schemas.common import Name
from ftlab.schemas.config import MAX_DATASETS, DatasetId
from ftlab.settings import DEFAULT_BUCKET

MAX_BYTES = 2**53
MAX_COUNT = 1_000_000
SHA256 = r"^[0-9a-f]{64}$"


class JobChange(StrictModel):
    priority: int = Field(ge=0, le=100)


class Resume(StrictModel):
    checkpoint: str | None = Field(default=None, min_length=1, max_length=100)
    """A checkpoint's name; without one the newest good checkpoint."""


class Batches(StrictModel):
    datasets: list[DatasetId] = Field(min_length=1, max_length=MAX_DATASETS)
    """Datasets to train on after those that the job has, in this order."""
    after: int | None = Field(default=None, ge=1, le=MAX_DATASETS)
    """How many files the job has so far. Where it has another number the request is refused, so that one that is
    repeated appends once."""


class Move(StrictModel):
    to: Literal["front"]


class ModelReference(StrictModel):
    model: str = Field(min_length=1, max_length=512)
    """As in a job's config."""


class QuotaChange(StrictModel):
    """Fields that are left out stay as they are; `null` goes back to the setting."""

    max_queued_jobs: int | None = Field(default=None, ge=0, le=MAX_COUNT)
    max_running_gpus: float | None = Field(default=None, ge=0, le=MAX_COUNT)
    max_running_cpus: int | None = Field(default=None, ge=0, le=MAX_COUNT)
    max_disk_bytes: int | None = Field(default=None, ge=0, le=MAX_BYTES)
    max_upload_bytes: int | None = Field(default=None, ge=0, le=MAX_BYTES)
    weight: float | None = Field(default=None, gt=0, le=1000)


class UploadEnd(StrictModel):
    """How to make a dataset of an upload; what is given takes the place of what was said at the start."""

    shape: str | None = Field(default=None, max_length=100)
    columns: dict[str, str] | None = None
    accept_partial: bool | None = None


class UploadStart(StrictModel):
    filename: str = Field(min_length=1, max_length=4096)
    size_bytes: int = Field(ge=1, le=MAX_BYTES)
    """Of the whole file."""
    sha256: str | None = Field(default=None, pattern=SHA256)
    """Of the whole file."""
    name: Name | None = None
    bucket: str = Field(default=DEFAULT_BUCKET, max_length=100)
    shape: str | None = Field(default=None, max_length=100)
    columns: dict[str, str] | None = None
    accept_partial: bool = False


class DatasetMove(StrictModel):
    bucket: str = Field(min_length=1, max_length=100)


class UrlRequest(StrictModel):
    expires_s: int = Field(default=24 * 3600, ge=1, le=7 * 24 * 3600)
    """Seconds; S3 signs for at most seven days."""
