"""`/api/disk`: what takes up the disk, by owner and kind. Other functions than routes block on store and disk."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from fastapi import APIRouter
from starlette.responses import Response

from cluster.runs.model_location import job_folder
from ftlab.schemas.disk import DiskKind, DiskReport, DiskUse, JobDisk
from serve.context import Caller, Services
from serve.http.responses import reply

MAX_JOBS = 20
MAX_MODELS = 10_000
SHARED = {DiskKind.PREPARED: "cache/prepared", DiskKind.HUB: "cache/hub", DiskKind.MLFLOW: "mlflow/artifacts"}
"""Folders below the service's home that all owners share."""

router = APIRouter(prefix="/api/disk", tags=["disk"])


@router.get("", response_model=DiskReport, summary="Report what takes up the disk")
async def get_disk(caller: Caller) -> Response:
    """Your datasets, checkpoints and models, what all owners share, and your jobs with the largest checkpoints."""
    return reply(await caller.call(read_disk))


def read_disk(services: Services, owner: str) -> DiskReport:
    """The owner's share by the record, and everything else by the files."""
    home = services.settings.home
    with services.store.read() as tx:
        counted = {DiskKind.DATASETS: tx.disk.datasets(owner), DiskKind.CHECKPOINTS: tx.disk.checkpoints(owner)}
        jobs = tx.disk.largest_jobs(owner, MAX_JOBS)
        models = tx.models.list(owner=owner, limit=MAX_MODELS)
    folders = [job_folder(services.settings, model.job_id) / model.path.name for model in models]
    own_bytes = sum(file.st_size for folder in folders for file in _files(folder) if file.st_nlink == 1)
    uses = [DiskUse(kind=kind, owner=owner, num=num, size_bytes=size) for kind, (num, size) in counted.items()]
    uses.append(DiskUse(kind=DiskKind.MODELS, owner=owner, num=len(models), size_bytes=own_bytes))
    for kind, folder in SHARED.items():
        sizes = [file.st_size for file in _files(home / folder)]
        uses.append(DiskUse(kind=kind, owner=None, num=len(sizes), size_bytes=sum(sizes)))
    disk = shutil.disk_usage(home)
    return DiskReport(
        total_bytes=disk.total,
        free_bytes=disk.free,
        data=uses,
        jobs=[JobDisk(job_id=job, name=name, num_checkpoints=num, size_bytes=size) for job, name, num, size in jobs],
    )


def _files(folder: Path) -> Iterator[os.stat_result]:
    """The files below a folder, without following links; those that go meanwhile are left out."""
    for path, _, names in os.walk(folder):
        for name in names:
            try:
                found = os.lstat(os.path.join(path, name))
            except FileNotFoundError:
                continue
            yield found
