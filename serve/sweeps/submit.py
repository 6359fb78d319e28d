"""Submit sweeps: everything that the trials share is checked once, before the first of them."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from cluster.search.suggest import next_values
from ftlab.errors import FineTuneLabError, InvalidRequestError, RateLimitError
from ftlab.schemas import JobConfig
from ftlab.schemas.auto import auto_settings, setting, with_settings
from ftlab.schemas.job_file import parse_job_config
from ftlab.schemas.sweep_rules import CheckedSweep, check_sweep
from ftlab.schemas.sweeps import Sweep, SweepConfig, SweepPreview, SweepStatus, TrialState, Value
from serve.context import Caller, Services
from serve.http.responses import in_thread
from serve.jobs.submission.auto import resolve_auto
from serve.jobs.submission.job_datasets import with_ids
from serve.jobs.submission.preflight import Start, base_columns, check_max_cost, preflight
from serve.jobs.submission.submit import check_size, hold_base, key_of_deleted, key_reused
from serve.models.base_model import HubAnswer, ask_huggingface, check, short_name
from serve.sweeps.replies import describe
from tracking.store import DuplicateError, Transaction
from tracking.store.ids import new_id
from tracking.store.sweeps import SweepRecord
from train.auto.resolve import Resolved

MAX_AT_WORK = 20
"""Sweeps of one owner that have not ended."""
MAX_VARIANTS = 100
"""Values that are checked against the model; the others are checked when their trial starts."""
NUM_PREVIEWED = 5


@dataclass(frozen=True)
class Submitted:
    """The sweep, and whether it was made by an earlier submit with the same idempotency key."""

    sweep: Sweep
    is_replay: bool = False


@dataclass(frozen=True)
class _ResolvedSweep:
    """A sweep whose job is checked, and what its trials share."""

    sweep: SweepConfig
    checked: CheckedSweep
    resolved: Resolved
    start: Start


async def submit(caller: Caller, sweep: SweepConfig, body_sha256: str, idempotency_key: str | None) -> Submitted:
    """Make a sweep durable, or find the one that the same idempotency key made before.

    Raise what the submission of its job raises; `RateLimitError` (code `quota_exceeded`) for too many sweeps at once,
    `InvalidRequestError` (code `idempotency_key_reused`) when the key belongs to another body, and `ConflictError`
    (code `sweep_deleted`) when the sweep of the same key was deleted.
    """
    if earlier := await caller.call(_replay, body_sha256, idempotency_key):
        return earlier
    found = await _resolve(caller, sweep)
    try:
        return await caller.call(_add, found, body_sha256, idempotency_key)
    except DuplicateError:
        earlier = await caller.call(_replay, body_sha256, idempotency_key)
        assert earlier is not None
        return earlier


async def preview(caller: Caller, sweep: SweepConfig) -> SweepPreview:
    """Raise what `submit` raises for a sweep that cannot be submitted."""
    return await caller.call(_preview, await _resolve(caller, sweep))


async def _resolve(caller: Caller, sweep: SweepConfig) -> _ResolvedSweep:
    checked = await in_thread(check_sweep, sweep)
    answer = await ask_huggingface(caller.services, checked.job.model)
    resolved = await resolve_auto(caller, checked.job, answer)
    start = await caller.call(_preflight, sweep, checked, resolved.config, answer)
    return _ResolvedSweep(sweep, checked, resolved, start)


def _preflight(
    services: Services, owner: str, sweep: SweepConfig, checked: CheckedSweep, config: JobConfig, answer: HubAnswer
) -> Start:
    """Check the trial with the largest values, and every other value in its place, against the model."""
    check_size(services, config.resources)
    check_max_cost(services, config.model_copy(update={"max_cost": sweep.max_cost or config.max_cost}))
    model = check(config.model, services.settings, answer)
    start = preflight(services, owner, config, model)
    document = config.model_dump(mode="json")
    for name, value in checked.variants[:MAX_VARIANTS]:
        variant = parse_job_config(with_settings(document, {name: value}), f"parameters.{name}")
        if auto_settings(variant):
            message = f"parameters.{name} must have values other than 'auto', which stands for one value."
            raise InvalidRequestError(message, "invalid_config", f"parameters.{name}")
        try:
            found = preflight(services, owner, variant, model)
        except FineTuneLabError as error:
            raise type(error)(f"parameters.{name}: {error.message}", error.code, f"parameters.{name}") from None
        if setting(found.config, name) != setting(variant, name):
            raise InvalidRequestError(
                f"parameters.{name} cannot be varied, because the trials continue an adapter, which sets it.",
                "invalid_config",
                f"parameters.{name}",
            )
    return start


def _add(
    services: Services, owner: str, found: _ResolvedSweep, body_sha256: str, idempotency_key: str | None
) -> Submitted:
    now, columns = datetime.now(UTC), base_columns(services, found.start)
    with services.store.begin() as tx:
        tx.quotas.lock(owner)  # two requests cannot both take the last place
        if tx.sweeps.num_at_work(owner) >= MAX_AT_WORK:
            message = f"You have {MAX_AT_WORK} sweeps that have not ended, which is the limit; wait, or cancel one."
            raise RateLimitError(message, "quota_exceeded")
        name, job = _job_of(tx, owner, found)
        if columns["base_job_id"] is not None:
            hold_base(tx, columns["base_job_id"])
        record = SweepRecord(
            id=new_id("sweep"),
            owner=owner,
            name=name,
            config=found.sweep.model_copy(update={"name": name, "job": job}).model_dump(mode="json"),
            whole=tuple(sorted(found.checked.whole)),
            rungs=found.checked.rungs,
            max_trials=found.checked.max_trials,
            auto={key: value.model_dump(mode="json") for key, value in (found.resolved.auto or {}).items()},
            base_job_id=columns["base_job_id"],
            model_revision=columns["model_revision"],
            status=SweepStatus.RUNNING,
            message="The sweep was submitted; its first trial follows.",
            is_settled=False,
            idempotency_key=idempotency_key,
            body_sha256=body_sha256,
            created_at=now,
            finished_at=None,
        )
        tx.sweeps.add(record)
    return Submitted(describe(services, record))


def _job_of(tx: Transaction, owner: str, found: _ResolvedSweep) -> tuple[str, dict[str, Any]]:
    """The name of the sweep, and the template of its jobs, with the ids of the datasets and without a name."""
    start = found.start
    config, datasets = with_ids(tx, owner, start.config)
    made = f"{start.tuned.name if start.tuned else short_name(start.model.ref)} {datasets[0].name}"
    document = config.model_copy(update={"name": None}).model_dump(mode="json")
    return (found.sweep.name or config.name or made)[:200], document


def _replay(services: Services, owner: str, body_sha256: str, idempotency_key: str | None) -> Submitted | None:
    if idempotency_key is None:
        return None
    with services.store.read() as tx:
        found = tx.sweeps.find_idempotent(owner, idempotency_key)
        deleted = None if found else tx.sweeps.deleted_of_key(owner, idempotency_key)
    if deleted is not None:
        raise key_of_deleted("sweep", deleted, "search again")
    if found is None:
        return None
    if found.body_sha256 != body_sha256:
        raise key_reused("sweep", found.id)
    return Submitted(describe(services, found), is_replay=True)


@dataclass(frozen=True)
class _Suggested:
    """A trial that was only suggested, as if its job ran."""

    number: int
    parameters: dict[str, Value]
    state: TrialState = TrialState.RUNNING
    value: float | None = None
    rung_values: tuple[float, ...] = ()


def _preview(services: Services, owner: str, found: _ResolvedSweep) -> SweepPreview:
    sweep, checked = found.sweep, found.checked
    with services.store.read() as tx:
        name, job = _job_of(tx, owner, found)
    suggested: list[_Suggested] = []
    for number in range(min(NUM_PREVIEWED, checked.max_trials)):
        suggested.append(_Suggested(number, next_values(sweep, checked.whole, checked.rungs, suggested)))
    trials = [trial.parameters for trial in suggested]
    first = parse_job_config(with_settings(job, trials[0]), "Trial 0").resolved()
    return SweepPreview(
        name=name,
        max_trials=checked.max_trials,
        rungs=list(checked.rungs),
        trials=trials,
        job=first.model_dump(mode="json"),
    )
