"""Estimate what a job would need, from the files of its model and the rows of its datasets. Nothing is stored."""

from dataclasses import dataclass
from statistics import median

from cluster.data.requests import LengthsRequest, base_ref, source_file
from cluster.policy import Fleet
from ftlab.errors import ServiceUnavailableError
from ftlab.schemas import JobConfig, JobEstimate, RowEstimate
from ftlab.status import JobStatus
from serve.context import Caller, Services
from serve.http.responses import in_thread
from serve.jobs.estimate_devices import alternatives_on, estimate_pool, pools_of
from serve.jobs.preflight import Start, base_facts, preflight
from serve.jobs.submit import with_ids
from serve.models.base_model import HubAnswer, ask_huggingface, check
from tracking.store import Transaction
from train.data.eval_split import SplitSpec
from train.data.tokens.row_lengths import RowLengths
from train.dataset_mix import mix_of
from train.estimate.devices import Fit, has_fast_bfloat16
from train.estimate.disk import disk_of
from train.estimate.memory import Place
from train.model.folder import facts_of
from train.model.shape import ModelShape
from train.row_schedule import RowSchedule

MAX_EARLIER_JOBS = 50
"""Newest completed jobs among which a comparable one is searched."""
NO_SHAPE = (
    "Memory and disk are not estimated: the model is quantised, has experts, or is not on this machine and of a type "
    "whose weights do not follow from its config."
)
OTHER_BLOCKS = (
    "The formula for memory counts the blocks of the Llama, Mistral, Qwen and SmolLM families; for a model of type {}, "
    "the figures may be further off."
)
METHOD_NOT_MEASURED = (
    "The formula for memory was measured for the method 'sft'; for '{}', the figures may be further off."
)
SAMPLED = (
    "The rows are not prepared yet: tokens and steps are scaled up from a sample, and memory is computed for rows of "
    "method.max_length tokens."
)
GPU_NOT_MEASURED = "The figures for GPUs follow from the same formula, and were not measured on one."
NO_SPEED = "The time is not known: no completed job with this model and these settings has measured a speed here."


@dataclass(frozen=True)
class _Facts:
    """What the estimate is computed from, besides the rows."""

    config: JobConfig
    shape: ModelShape | None
    lengths: LengthsRequest
    fleet: Fleet | None
    tokens_per_s: float | None = None
    measured_job_id: str | None = None


async def estimate(caller: Caller, config: JobConfig) -> JobEstimate:
    """What the job would need. Raises what a submission raises, except for quotas and resources."""
    answer = await ask_huggingface(caller.services, config.model)
    facts = await caller.call(_facts, config, answer)
    notes = []
    rows: list[RowLengths] | None = None
    try:
        rows = await caller.services.data.row_lengths(facts.lengths)
    except ServiceUnavailableError as error:
        notes.append(f"The rows were not counted: {error.message}")
    return await in_thread(_reply, config.model, facts, rows, notes)


def _facts(services: Services, owner: str, config: JobConfig, answer: HubAnswer) -> _Facts:
    """Check the config as a submission does, and gather what is known."""
    start = preflight(services, owner, config, check(config.model, services.settings, answer))
    with services.store.read() as tx:
        config, datasets = with_ids(tx, owner, start.config)
        base = base_ref(tx, services.settings, config.model, start.model.revision)
        files = tuple(source_file(services.settings, dataset) for dataset in datasets)
        job_id, speed = _measured(tx, owner, config) or (None, None)
    lengths = LengthsRequest(base, config.method, files, SplitSpec.of(config))
    return _Facts(config, _shape(services, start), lengths, services.coordinator.machines(), speed, job_id)


def _shape(services: Services, start: Start) -> ModelShape | None:
    tuned = start.tuned
    if tuned is None:
        return start.model.facts.shape if start.model.facts else None
    if (tuned.folder / "adapter_config.json").is_file():
        facts = base_facts(tuned, services.settings.home / "models")
        return facts.shape if facts else None
    return facts_of(tuned.folder).shape


def _measured(tx: Transaction, owner: str, config: JobConfig) -> tuple[str, float] | None:
    """The newest completed job that trained the same way, and its median tokens per second."""
    for job in tx.jobs.list(owner=owner, statuses={JobStatus.COMPLETED}, limit=MAX_EARLIER_JOBS):
        if isinstance(job.config, JobConfig) and _pace(job.config) == _pace(config):
            points = tx.metrics.series(job.id, {"tokens_per_s"})
            if speeds := [point.value for point in points if point.value > 0]:
                return job.id, median(speeds)
    return None


def _pace(config: JobConfig) -> tuple[object, ...]:
    """The settings that determine the speed of a run."""
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
    )


def _reply(model: str, facts: _Facts, rows: list[RowLengths] | None, notes: list[str]) -> JobEstimate:
    config, shape = facts.config, facts.shape
    is_exact = rows is not None and all(file.is_exact for file in rows)
    longest = max((file.longest for file in rows), default=0) if rows and is_exact else 0
    length = longest if longest and not config.method.packing else config.method.max_length
    schedule = _schedule(config, rows)
    if schedule and schedule.mix:
        notes = [*notes, schedule.mix.describe(config.datasets)]
    steps = schedule.last_step if schedule else None
    tokens = _tokens(schedule, rows)
    pools = pools_of(config, facts.fleet)
    devices = [estimate_pool(pool, shape, config, length) for pool in pools]
    lengths = _merged(rows)
    alternatives = []
    if shape is not None and devices and not any(device.fits == Fit.FITS for device in devices):
        largest = max(pools, key=lambda pool: pool.memory or (0, 0))
        alternatives = alternatives_on(largest, shape, config, length, lengths)
    speed = facts.tokens_per_s
    place = pools[0].place if pools else Place(use_cuda=False, has_fast_bfloat16=has_fast_bfloat16())
    disk = disk_of(shape, config, steps, place) if shape else None
    return JobEstimate(
        model=model,
        rows=_rows(rows, config, is_exact=is_exact) if rows is not None else None,
        steps=steps,
        tokens=tokens,
        time_s=tokens / speed if tokens is not None and speed else None,
        measured_job_id=facts.measured_job_id,
        peak_length=length,
        devices=devices,
        alternatives=alternatives,
        checkpoint_bytes=disk.checkpoint if disk else None,
        num_checkpoints=disk.num_checkpoints if disk else None,
        checkpoints_bytes=disk.checkpoint * disk.num_checkpoints if disk else None,
        delivered_bytes=disk.delivered if disk else None,
        notes=[*notes, *_notes(facts, is_sampled=rows is not None and not is_exact)],
    )


def _schedule(config: JobConfig, rows: list[RowLengths] | None) -> RowSchedule | None:
    """The steps as the run would plan them; `None` where the rows are not known, or none has a trained token."""
    if not rows or not all(file.num_sequences for file in rows):
        return None
    sizes = [file.num_sequences for file in rows]
    return RowSchedule.planned(config.training, sizes, config.resources.num_workers, mix_of(config, sizes))


def _tokens(schedule: RowSchedule | None, rows: list[RowLengths] | None) -> int | None:
    """Tokens of all steps, at the mean length of each file's rows."""
    if schedule is None or rows is None:
        return None
    if schedule.mix is not None:
        means = [file.num_tokens / file.num_sequences for file in rows]
        per_epoch = sum(drawn * mean for drawn, mean in zip(schedule.mix.draws, means, strict=True))
        return round(schedule.end_rows / schedule.mix.num_rows * per_epoch)
    return round(sum(end * file.num_tokens / file.num_sequences for end, file in zip(schedule.ends, rows, strict=True)))


def _rows(rows: list[RowLengths], config: JobConfig, *, is_exact: bool) -> RowEstimate:
    return RowEstimate(
        num_rows=sum(file.num_rows for file in rows),
        num_eval_rows=sum(file.num_eval_rows for file in rows) if config.eval_split is not None else None,
        num_sequences=sum(file.num_sequences for file in rows),
        tokens_per_epoch=sum(file.num_tokens for file in rows),
        trained_tokens_per_epoch=sum(file.num_trained_tokens for file in rows),
        longest=max((file.longest for file in rows), default=0),
        is_exact=is_exact,
    )


def _merged(rows: list[RowLengths] | None) -> dict[int, int]:
    merged: dict[int, int] = {}
    for file in rows or []:
        for tokens, number in file.counts.items():
            merged[tokens] = merged.get(tokens, 0) + number
    return merged


def _notes(facts: _Facts, *, is_sampled: bool) -> list[str]:
    notes = [SAMPLED] if is_sampled else []
    if facts.shape is None:
        notes.append(NO_SHAPE)
    elif not facts.shape.is_measured:
        notes.append(OTHER_BLOCKS.format(facts.shape.model_type))
    if facts.config.method.type != "sft":
        notes.append(METHOD_NOT_MEASURED.format(facts.config.method.type))
    if facts.fleet is None:
        notes.append("The devices are not known, because the scheduler does not respond; try again in a moment.")
    elif any(pool.place.use_cuda for pool in pools_of(facts.config, facts.fleet)):
        notes.append(GPU_NOT_MEASURED)
    if facts.tokens_per_s is None:
        notes.append(NO_SPEED)
    return notes
