"""What earlier evaluations have measured: how fast the same base models read and answer."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from statistics import median

from cluster.runs.evaluated_models import evaluated_models
from ftlab.errors import InvalidRequestError, NotFoundError
from ftlab.schemas import EvaluationConfig
from ftlab.schemas.evaluation import Perplexity
from ftlab.schemas.evaluation_results import ANSWER_SPEED, READ_SPEED
from ftlab.settings import Settings
from ftlab.status import JobKind
from tracking.store import Transaction
from train.plan import MeasuredModel

MAX_EARLIER_JOBS = 50
"""Newest evaluations among which one is searched that measured a speed."""


@dataclass(frozen=True)
class Speeds:
    """Tokens per second of an earlier evaluation."""

    job_id: str
    answer: float | None
    read: float | None

    def time_s(self, read_tokens: float, answer_tokens: float) -> float:
        """Seconds to read and to generate these numbers of tokens."""
        read_s = read_tokens / self.read if self.read else 0.0
        return read_s + (answer_tokens / self.answer if self.answer else 0.0)


def earlier_speeds(
    tx: Transaction, settings: Settings, owner: str, config: EvaluationConfig, models: Sequence[MeasuredModel]
) -> Speeds | None:
    """The speeds of the newest evaluation of the same base models with the same batches on as many devices.

    `None` where there is none, and where tasks are measured, whose tokens are not counted.
    """
    if config.tasks:
        return None
    bases = _bases(models)
    for job in tx.jobs.list(owner=owner, kinds={JobKind.EVALUATION}, limit=MAX_EARLIER_JOBS):
        other = job.config
        if not isinstance(other, EvaluationConfig) or _pace(other) != _pace(config):
            continue
        try:
            is_same = _bases(evaluated_models(tx, settings, other.models)) == bases
        except (NotFoundError, InvalidRequestError):  # one of its models was deleted or damaged
            continue
        if is_same and (speeds := _speeds(tx, job.id, needs=_needed(config))) is not None:
            return speeds
    return None


def _speeds(tx: Transaction, job_id: str, needs: Collection[str]) -> Speeds | None:
    points = tx.metrics.series(job_id, set(needs))
    found = {name: [point.value for point in points if point.name == name and point.value > 0] for name in needs}
    if not all(found.values()):
        return None
    medians = {name: median(values) for name, values in found.items()}
    return Speeds(job_id, medians.get(ANSWER_SPEED), medians.get(READ_SPEED))


def _needed(config: EvaluationConfig) -> set[str]:
    return {READ_SPEED if isinstance(metric, Perplexity) else ANSWER_SPEED for metric in config.metrics}


def _pace(config: EvaluationConfig) -> tuple[object, ...]:
    """The settings that determine the speed of an evaluation."""
    return config.resources, config.batch_size


def _bases(models: Sequence[MeasuredModel]) -> set[tuple[str, str | None]]:
    return {(model.model, model.pinned_revision) for model in models if model.base is None}
