"""What earlier jobs of the same kind have measured: the speed of their steps, and the peak of a memory probe."""

from dataclasses import dataclass
from statistics import median

from ftlab.schemas import EventKind, JobConfig, MemoryProbePayload
from ftlab.status import JobKind
from tracking.store import Transaction
from tracking.store.records import JobRecord
from train.estimate.memory import DeviceTraits, training_peak
from train.model.shape import ModelShape

MAX_EARLIER_JOBS = 50
"""Newest jobs among which comparable ones are searched."""
MAX_NOTICES = 100
"""First notices of a job among which that of its memory probe is."""


@dataclass(frozen=True)
class Speed:
    job_id: str
    tokens_per_s: float
    """Median of the job's steps."""


@dataclass(frozen=True)
class MeasuredPeak:
    job_id: str
    longest: int
    """Tokens of the longest row of the memory probe."""
    peak_bytes: int


@dataclass(frozen=True)
class EarlierMeasurements:
    """The newest measurements of jobs that trained the same way."""

    speed: Speed | None = None
    peak: MeasuredPeak | None = None


def earlier_runs(tx: Transaction, owner: str, config: JobConfig) -> EarlierMeasurements:
    """Search the newest jobs for those that trained as `config` would."""
    speed: Speed | None = None
    peak: MeasuredPeak | None = None
    for job in tx.jobs.list(owner=owner, kinds={JobKind.TRAINING}, limit=MAX_EARLIER_JOBS):
        if not isinstance(job.config, JobConfig) or _pace(job.config) != _pace(config):
            continue
        since = _attempts_before_changes(job)
        speed = speed or _speed(tx, job.id, since)
        peak = peak or _peak(tx, job.id, since)
        if speed is not None and peak is not None:
            break
    return EarlierMeasurements(speed, peak)


def memory_ratio(
    tx: Transaction, owner: str, config: JobConfig, shape: ModelShape, traits: DeviceTraits
) -> float | None:
    """Measured / computed memory of the newest job that trained the same model in the same way.

    Unlike in `earlier_runs`, its batches and rows may have another size. `None` without a measurement.
    """
    for job in tx.jobs.list(owner=owner, kinds={JobKind.TRAINING}, limit=MAX_EARLIER_JOBS):
        if not isinstance(job.config, JobConfig) or _memory_kind(job.config) != _memory_kind(config):
            continue
        if (peak := _peak(tx, job.id, _attempts_before_changes(job))) is not None:
            return peak.peak_bytes / training_peak(shape, job.config, peak.longest, traits).total
    return None


def _attempts_before_changes(job: JobRecord) -> int:
    """The newest attempt with other settings than the job has now; 0 if there is none."""
    return job.adjustments[-1].attempt if job.adjustments else 0


def _speed(tx: Transaction, job_id: str, since: int) -> Speed | None:
    points = tx.metrics.series(job_id, {"tokens_per_s"})
    speeds = [point.value for point in points if point.value > 0 and point.attempt > since]
    return Speed(job_id, median(speeds)) if speeds else None


def _peak(tx: Transaction, job_id: str, since: int) -> MeasuredPeak | None:
    for event in tx.events.after(job_id, 0, MAX_NOTICES, {EventKind.NOTICE}):
        probe = event.payload
        if event.attempt > since and isinstance(probe, MemoryProbePayload) and probe.longest and probe.peak_bytes:
            return MeasuredPeak(job_id, probe.longest, probe.peak_bytes)
    return None


def _memory_kind(config: JobConfig) -> tuple[object, ...]:
    """The settings by which the computed memory may be wrong by about the same factor."""
    use = (config.model, config.tuning, config.quantised_by, config.lora, config.method.type)
    return (*use, config.training.dtype, config.training.optim, config.resources)


def _pace(config: JobConfig) -> tuple[object, ...]:
    """The settings that determine the speed and the memory of a run."""
    training = config.training
    return (
        config.model,
        config.tuning,
        config.quantised_by,
        config.lora,
        config.method,
        config.resources,
        training.per_device_train_batch_size,
        training.gradient_accumulation_steps,
        training.gradient_checkpointing,
        (training.dtype, training.bf16, training.fp16, training.optim),
        training.dataloader_num_workers,
    )
