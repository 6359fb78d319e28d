"""Estimate what an evaluation would need: tokens, time, memory and cost. Nothing is stored."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cluster.data.requests import BaseRef, LengthsRequest, source_file
from cluster.policy import Fleet
from cluster.runs.earlier_evaluations import Speeds, earlier_speeds
from ftlab.errors import ServiceUnavailableError
from ftlab.schemas import EvaluationConfig, GrpoMethod, JobEstimate, RowEstimate, SftMethod
from ftlab.schemas.evaluation import Perplexity
from ftlab.schemas.methods import Method
from ftlab.schemas.rewards import ExactMatchReward
from ftlab.status import JobKind
from serve.context import Caller, Services
from serve.http.responses import in_thread
from serve.jobs.evaluations.routes import checked_evaluation, earlier_of
from serve.jobs.submission.device_pools import Pool, estimate_evaluation_on, pools_of
from serve.jobs.submission.estimate import GPU_NOT_MEASURED, NO_SHAPE, OTHER_BLOCKS, with_cost
from serve.models.base_model import HubAnswer, ask_huggingface
from train.estimate.measuring import measuring_peak
from train.estimate.memory import Memory
from train.model.files import ModelFacts
from train.model.shape import ModelShape
from train.plan import MeasuredModel

if TYPE_CHECKING:
    from train.data.tokens.row_lengths import RowLengths

MAX_TOKENS = 1_048_576
"""Largest number of tokens that a setting of a length allows."""
NO_SPEED = "The time is not known: no evaluation of these base models with these settings has measured a speed here."
LONGEST_ANSWERS = (
    "Tokens, time and memory are computed for answers of generation.max_new_tokens tokens; shorter answers need less."
)
SAMPLED = "The tokens of the rows are scaled up from a sample, or from all rows of the dataset."
SMALLEST_BATCH = (
    "On a GPU, the memory is that of one row at a time; without batch_size, an evaluation works on as many as fit."
)
TASKS = "Tokens, time and memory of the tasks of lm-eval are not estimated."
JUDGED = "What a judge takes in time and money is not included."
MEASURED_BEFORE = (
    "Job {} measured the same models on the same rows with the same settings: the evaluation answers at once."
)


@dataclass(frozen=True)
class _Facts:
    """What is known about an evaluation before it is submitted."""

    config: EvaluationConfig
    models: tuple[MeasuredModel, ...]
    models_facts: tuple[ModelFacts | None, ...]
    num_rows: int
    """Rows of the dataset."""
    readings: tuple[LengthsRequest, ...]
    """The rows as each perplexity reads them."""
    prompts: LengthsRequest | None
    """The prompts, where a metric needs answers."""
    fleet: Fleet | None
    speeds: Speeds | None
    earlier_job: str | None
    """A completed evaluation that answers this one."""

    @property
    def shape(self) -> ModelShape | None:
        """The largest base model; `None` where the memory of one cannot be estimated."""
        shapes = [facts.shape if facts else None for facts in self.models_facts]
        known = [shape for shape in shapes if shape is not None]
        return max(known, key=lambda shape: shape.num_parameters) if len(known) == len(shapes) else None

    @property
    def share(self) -> float:
        """Share of the rows that is measured."""
        return min(1.0, (self.config.max_rows or self.num_rows) / max(1, self.num_rows))


async def estimate_evaluation(caller: Caller, config: EvaluationConfig) -> JobEstimate:
    """What the evaluation would need. Raises what a submission raises, except for quotas."""
    answers = [await ask_huggingface(caller.services, model) for model in config.models]
    facts = await caller.call(_facts, config, answers)
    requests = [*facts.readings, *([facts.prompts] if facts.prompts else [])]
    notes = []
    rows: list[RowLengths] | None = None
    try:
        rows = [(await caller.services.data.row_lengths(request))[0] for request in requests]
    except ServiceUnavailableError as error:
        notes.append(f"The rows were not counted: {error.message}")
    reply = await in_thread(_reply, facts, rows, notes)
    return with_cost(reply, caller.services.settings, facts.config, facts.fleet)


def _facts(services: Services, owner: str, config: EvaluationConfig, answers: Sequence[HubAnswer]) -> _Facts:
    """Check the config as a submission does, and gather what is known. Blocks on the store."""
    checked = checked_evaluation(services, owner, config, answers)
    first, dataset = checked.models[0], checked.dataset
    files = (source_file(services.settings, dataset),) if dataset else ()
    base = BaseRef(first.model, services.settings.home / "models", first.pinned_revision, first.local_base)
    metrics = checked.config.metrics
    read: list[Method] = [
        SftMethod(max_length=metric.max_length, assistant_only_loss=metric.assistant_only_loss)
        for metric in metrics
        if isinstance(metric, Perplexity)
    ]
    prompts = _prompts(checked.config, checked.facts) if len(read) < len(metrics) else None
    with services.store.read() as tx:
        speeds = earlier_speeds(tx, services.settings, owner, checked.config, checked.models)
    earlier = earlier_of(services, owner, checked)
    return _Facts(
        config=checked.config,
        models=checked.models,
        models_facts=checked.facts,
        num_rows=dataset.num_rows if dataset else 0,
        readings=tuple(LengthsRequest(base, method, files) for method in read),
        prompts=LengthsRequest(base, prompts, files) if prompts else None,
        fleet=services.coordinator.machines(),
        speeds=speeds,
        earlier_job=earlier.job.id if earlier else None,
    )


def _prompts(config: EvaluationConfig, facts: Sequence[ModelFacts | None]) -> GrpoMethod:
    """The method whose prompts are those that an evaluation answers: each leaves room for its answer."""
    layers = facts[0].layers if facts and facts[0] else None
    longest = (layers.max_positions if layers else None) or MAX_TOKENS
    answer = config.generation.max_new_tokens
    return GrpoMethod(
        rewards=[ExactMatchReward()],
        max_length=min(MAX_TOKENS, max(longest, answer + 1)),
        max_completion_length=answer,
    )


def _reply(facts: _Facts, rows: "list[RowLengths] | None", notes: list[str]) -> JobEstimate:
    num_readings = len(facts.readings)
    read = None if not rows else sum(lengths.num_tokens for lengths in rows[:num_readings]) * facts.share
    answers = _answer_tokens(facts, rows[num_readings:]) if rows else None
    tokens = None if read is None or answers is None else round((read + answers) * len(facts.models))
    longest = max((lengths.longest for lengths in rows or []), default=0)
    pools = pools_of(facts.config, facts.fleet)
    speeds = facts.speeds
    return JobEstimate(
        kind=JobKind.EVALUATION,
        model=facts.config.models[-1],
        rows=_rows(facts, rows) if rows else None,
        tokens=tokens,
        time_s=_time_s(facts, read, answers),
        measured_job_id=speeds.job_id if speeds and not facts.earlier_job else None,
        peak_length=longest + (facts.config.generation.max_new_tokens if facts.prompts else 0),
        devices=[estimate_evaluation_on(pool, _peak(facts, rows, pool)) for pool in pools],
        notes=[*notes, *_notes(facts, rows, pools)],
    )


def _answer_tokens(facts: _Facts, prompts: "Sequence[RowLengths]") -> float:
    """Tokens of all answers of one model, where each has `generation.max_new_tokens`."""
    num_answers = sum(lengths.num_sequences for lengths in prompts) * facts.share
    return num_answers * facts.config.generation.max_new_tokens


def _time_s(facts: _Facts, read: float | None, answers: float | None) -> float | None:
    """Seconds of all models, from the speeds of an earlier evaluation; never guessed."""
    if facts.earlier_job:
        return 0.0
    if facts.speeds is None or read is None or answers is None:
        return None
    return facts.speeds.time_s(read, answers) * len(facts.models)


def _rows(facts: _Facts, rows: "list[RowLengths]") -> RowEstimate:
    first = rows[0]
    return RowEstimate(
        num_rows=round(first.num_rows * facts.share),
        num_sequences=round(first.num_sequences * facts.share),
        tokens_per_epoch=round(first.num_tokens * facts.share),
        trained_tokens_per_epoch=round(first.num_trained_tokens * facts.share),
        longest=first.longest,
        is_exact=_is_exact(facts, rows),
    )


def _is_exact(facts: _Facts, rows: "Sequence[RowLengths]") -> bool:
    return facts.share == 1.0 and all(lengths.is_exact for lengths in rows)


def _peak(facts: _Facts, rows: "list[RowLengths] | None", pool: Pool) -> Memory | None:
    """The largest of the peaks of all parts of the work; `None` where it cannot be computed."""
    shape = facts.shape
    if shape is None or not rows or facts.config.tasks:
        return None
    longest = [lengths.longest for lengths in rows]
    readings, prompts = longest[: len(facts.readings)], longest[len(facts.readings) :]
    return measuring_peak(shape, facts.config, readings, prompts, pool.traits)


def _notes(facts: _Facts, rows: "list[RowLengths] | None", pools: Sequence[Pool]) -> list[str]:
    if facts.earlier_job:
        return [MEASURED_BEFORE.format(facts.earlier_job)]
    notes = [SAMPLED] if rows is not None and not _is_exact(facts, rows) else []
    if facts.shape is None:
        notes.append(NO_SHAPE)
    elif not facts.shape.is_measured:
        notes.append(OTHER_BLOCKS.format(facts.shape.model_type))
    if facts.prompts:
        notes.append(LONGEST_ANSWERS)
    if facts.config.judges:
        notes.append(JUDGED)
    if facts.config.tasks:
        notes.append(TASKS)
    if facts.fleet is None:
        notes.append("The devices are not known, because the scheduler does not respond; try again in a moment.")
    elif any(pool.traits.use_cuda for pool in pools):
        notes += [GPU_NOT_MEASURED] if facts.config.batch_size else [GPU_NOT_MEASURED, SMALLEST_BATCH]
    if facts.speeds is None and not facts.config.tasks:
        notes.append(NO_SPEED)
    return notes
