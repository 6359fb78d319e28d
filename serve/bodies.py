"""Bodies of requests that change something, besides a job's config."""

from typing import Literal

from pydantic import Field

from ftlab.schemas import StrictModel

MAX_BYTES = 2**53
MAX_COUNT = 1_000_000


class JobChange(StrictModel):
    priority: int = Field(ge=0, le=100)


class Resume(StrictModel):
    checkpoint: str | None = Field(default=None, min_length=1, max_length=100)
    """A checkpoint's name; without one the newest good checkpoint."""


class Move(StrictModel):
    to: Literal["front"]


class QuotaChange(StrictModel):
    """Fields that are left out stay as they are; `null` goes back to the setting."""

    max_queued_jobs: int | None = Field(default=None, ge=0, le=MAX_COUNT)
    max_running_gpus: float | None = Field(default=None, ge=0, le=MAX_COUNT)
    max_running_cpus: int | None = Field(default=None, ge=0, le=MAX_COUNT)
    max_disk_bytes: int | None = Field(default=None, ge=0, le=MAX_BYTES)
    max_upload_bytes: int | None = Field(default=None, ge=0, le=MAX_BYTES)
    weight: float | None = Field(default=None, gt=0, le=1000)
