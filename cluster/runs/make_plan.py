"""Build the plan of one attempt from a job's record."""

import os
from datetime import datetime
from pathlib import Path

from cluster.runs.model_location import job_folder, locate
from cluster.runs.run_limits import RunLimits
from ftlab.model_ref import parse_model_ref
from ftlab.schemas import JobConfig
from ftlab.settings import Settings
from ftlab.status import StopKind
from tracking.buckets import Buckets
from tracking.store import Transaction
from tracking.store.records import AttemptRecord, DatasetRecord, JobRecord
from train.plan import DataFile, RunPlan


def dataset_rows(settings: Settings, dataset: DatasetRecord) -> Path:
    """Path of a dataset's rows on this machine, once `Buckets.local_path` has brought them."""
    return Buckets.open(settings).cached_path(dataset.bucket, dataset.canonical)


def step_to_resume(tx: Transaction, job: JobRecord) -> int | None:
    """The step that the job's next attempt continues from; `None` when it starts from the beginning.

    Raises `NotFoundError` when the checkpoint that a resume named no longer exists.
    """
    if job.resume_from is not None:
        return tx.checkpoints.get(job.id, job.resume_from).step
    checkpoints = tx.checkpoints.of_job(job.id)
    return checkpoints[0].step if checkpoints else None


def make_plan(tx: Transaction, settings: Settings, job: JobRecord, attempt: AttemptRecord, now: datetime) -> RunPlan:
    """Gather what the training processes of `attempt` need; they have no database.

    Raises `NotFoundError` when the base model, a dataset, or the checkpoint that a resume named no longer exists.
    """
    config = job.config
    assert isinstance(config, JobConfig), "a job whose config cannot be read is never started"
    train_sets = [tx.datasets.get(dataset_id) for dataset_id in config.datasets]
    eval_set = tx.datasets.get(job.eval_dataset_id) if job.eval_dataset_id else None
    location = locate(tx, settings, parse_model_ref(config.model))
    evaluated = tx.metrics.series(job.id, ["eval_loss"], max_points=2)
    cores = settings.cpus or os.cpu_count() or 1
    limit = RunLimits(settings).nearest(tx, job, now, attempt)
    gpu_share = attempt.gpus / config.resources.num_workers
    return RunPlan(
        job_id=job.id,
        attempt=attempt.number,
        config=config,
        job_folder=job_folder(settings, job.id),
        models_folder=settings.home / "models",
        model=location.model,
        local_base=location.local_base,
        pinned_revision=job.model_revision,
        train_files=tuple(DataFile(dataset.id, dataset_rows(settings, dataset)) for dataset in train_sets),
        eval_rows=dataset_rows(settings, eval_set) if eval_set else None,
        cache_folder=settings.home / "cache",
        model_number=len(tx.models.all_of_job(job.id)) + 1,
        threads=max(1, (attempt.cpus if not attempt.gpus else cores) // config.resources.num_workers),
        recorded_step=_recorded_step(tx, job),
        recorded_eval_step=evaluated[-1].step if evaluated else -1,
        recorded_checkpoints=tuple(row.step for row in tx.checkpoints.of_job(job.id)),
        use_cuda=attempt.gpus > 0,
        gpu_fraction=gpu_share if 0 < gpu_share < 1 else None,
        resume_from=job.resume_from,
        time_left_s=None if limit is None else max(0.0, limit.left_s),
        limit=StopKind.TIME_LIMIT if limit is None else limit.kind,
    )


def _recorded_step(tx: Transaction, job: JobRecord) -> int:
    """The newest step whose metrics are in the record; a resume from an older checkpoint discards the metrics of later
    steps.
    """
    if job.resume_from is None:
        return job.step
    return min(job.step, tx.checkpoints.get(job.id, job.resume_from).step)
