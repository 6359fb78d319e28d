"""`/api/disk`: what takes up the disk, by owner and kind. Other functions than routes block on store and disk."""

import shutil
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

from fastapi import APIRouter
from starlette.responses import Response

from cluster.runs.model_location import job_folder
from ftlab.schemas.disk import DiskKind, DiskReport, DiskUse, JobDisk
from serve.accounts.folder_sizes import FolderSizes
from serve.context import Caller, Services
from serve.http.responses import reply
from tracking.store import Transaction
from tracking.store.disk import NumAndBytes

MAX_JOBS = 20
SHARED = {DiskKind.PREPARED: "cache/prepared", DiskKind.HUB: "cache/hub", DiskKind.MLFLOW: "mlflow/artifacts"}
"""Folders below the service's home that all owners share."""
_SIZES = FolderSizes()

router = APIRouter(prefix="/api/disk", tags=["disk"])


@router.get("", response_model=DiskReport, summary="Report what takes up the disk")
async def get_disk(caller: Caller) -> Response:
    """Your datasets, checkpoints and models, what all owners share, and your jobs with the largest checkpoints; for an
    admin, the use of the other owners too. Sizes of folders may be five minutes old."""
    return reply(await caller.call(read_disk, with_others=caller.identity.is_admin))


def read_disk(services: Services, owner: str, *, with_others: bool = False) -> DiskReport:
    """The share of owners by the record, and everything else by the files."""
    home = services.settings.home
    with services.store.read() as tx:
        counted = {DiskKind.DATASETS: tx.disk.datasets(owner), DiskKind.CHECKPOINTS: tx.disk.checkpoints(owner)}
        jobs = tx.disk.largest_jobs(owner, MAX_JOBS)
        folders = _model_folders(services, tx, owner)
        others = _of_others(services, tx, owner) if with_others else []
    counted[DiskKind.MODELS] = _models(folders.get(owner, []))
    uses = [DiskUse(kind=kind, owner=owner, num=num, size_bytes=size) for kind, (num, size) in counted.items()]
    for kind, folder in SHARED.items():
        size = _SIZES.of(home / folder)
        uses.append(DiskUse(kind=kind, owner=None, num=size.num, size_bytes=size.size_bytes))
    disk = shutil.disk_usage(home)
    return DiskReport(
        total_bytes=disk.total,
        free_bytes=disk.free,
        data=uses,
        others=others,
        jobs=[JobDisk(job_id=job, name=name, num_checkpoints=num, size_bytes=size) for job, name, num, size in jobs],
    )


def _of_others(services: Services, tx: Transaction, owner: str) -> list[DiskUse]:
    """What the other owners use, by owner and kind, the largest first."""
    models = {other: _models(folders) for other, folders in _model_folders(services, tx).items()}
    found: Mapping[DiskKind, Mapping[str, NumAndBytes]] = {
        DiskKind.DATASETS: tx.disk.datasets_by_owner(),
        DiskKind.CHECKPOINTS: tx.disk.checkpoints_by_owner(),
        DiskKind.MODELS: models,
    }
    uses = [
        DiskUse(kind=kind, owner=other, num=num, size_bytes=size)
        for kind, of_owners in found.items()
        for other, (num, size) in of_owners.items()
        if other != owner
    ]
    return sorted(uses, key=lambda use: (-use.size_bytes, use.owner, use.kind))


def _model_folders(services: Services, tx: Transaction, owner: str | None = None) -> dict[str, list[Path]]:
    """The folders of the tuned models of one owner, or of all, by owner."""
    found: dict[str, list[Path]] = defaultdict(list)
    for name, job_id, path in tx.disk.models(owner):
        found[name].append(job_folder(services.settings, job_id) / Path(path).name)
    return found


def _models(folders: list[Path]) -> NumAndBytes:
    return len(folders), sum(_SIZES.of(folder).own_bytes for folder in folders)
