"""What evaluations measured of several jobs: one line for each metric on the same rows with the same settings."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from cluster.runs.model_location import job_folder
from ftlab.errors import NotFoundError
from ftlab.model_ref import parse_model_ref
from ftlab.schemas import EvaluationConfig
from ftlab.schemas.comparisons import ComparedMetric, ComparedValue
from ftlab.schemas.evaluation_results import RESULTS_FILE, RESULTS_FOLDER, EvaluationResults, MetricResult, ModelResult
from ftlab.settings import Settings
from ftlab.status import JobKind, JobStatus
from tracking.store import Transaction
from tracking.store.records import JobRecord

MAX_EVALUATIONS = 100
"""Newest evaluations that are searched."""


@dataclass(frozen=True)
class _Measured:
    """A metric of the model of one job."""

    key: str
    """The same for metrics that were measured in the same way on the same rows against the same base model."""
    job_id: str
    evaluation: JobRecord
    config: EvaluationConfig
    found: MetricResult
    base: MetricResult | None


def compared_evaluations(
    tx: Transaction, settings: Settings, owner: str, records: Sequence[JobRecord]
) -> list[ComparedMetric]:
    """The metrics that completed evaluations measured of the models of these jobs; the newest value of each counts."""
    ids = {record.id for record in records}
    kinds, statuses = {JobKind.EVALUATION}, {JobStatus.COMPLETED}
    lines: dict[str, dict[str, _Measured]] = {}
    for evaluation in tx.jobs.list(owner=owner, kinds=kinds, statuses=statuses, limit=MAX_EVALUATIONS):
        if ids.isdisjoint(tx.jobs.bases_of(evaluation.id)):
            continue
        for measured in _measured(tx, settings, evaluation):
            if measured.job_id in ids:
                lines.setdefault(measured.key, {}).setdefault(measured.job_id, measured)
    return [_line(list(line.values()), [line.get(record.id) for record in records]) for line in lines.values()]


def _measured(tx: Transaction, settings: Settings, evaluation: JobRecord) -> Iterator[_Measured]:
    config = evaluation.config
    file = job_folder(settings, evaluation.id) / RESULTS_FOLDER / RESULTS_FILE
    if not isinstance(config, EvaluationConfig) or not file.is_file():
        return
    results = EvaluationResults.model_validate_json(file.read_text("utf-8"))
    models = {model.key: model for model in results.models}
    for model in results.models:
        job_id = _job_of(tx, model)
        base = models.get(model.base or "")
        if job_id is None or base is None:
            continue
        of_base = {metric.metric: metric for metric in base.metrics}
        for found in model.metrics:
            if (settings_of_metric := _settings_of(config, found.metric)) is not None:
                key = _key(config, found.metric, settings_of_metric, base)
                yield _Measured(key, job_id, evaluation, config, found, of_base.get(found.metric))


def _job_of(tx: Transaction, model: ModelResult) -> str | None:
    """The job that delivered a model; `None` for a base model, a checkpoint, and a model that was deleted."""
    if model.base is None:
        return None
    ref = parse_model_ref(model.name)
    if ref.kind == "model":
        try:
            return tx.models.get(ref.id).job_id
        except NotFoundError:
            return None
    return ref.id if ref.kind == "job" and ref.step is None else None


def _settings_of(config: EvaluationConfig, metric: str) -> list[Any] | None:
    """What a metric of this name was measured on, and how; `None` for a name that the config does not lead to."""
    named = dict(zip(config.metric_names, config.metrics, strict=True))
    if metric in named:
        return [config.dataset, named[metric].model_dump(mode="json"), config.generation.model_dump(mode="json")]
    task = next((task for task in config.tasks if metric.startswith(f"{task.name}/")), None)
    return None if task is None else [task.model_dump(mode="json")]


def _key(config: EvaluationConfig, metric: str, how: list[Any], base: ModelResult) -> str:
    parts = [
        metric,
        how,
        config.max_rows,
        config.seed,
        base.name,
        base.revision,
    ]
    return json.dumps(parts, sort_keys=True)


def _line(measured: Sequence[_Measured], by_job: Sequence[_Measured | None]) -> ComparedMetric:
    first = measured[0]
    return ComparedMetric(
        metric=first.found.metric,
        dataset_id=None if "/" in first.found.metric else first.config.dataset,
        is_lower_better=first.found.is_lower_better,
        base=first.base.value if first.base else None,
        values=[None if each is None else _value(each) for each in by_job],
    )


def _value(measured: _Measured) -> ComparedValue:
    found = measured.found
    return ComparedValue(
        evaluation_id=measured.evaluation.id, value=found.value, low=found.low, high=found.high, num_rows=found.num_rows
    )
