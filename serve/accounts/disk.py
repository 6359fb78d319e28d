"""`/api/disk`: what takes up the disk, by owner and kind. Other functions than routes block on store and disk."""

import shutil
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

from fastapi import APIRouter
from starlette.responses import Response

from cluster.runs.model_location import job_folder
from ftlab.schemas.disk import DiskKind, DiskReport, DiskUse, JobDisk
from ftlab.schemas.export_results import ARTIFACTS_FOLDER
from serve.accounts.folder_sizes import FolderSizes
from serve.context import Caller, Services
from serve.http.responses import reply
from tracking.store.disk import NumAndBytes

MAX_JOBS = 20
SHARED = {DiskKind.PREPARED: "cache/prepared", DiskKind.HUB: "cache/hub", DiskKind.MLFLOW: "mlflow/artifacts"}
"""Folders below the service's home that all owners share."""
_SIZES = FolderSizes()

router = APIRouter(prefix="/api/disk", tags=["disk"])


@router.get("", response_model=DiskReport, summary="Report what takes up the disk")
async def get_disk(caller: Caller) -> Response:
    """Your datasets, checkpoints, models and exports, what all owners share, and your jobs with the largest
    checkpoints; for an admin, the use of the other owners too. Sizes of folders may be five minutes old."""
    return reply(await caller.call(read_disk, with_others=caller.identity.is_admin))


def read_disk(services: Services, owner: str, *, with_others: bool = False) -> DiskReport:
    """The share of owners by the record, and everything else by the files."""
    home = services.settings.home
    whose = None if with_others else owner
    with services.store.read() as tx:
        counted = {DiskKind.DATASETS: tx.disk.datasets(whose), DiskKind.CHECKPOINTS: tx.disk.checkpoints(whose)}
        models = tx.disk.models(whose)
        exports = tx.disk.exports(whose)
        jobs = tx.disk.largest_jobs(owner, MAX_JOBS)
    counted[DiskKind.MODELS] = _models(services, models)
    counted[DiskKind.EXPORTS] = _artifacts(services, exports)
    uses = [_use(kind, owner, of_owners.get(owner, (0, 0))) for kind, of_owners in counted.items()]
    others = [
        _use(kind, other, found)
        for kind, of_owners in counted.items()
        for other, found in of_owners.items()
        if other != owner
    ]
    for kind, folder in SHARED.items():
        size = _SIZES.of(home / folder)
        uses.append(DiskUse(kind=kind, owner=None, num=size.num, size_bytes=size.size_bytes))
    disk = shutil.disk_usage(home)
    return DiskReport(
        total_bytes=disk.total,
        free_bytes=disk.free,
        data=uses,
        others=sorted(others, key=lambda use: (-use.size_bytes, use.owner, use.kind)),
        jobs=[JobDisk(job_id=job, name=name, num_checkpoints=num, size_bytes=size) for job, name, num, size in jobs],
    )


def _use(kind: DiskKind, owner: str, found: NumAndBytes) -> DiskUse:
    num, size = found
    return DiskUse(kind=kind, owner=owner, num=num, size_bytes=size)


def _models(services: Services, found: Iterable[tuple[str, str, str]]) -> dict[str, NumAndBytes]:
    """Number and bytes of tuned models by owner, from the owner, the job and the folder of each."""
    sizes: dict[str, list[int]] = defaultdict(list)
    for owner, job_id, path in found:
        sizes[owner].append(_SIZES.of(job_folder(services.settings, job_id) / Path(path).name).own_bytes)
    return {owner: (len(each), sum(each)) for owner, each in sizes.items()}


def _artifacts(services: Services, found: Iterable[tuple[str, str]]) -> dict[str, NumAndBytes]:
    """Number and bytes of the artifacts of exports by owner, from the owner and the job of each export."""
    sizes: dict[str, list[int]] = defaultdict(list)
    for owner, job_id in found:
        for folder in (job_folder(services.settings, job_id) / ARTIFACTS_FOLDER).glob("*/"):
            sizes[owner].append(_SIZES.of(folder).size_bytes)
    return {owner: (len(each), sum(each)) for owner, each in sizes.items()}
