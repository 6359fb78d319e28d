"""Estimate what a job would need, from the files of its model and the rows of its datasets. Nothing is stored."""

from decimal import Decimal
from typing import TYPE_CHECKING

from cluster.policy import Fleet, shape_of
from ftlab.errors import ServiceUnavailableError
from ftlab.formatting import duration, money
from ftlab.schemas import BaseJobConfig, GrpoMethod, JobConfig, JobEstimate, RowEstimate
from ftlab.settings import Settings
from serve.context import Caller
from serve.http.responses import in_thread
from serve.jobs.submission.auto import resolve_auto
from serve.jobs.submission.device_pools import Pool, alternatives_on, estimate_pool, pools_of, with_sharding_on
from serve.jobs.submission.job_facts import JobFacts, job_facts
from serve.jobs.submission.parents import find_parents
from serve.models.base_model import ask_huggingface
from tracking.costs import amount_of, held_devices, rate_of, seconds_for
from train.dataset_mix import mix_of
from train.device_defaults import has_fast_bfloat16
from train.estimate.devices import Fit
from train.estimate.disk import disk_of
from train.estimate.memory import DeviceTraits, training_peak
from train.estimate.tokens import tokens_of
from train.row_schedule import RowSchedule

if TYPE_CHECKING:
    from train.data.tokens.row_lengths import RowLengths

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
GENERATED = (
    "Tokens and memory are computed for answers of method.max_completion_length tokens; shorter answers need less."
)
NO_SPEED = "The time is not known: no job with this model and these settings has measured a speed here."


async def estimate(caller: Caller, config: JobConfig) -> JobEstimate:
    """What the job would need. Raises what a submission raises, except for quotas and resources."""
    parents = await caller.call(find_parents, config)
    answer = await ask_huggingface(caller.services, parents.existing(config.model))
    resolved = await resolve_auto(caller, config, answer, parents)
    facts = await caller.call(job_facts, resolved.config, answer, parents)
    notes = []
    rows: list[RowLengths] | None = None
    try:
        rows = await caller.services.data.row_lengths(facts.lengths)
    except ServiceUnavailableError as error:
        notes.append(f"The rows were not counted: {error.message}")
    reply = await in_thread(_reply, config.model, facts, rows, notes)
    reply = reply.model_copy(update={"auto": resolved.auto})
    return with_cost(reply, caller.services.settings, resolved.config, facts.fleet)


def with_cost(estimate: JobEstimate, settings: Settings, config: BaseJobConfig, fleet: Fleet | None) -> JobEstimate:
    """The estimate with what the job would cost, as far as the service has prices."""
    if not settings.prices or fleet is None or not estimate.devices:
        return estimate
    total = shape_of(config.resources, fleet).total
    types = {node.gpu_type for node in fleet.nodes if node.gpu_type}
    devices = [
        device.model_copy(
            update={
                "cost_per_hour": rate_of(
                    settings,
                    held_devices(total.cpus, total.gpus, {device.device: total.gpus} if device.device in types else {}),
                )
            }
        )
        for device in estimate.devices
    ]
    rate, time_s = devices[0].cost_per_hour, estimate.time_s
    cost = None if rate is None or time_s is None else amount_of(rate, time_s)
    found = estimate.model_copy(update={"devices": devices, "cost": cost, "currency": settings.currency})
    return _with_max_cost(found, config, rate)


def _with_max_cost(estimate: JobEstimate, config: BaseJobConfig, rate: Decimal | None) -> JobEstimate:
    """The estimate with when `max_cost` ends the job, where that is before its end, or its end is not known."""
    if config.max_cost is None or not rate:
        return estimate
    after_s = seconds_for(config.max_cost, rate)
    if estimate.time_s is not None and after_s >= estimate.time_s:
        return estimate
    amount = money(config.max_cost, estimate.currency)
    ends = f"is used up after {duration(after_s)}, and the job then saves and ends"
    note = f"max_cost ({amount}) {ends}; the whole job takes {duration(estimate.time_s)}."
    if estimate.time_s is None:
        note = f"max_cost ({amount}) {ends}, where it takes longer."
    return estimate.model_copy(update={"max_cost_after_s": after_s, "notes": [*estimate.notes, note]})


def _reply(model: str, facts: JobFacts, rows: "list[RowLengths] | None", notes: list[str]) -> JobEstimate:
    config, shape = facts.config, facts.shape
    is_exact = rows is not None and all(file.is_exact for file in rows)
    longest = max((file.longest for file in rows), default=0) if rows and is_exact else 0
    length = longest if longest and not config.method.packing else config.method.max_length
    if longest and isinstance(config.method, GrpoMethod):
        length = longest + config.method.max_completion_length
    schedule = _schedule(config, rows)
    if schedule and schedule.mix:
        notes = [*notes, schedule.mix.describe(config.datasets)]
    steps = schedule.last_step if schedule else None
    tokens = _tokens(schedule, rows, config)
    pools = pools_of(config, facts.fleet)
    traits = pools[0].traits if pools else DeviceTraits(use_cuda=False, has_fast_bfloat16=has_fast_bfloat16())
    correction = _correction(facts, pools)
    devices = [estimate_pool(pool, shape, config, length, correction or 1.0) for pool in pools]
    lengths = _merged(rows)
    alternatives = []
    if shape is not None and devices and not any(device.fits == Fit.FITS for device in devices):
        largest = max(pools, key=lambda pool: pool.memory or (0, 0))
        alternatives = alternatives_on(largest, shape, config, length, lengths, correction or 1.0)
    speed, peak = facts.earlier.speed, facts.earlier.peak
    disk = disk_of(shape, config, steps, traits) if shape else None
    return JobEstimate(
        model=model,
        rows=_rows(rows, config, is_exact=is_exact) if rows is not None else None,
        steps=steps,
        tokens=tokens,
        time_s=tokens / speed.tokens_per_s if tokens is not None and speed else None,
        measured_job_id=speed.job_id if speed else None,
        memory_correction=correction,
        memory_job_id=peak.job_id if peak and correction else None,
        peak_length=length,
        devices=devices,
        alternatives=alternatives,
        checkpoint_bytes=disk.checkpoint if disk else None,
        num_checkpoints=disk.num_checkpoints if disk else None,
        checkpoints_bytes=disk.checkpoint * disk.num_checkpoints if disk else None,
        delivered_bytes=disk.delivered if disk else None,
        notes=[*notes, *_notes(facts, is_sampled=rows is not None and not is_exact)],
    )


def _correction(facts: JobFacts, pools: list[Pool]) -> float | None:
    """Measured / computed memory of an earlier job's memory probe; `None` without one."""
    measured = facts.earlier.peak
    if measured is None or facts.shape is None or not pools:
        return None
    config = with_sharding_on(pools[0], facts.shape, facts.config, measured.longest)
    computed = training_peak(facts.shape, config, measured.longest, pools[0].traits)
    return measured.peak_bytes / computed.total


def _schedule(config: JobConfig, rows: "list[RowLengths] | None") -> RowSchedule | None:
    """The steps as the run would plan them; `None` where the rows are not known, or none has a trained token."""
    if not rows or not all(file.num_sequences for file in rows):
        return None
    sizes, num_workers = [file.num_sequences for file in rows], config.resources.num_workers
    return RowSchedule.planned(config.training, sizes, num_workers, config.method, mix_of(config, sizes))


def _tokens(schedule: RowSchedule | None, rows: "list[RowLengths] | None", config: JobConfig) -> int | None:
    if schedule is None or rows is None:
        return None
    means = [file.num_tokens / file.num_sequences for file in rows]
    return tokens_of(schedule, means, config.method)


def _rows(rows: "list[RowLengths]", config: JobConfig, *, is_exact: bool) -> RowEstimate:
    return RowEstimate(
        num_rows=sum(file.num_rows for file in rows),
        num_eval_rows=sum(file.num_eval_rows for file in rows) if config.eval_split is not None else None,
        num_sequences=sum(file.num_sequences for file in rows),
        tokens_per_epoch=sum(file.num_tokens for file in rows),
        trained_tokens_per_epoch=sum(file.num_trained_tokens for file in rows),
        longest=max((file.longest for file in rows), default=0),
        is_exact=is_exact,
    )


def _merged(rows: "list[RowLengths] | None") -> dict[int, int]:
    merged: dict[int, int] = {}
    for file in rows or []:
        for tokens, number in file.counts.items():
            merged[tokens] = merged.get(tokens, 0) + number
    return merged


def _notes(facts: JobFacts, *, is_sampled: bool) -> list[str]:
    notes = [SAMPLED] if is_sampled else []
    if facts.shape is None:
        notes.append(NO_SHAPE)
    elif not facts.shape.is_measured:
        notes.append(OTHER_BLOCKS.format(facts.shape.model_type))
    if facts.config.method.type != "sft":
        notes.append(METHOD_NOT_MEASURED.format(facts.config.method.type))
    if isinstance(facts.config.method, GrpoMethod):
        notes.append(GENERATED)
    if facts.fleet is None:
        notes.append("The devices are not known, because the scheduler does not respond; try again in a moment.")
    elif any(pool.traits.use_cuda for pool in pools_of(facts.config, facts.fleet)):
        notes.append(GPU_NOT_MEASURED)
    if facts.earlier.speed is None:
        notes.append(NO_SPEED)
    return notes
