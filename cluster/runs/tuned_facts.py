"""What the record says about a tuned model, for its model card."""

from collections.abc import Iterator
from datetime import datetime

from cluster.runs.model_location import job_folder
from ftlab.model_ref import ModelRef
from ftlab.schemas import JobConfig
from ftlab.schemas.base_config import RUN_FIELDS
from ftlab.schemas.evaluation_results import RESULTS_FILE, RESULTS_FOLDER, EvaluationResults
from ftlab.schemas.job_file import short_document, write_yaml
from ftlab.settings import Settings
from ftlab.status import JobKind, JobStatus
from tracking.costs import job_cost
from tracking.store import Transaction
from tracking.store.records import JobRecord
from train.export.tuned_facts import MeasuredMetric, TunedFacts

PRIVATE = ("name", "dataset", "eval_dataset", "register_as", *RUN_FIELDS)
METRICS = ("loss", "eval_loss", "final_eval_loss")


def tuned_facts(tx: Transaction, settings: Settings, ref: ModelRef, now: datetime) -> TunedFacts:
    """The facts of a model of this service. Raises `NotFoundError` when it or its job is gone."""
    model = tx.models.get(ref.id) if ref.kind == "model" else None
    job = tx.jobs.get(model.job_id if model else ref.id)
    config = job.training_config
    step = model.step if model else ref.step or 0
    costs = tx.costs.of_jobs([job.id]).get(job.id, [])
    cost = job_cost(settings, job, costs, tx.attempts.without_cost_record([job.id]), now)
    datasets = {each.id: each for each in tx.datasets.of_ids(job.dataset_ids, owner=job.owner)}
    return TunedFacts(
        job_id=job.id,
        job_name=job.name,
        base_model=model.base_model if model else str(job.submitted_config.get("model")),
        base_revision=model.base_revision if model else job.model_revision,
        tuning=f"{config.method.type}, {config.tuning}" if config else "",
        quantised_by=config.quantised_by if config else None,
        step=step,
        datasets=tuple((datasets[each].name, datasets[each].num_rows) for each in job.dataset_ids if each in datasets),
        config=write_yaml(_public(config)) if config else "",
        metrics=_metrics(tx, job, step),
        measured=tuple(_measured(tx, settings, job, ref)),
        cost=f"{cost.amount:.2f} {cost.currency}" if cost else None,
        run_time_s=tx.attempts.run_times([job.id], now=now).get(job.id),
    )


def _public(config: JobConfig) -> dict[str, object]:
    """The settings that decide the weights, without those of the service and the ids of its records."""
    document = short_document(config)
    return {key: value for key, value in document.items() if key not in PRIVATE}


def _metrics(tx: Transaction, job: JobRecord, step: int) -> dict[str, float]:
    """The newest training loss up to a step, and the eval losses of that step: those of others are of other weights."""
    points = [(name, at, value) for name in METRICS for at, value in tx.metrics.values(job.id, name).items()]
    return {name: value for name, at, value in points if at == step or (name == "loss" and at < step)}


def _measured(tx: Transaction, settings: Settings, job: JobRecord, ref: ModelRef) -> Iterator[MeasuredMetric]:
    """What completed evaluations found about this model, the newest first."""
    names = {str(ref)}
    newest = tx.models.of_job(job.id)
    if newest is not None and newest.id == ref.id:
        names.add(f"job:{job.id}")
    for evaluation in tx.jobs.readers_of(job.id, JobKind.EVALUATION):
        if evaluation.status is not JobStatus.COMPLETED:
            continue
        file = job_folder(settings, evaluation.id) / RESULTS_FOLDER / RESULTS_FILE
        try:
            results = EvaluationResults.model_validate_json(file.read_bytes())
        except (OSError, ValueError):
            continue  # its files were removed
        dataset_id = results.dataset_id or ""
        [dataset] = [each.name for each in tx.datasets.of_ids([dataset_id], owner=job.owner)] or [dataset_id]
        yield from _of_results(results, names, dataset)


def _of_results(results: EvaluationResults, names: set[str], dataset: str) -> Iterator[MeasuredMetric]:
    values = {(model.key, metric.metric): metric.value for model in results.models for metric in model.metrics}
    tests = {(test.model, test.other, test.metric): test.p_value for test in results.tests}
    for model in results.models:
        if model.name not in names or model.base is None:
            continue
        for metric in model.metrics:
            base = values.get((model.base, metric.metric))
            p_value = tests.get((model.key, model.base, metric.metric))
            task, slash, name = metric.metric.partition("/")
            measured_on, shown = (task, name) if slash else (dataset, metric.metric)
            yield MeasuredMetric(measured_on, shown, metric.num_rows, base, metric.value, p_value)
