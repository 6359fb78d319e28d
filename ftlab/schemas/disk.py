"""What takes up the disk of the service."""

from enum import StrEnum

from pydantic import Field

from ftlab.schemas.common import WireModel


class DiskKind(StrEnum):
    """What files are for."""

    DATASETS = "datasets"
    CHECKPOINTS = "checkpoints"
    MODELS = "models"
    """Files of tuned models that no checkpoint shares."""
    EXPORTS = "exports"
    """Artifacts of exports."""
    PREPARED = "prepared"
    """Prepared data, which can be recreated."""
    HUB = "hub"
    """Base models from the hub, which can be downloaded again."""
    MLFLOW = "mlflow"
    """Artifacts of MLflow."""


class DiskUse(WireModel):
    """Bytes of one kind."""

    kind: DiskKind
    owner: str | None
    """`None` for what all owners share."""
    num: int
    """Number of datasets, checkpoints, models, artifacts, or files."""
    size_bytes: int


class JobDisk(WireModel):
    """Checkpoints of one job."""

    job_id: str
    name: str
    num_checkpoints: int
    size_bytes: int


class DiskReport(WireModel):
    """The disk that holds the data of the service, and what is on it."""

    total_bytes: int
    free_bytes: int
    data: list[DiskUse] = Field(default_factory=list)
    """Yours by kind, then what all share; datasets in remote buckets are not on this disk, but count."""
    others: list[DiskUse] = Field(default_factory=list)
    """For an admin: the use of the other owners, the largest first."""
    jobs: list[JobDisk] = Field(default_factory=list)
    """Your jobs with the largest checkpoints, the largest first."""
