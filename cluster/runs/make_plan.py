"""Build the plan of one attempt from a job's record."""

import os
from datetime import datetime
from pathlib import Path
from typing import TypedDict

from cluster.runs.evaluated_models import evaluated_models
from cluster.runs.model_location import job_folder, locate
from cluster.runs.run_limits import RunLimits
from cluster.runs.tuned_facts import tuned_facts
from ftlab.model_ref import parse_model_ref
from ftlab.schemas import BaseJobConfig, EngineConfig, EvaluationConfig, ExportConfig, JobConfig
from ftlab.settings import Settings
from ftlab.status import StopKind
from tracking.buckets import Buckets
from tracking.store import Transaction
from tracking.store.records import AttemptRecord, DatasetRecord, JobRecord
from train.plan import DataFile, EnginePlan, EvaluationPlan, ExportPlan, RunPlan, TrainingPlan


class _CommonParts(TypedDict):
    """The parts of a plan that do not depend on the kind of the job."""

    job_id: str
    attempt: int
    job_folder: Path
    models_folder: Path
    cache_folder: Path
    threads: int
    recorded_step: int
    use_cuda: bool
    gpu_fraction: float | None
    time_left_s: float | None
    limit: StopKind


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
    assert isinstance(config, BaseJobConfig), "a job whose config cannot be read is never started"
    cores = settings.cpus or os.cpu_count() or 1
    limit = RunLimits(settings).nearest(tx, job, now, attempt)
    gpu_share = attempt.gpus / config.resources.num_workers
    common: _CommonParts = {
        "job_id": job.id,
        "attempt": attempt.number,
        "job_folder": job_folder(settings, job.id),
        "models_folder": settings.home / "models",
        "cache_folder": settings.home / "cache",
        "threads": max(1, (attempt.cpus if not attempt.gpus else cores) // config.resources.num_workers),
        "recorded_step": _recorded_step(tx, job),
        "use_cuda": attempt.gpus > 0,
        "gpu_fraction": gpu_share if 0 < gpu_share < 1 else None,
        "time_left_s": None if limit is None else max(0.0, limit.left_s),
        "limit": StopKind.TIME_LIMIT if limit is None else limit.kind,
    }
    match config:
        case JobConfig():
            return _training_plan(tx, settings, job, config, common)
        case EvaluationConfig():
            return _evaluation_plan(tx, settings, job, config, common)
        case ExportConfig():
            return _export_plan(tx, settings, job, config, common, now)
        case EngineConfig():
            location = locate(tx, settings, parse_model_ref(config.model))
            return EnginePlan(
                **common,
                config=config,
                model=location.model,
                local_base=location.local_base,
                pinned_revision=job.model_revision,
                inference_folder=settings.inference_folder,
            )
    raise AssertionError(f"jobs of the kind {job.kind} have no plan")


def _evaluation_plan(
    tx: Transaction, settings: Settings, job: JobRecord, config: EvaluationConfig, common: _CommonParts
) -> EvaluationPlan:
    dataset = tx.datasets.get(config.dataset) if config.dataset is not None else None
    submitted = tx.evaluations.get(job.id)
    return EvaluationPlan(
        **common,
        config=config,
        dataset=DataFile(dataset.id, dataset_rows(settings, dataset)) if dataset else None,
        tasks_folder=settings.lm_eval_tasks,
        models=evaluated_models(tx, settings, config.models),
        judges={name: settings.judges[name] for name in config.judges if name in settings.judges},
        identities=submitted.identities if submitted else None,
    )


def _export_plan(
    tx: Transaction, settings: Settings, job: JobRecord, config: ExportConfig, common: _CommonParts, now: datetime
) -> ExportPlan:
    ref = parse_model_ref(config.model)
    location = locate(tx, settings, ref)
    return ExportPlan(
        **common,
        config=config,
        name=config.model,
        model=location.model,
        local_base=location.local_base,
        pinned_revision=job.model_revision,
        facts=tuned_facts(tx, settings, ref, now),
        quantizer=settings.llama_quantize,
    )


def _training_plan(
    tx: Transaction, settings: Settings, job: JobRecord, config: JobConfig, common: _CommonParts
) -> TrainingPlan:
    train_sets = [tx.datasets.get(dataset_id) for dataset_id in config.datasets]
    eval_set = tx.datasets.get(job.eval_dataset_id) if job.eval_dataset_id else None
    location = locate(tx, settings, parse_model_ref(config.model))
    evaluated = tx.metrics.series(job.id, ["eval_loss"], max_points=2)
    return TrainingPlan(
        **common,
        config=config,
        model=location.model,
        local_base=location.local_base,
        pinned_revision=job.model_revision,
        train_files=tuple(DataFile(dataset.id, dataset_rows(settings, dataset)) for dataset in train_sets),
        eval_rows=dataset_rows(settings, eval_set) if eval_set else None,
        model_number=len(tx.models.all_of_job(job.id)) + 1,
        recorded_eval_step=evaluated[-1].step if evaluated else -1,
        recorded_checkpoints=tuple(row.step for row in tx.checkpoints.of_job(job.id)),
        resume_from=job.resume_from,
    )


def _recorded_step(tx: Transaction, job: JobRecord) -> int:
    """The newest step whose metrics are in the record; a resume from an older checkpoint discards the metrics of later
    steps.
    """
    if job.resume_from is None:
        return job.step
    return min(job.step, tx.checkpoints.get(job.id, job.resume_from).step)
