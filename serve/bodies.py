"""Bodies of requests that change something, besides a job's config."""

from typing import Literal

from pydantic import Field

from ftlab.schemas import StrictModel
from ftlab.schemas.config import MAX_DATASETS, DatasetId

MAX_BYTES = 2**53
MAX_COUNT = 1_000_000


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
