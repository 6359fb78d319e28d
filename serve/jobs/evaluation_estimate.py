"""Estimate what an evaluation would need: tokens, time, memory and cost. Nothing is stored."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from statistics import median

from cluster.data.requests import BaseRef, LengthsRequest, source_file
from cluster.policy import Fleet
from cluster.runs.evaluated_models import evaluated_models
from ftlab.errors import NotFoundError, ServiceUnavailableError
from ftlab.schemas import EvaluationConfig, GrpoMethod, JobEstimate, RowEstimate, SftMethod
from ftlab.schemas.evaluation import Perplexity
from ftlab.schemas.evaluation_results import ANSWER_SPEED, READ_SPEED
from ftlab.schemas.methods import Method
from ftlab.schemas.rewards import ExactMatchReward
from ftlab.settings import Settings
from ftlab.status import JobKind
from serve.context import Caller, Services
from serve.http.responses import in_thread
from serve.jobs.estimate import GPU_NOT_MEASURED, NO_SHAPE, OTHER_BLOCKS, with_cost
from serve.jobs.estimate_devices import Pool, estimate_evaluation_on, pools_of
from serve.jobs.evaluations import checked_evaluation, earlier_of
from serve.models.base_model import HubAnswer, ask_huggingface
from tracking.store import Transaction
from train.data.tokens.row_lengths import RowLengths
from train.device_defaults import AS_TRAINED, FIRST_BATCH_ON_CPU
from train.estimate.memory import Memory, answering_peak, evaluation_peak
from train.model.files import ModelFacts
from train.model.shape import ModelShape
from train.plan import MeasuredModel

MAX_EARLIER_JOBS = 50
"""Newest evaluations among which one is searched that measured a speed."""
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
JUDGED = "What a judge takes in time and money is not included."
MEASURED_BEFORE = (
    "Job {} measured the same models on the same rows with the same settings: the evaluation answers at once."
)


@dataclass(frozen=True)
class _Speeds:
    """Tokens per second of an earlier evaluation."""

    job_id: str
    answer: float | None
    read: float | None


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
    speeds: _Speeds | None
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
    first, file = checked.models[0], source_file(services.settings, checked.dataset)
    base = BaseRef(first.model, services.settings.home / "models", first.pinned_revision, first.local_base)
    metrics = checked.config.metrics
    read: list[Method] = [
        SftMethod(max_length=metric.max_length, assistant_only_loss=metric.assistant_only_loss)
        for metric in metrics
        if isinstance(metric, Perplexity)
    ]
    prompts = _prompts(checked.config, checked.facts) if len(read) < len(metrics) else None
    with services.store.read() as tx:
        speeds = _earlier_speeds(tx, services.settings, owner, checked.config, checked.models)
    earlier = earlier_of(services, owner, checked)
    return _Facts(
        config=checked.config,
        models=checked.models,
        models_facts=checked.facts,
        num_rows=checked.dataset.num_rows,
        readings=tuple(LengthsRequest(base, method, (file,)) for method in read),
        prompts=LengthsRequest(base, prompts, (file,)) if prompts else None,
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


def _earlier_speeds(
    tx: Transaction, settings: Settings, owner: str, config: EvaluationConfig, models: Sequence[MeasuredModel]
) -> _Speeds | None:
    """The speeds of the newest evaluation of the same base models with the same batches on as many devices."""
    bases = _bases(models)
    for job in tx.jobs.list(owner=owner, kinds={JobKind.EVALUATION}, limit=MAX_EARLIER_JOBS):
        other = job.config
        if not isinstance(other, EvaluationConfig) or _pace(other) != _pace(config):
            continue
        try:
            is_same = _bases(evaluated_models(tx, settings, other.models)) == bases
        except NotFoundError:  # one of its models was deleted
            continue
        if is_same and (speeds := _speeds(tx, job.id, needs=_needed(config))) is not None:
            return speeds
    return None


def _speeds(tx: Transaction, job_id: str, needs: Collection[str]) -> _Speeds | None:
    points = tx.metrics.series(job_id, set(needs))
    found = {name: [point.value for point in points if point.name == name and point.value > 0] for name in needs}
    if not all(found.values()):
        return None
    medians = {name: median(values) for name, values in found.items()}
    return _Speeds(job_id, medians.get(ANSWER_SPEED), medians.get(READ_SPEED))


def _needed(config: EvaluationConfig) -> set[str]:
    return {READ_SPEED if isinstance(metric, Perplexity) else ANSWER_SPEED for metric in config.metrics}


def _pace(config: EvaluationConfig) -> tuple[object, ...]:
    """The settings that determine the speed of an evaluation."""
    return config.resources, config.batch_size


def _bases(models: Sequence[MeasuredModel]) -> set[tuple[str, str | None]]:
    return {(model.model, model.pinned_revision) for model in models if model.base is None}


def _reply(facts: _Facts, rows: list[RowLengths] | None, notes: list[str]) -> JobEstimate:
    num_readings = len(facts.readings)
    read = None if rows is None else sum(lengths.num_tokens for lengths in rows[:num_readings]) * facts.share
    answers = _answer_tokens(facts, rows[num_readings:]) if rows is not None else None
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


def _answer_tokens(facts: _Facts, prompts: Sequence[RowLengths]) -> float:
    """Tokens of all answers of one model, where each has `generation.max_new_tokens`."""
    num_answers = sum(lengths.num_sequences for lengths in prompts) * facts.share
    return num_answers * facts.config.generation.max_new_tokens


def _time_s(facts: _Facts, read: float | None, answers: float | None) -> float | None:
    """Seconds of all models, from the speeds of an earlier evaluation; never guessed."""
    if facts.earlier_job:
        return 0.0
    if facts.speeds is None or read is None or answers is None:
        return None
    read_s = read / facts.speeds.read if facts.speeds.read else 0.0
    answer_s = answers / facts.speeds.answer if facts.speeds.answer else 0.0
    return (read_s + answer_s) * len(facts.models)


def _rows(facts: _Facts, rows: list[RowLengths]) -> RowEstimate:
    first = rows[0]
    return RowEstimate(
        num_rows=round(first.num_rows * facts.share),
        num_sequences=round(first.num_sequences * facts.share),
        tokens_per_epoch=round(first.num_tokens * facts.share),
        trained_tokens_per_epoch=round(first.num_trained_tokens * facts.share),
        longest=first.longest,
        is_exact=_is_exact(facts, rows),
    )


def _is_exact(facts: _Facts, rows: Sequence[RowLengths]) -> bool:
    return facts.share == 1.0 and all(lengths.is_exact for lengths in rows)


def _peak(facts: _Facts, rows: list[RowLengths] | None, pool: Pool) -> Memory | None:
    """The largest of the peaks of all parts of the work; `None` where it cannot be computed."""
    shape = facts.shape
    if shape is None or rows is None:
        return None
    texts = facts.config.batch_size or (1 if pool.place.use_cuda else FIRST_BATCH_ON_CPU)
    training = AS_TRAINED.training.model_copy(update={"per_device_eval_batch_size": texts})
    config = AS_TRAINED.model_copy(update={"training": training})
    readings, prompts = rows[: len(facts.readings)], rows[len(facts.readings) :]
    peaks = [evaluation_peak(shape, config, max(1, lengths.longest), pool.place) for lengths in readings]
    for lengths in prompts:
        length = lengths.longest + facts.config.generation.max_new_tokens
        peaks.append(answering_peak(shape, config, texts, length, pool.place))
    return max(peaks, key=lambda peak: peak.total)


def _notes(facts: _Facts, rows: list[RowLengths] | None, pools: Sequence[Pool]) -> list[str]:
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
    if facts.fleet is None:
        notes.append("The devices are not known, because the scheduler does not respond; try again in a moment.")
    elif any(pool.place.use_cuda for pool in pools):
        notes += [GPU_NOT_MEASURED] if facts.config.batch_size else [GPU_NOT_MEASURED, SMALLEST_BATCH]
    if facts.speeds is None:
        notes.append(NO_SPEED)
    return notes
