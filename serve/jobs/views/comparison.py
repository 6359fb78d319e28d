"""`/api/training/compare`: several jobs over each other. Every function that is not a route blocks on the store."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Annotated, Literal

from fastapi import APIRouter, Query
from starlette.responses import HTMLResponse, Response

from ftlab.errors import InvalidRequestError
from ftlab.pages import PAGE_POLICY
from ftlab.pages.comparison_page import comparison_page
from ftlab.schemas import EventKind, JobConfig
from ftlab.schemas.comparisons import (
    ComparedAnswer,
    ComparedCurve,
    ComparedDataset,
    ComparedPrompt,
    ComparedRun,
    Comparison,
)
from ftlab.schemas.events import SamplePayload
from ftlab.schemas.records import JobCost
from ftlab.thinning import thinned
from serve.accounts.costs import costs_of
from serve.context import Caller, Services
from serve.http.openapi import also_as
from serve.http.responses import reply
from serve.jobs.views.analytics import TRAIN_SERIES, measured_series, resumed_from_steps
from serve.jobs.views.compared_evaluations import compared_evaluations
from serve.jobs.views.job_view import require_training
from tracking.store import Transaction
from tracking.store.records import DatasetRecord, JobRecord
from train.analytics.analyze import goal_of, series_of
from train.analytics.compared_configs import evaluation_groups, settings_that_differ
from train.analytics.learning import best_evaluation, convergence_of
from train.analytics.measurements import throughput_of
from train.analytics.series import Point

MAX_JOBS = 10
CURVE_POINTS = 300
MAX_SAMPLES = 1_000
"""Newest samples of a job that are read."""

Series = dict[str, list[Point]]

router = APIRouter(tags=["jobs"])


@router.get("/api/training/compare", response_model=Comparison, responses=also_as("text/html"), summary="Compare jobs")
async def compare_jobs(
    caller: Caller,
    job: Annotated[
        list[str], Query(min_length=2, max_length=MAX_JOBS, description="Ids, unique names or unique id prefixes.")
    ],
    format: Annotated[Literal["json", "html"], Query(description="`html` is a report in one file.")] = "json",
) -> Response:
    """Results, curves, settings that differ, data and samples. A report in HTML loads nothing and runs no script."""
    found = await caller.call(compare, job)
    if format == "html":
        headers = {
            "content-security-policy": PAGE_POLICY,
            "content-disposition": 'inline; filename="comparison.html"',
        }
        return HTMLResponse(comparison_page(found), headers=headers)
    return reply(found)


def compare(services: Services, owner: str, jobs: Sequence[str]) -> Comparison:
    """The comparison of these jobs of the owner.

    Raises what a look-up of a job raises, and `InvalidRequestError` (`invalid_parameter`) for the same job twice.
    """
    now = datetime.now(UTC)
    with services.store.read() as tx:
        records = [tx.jobs.resolve(job, owner=owner) for job in jobs]
        _refuse_twice(records)
        for record in records:
            require_training(record, "can be compared with others")
        run_times = tx.attempts.run_times([record.id for record in records if record.attempt], now=now)
        costs = costs_of(services.settings, tx, records, now)
        series = [_series(tx, record) for record in records]
        datasets = _datasets(tx, owner, records)
        evaluations = compared_evaluations(tx, services.settings, owner, records)
        samples = _samples(tx, records)
    configs = [record.training_config for record in records]
    groups = evaluation_groups(configs)
    runs = [
        _run(record, config, own, group, run_times.get(record.id), costs.get(record.id))
        for record, config, own, group in zip(records, configs, series, groups, strict=True)
    ]
    readable = [config for config in configs if config is not None]
    return Comparison(
        runs=_with_best(runs, configs),
        notes=list(_notes(runs)),
        settings=settings_that_differ(readable) if len(readable) == len(configs) else [],
        datasets=datasets,
        evaluations=evaluations,
        samples=samples,
        curves=[curve for record, own in zip(records, series, strict=True) for curve in _curves(record, own)],
    )


def _refuse_twice(records: Sequence[JobRecord]) -> None:
    ids = [record.id for record in records]
    twice = next((each for each in ids if ids.count(each) > 1), None)
    if twice is not None:
        raise InvalidRequestError(
            f"Job {twice} is named twice; compare it with another job.", "invalid_parameter", "job"
        )


def _series(tx: Transaction, record: JobRecord) -> Series:
    names = [name for name in tx.metrics.names(record.id) if name in TRAIN_SERIES or name.startswith("eval_")]
    return series_of(measured_series(tx, record.id, names), resumed_from_steps(tx, record.id))


def _run(
    record: JobRecord,
    config: JobConfig | None,
    series: Series,
    group: int | None,
    run_time_s: float | None,
    cost: JobCost | None,
) -> ComparedRun:
    goal = goal_of(config)
    course = convergence_of(goal.train, series.get(goal.train, []))
    speed = throughput_of(series)
    return ComparedRun(
        job_id=record.id,
        name=record.name,
        status=record.status,
        model=config.model if config else None,
        method=config.method.type if config else None,
        step=record.step,
        total_steps=record.total_steps,
        metric=goal.train,
        last=course.last if course else None,
        best=best_evaluation(series, goal, record.step),
        evaluation_group=group,
        tokens_per_s=speed.tokens_per_s if speed else None,
        run_time_s=run_time_s,
        cost=cost,
    )


def _with_best(runs: Sequence[ComparedRun], configs: Sequence[JobConfig | None]) -> list[ComparedRun]:
    """The runs, the best one of each group with several results marked."""
    best_ids = set()
    for group in {run.evaluation_group for run in runs} - {None}:
        judged = [
            (run, goal_of(config))
            for run, config in zip(runs, configs, strict=True)
            if run.evaluation_group == group and run.best is not None
        ]
        if len(judged) > 1:
            goal = judged[0][1]
            values = {run.job_id: run.best.value for run, _ in judged if run.best}
            best = (max if goal.is_highest_best else min)(values.values())
            best_ids |= {job_id for job_id, value in values.items() if value == best}
    return [run.model_copy(update={"is_best": run.job_id in best_ids}) for run in runs]


def _notes(runs: Sequence[ComparedRun]) -> Iterable[str]:
    unreadable = [run.name for run in runs if run.method is None]
    if unreadable:
        yield f"This version cannot read the config of {', '.join(unreadable)}; settings are not compared."
    judged = [run for run in runs if run.best is not None]
    if len({run.evaluation_group for run in judged}) > 1:
        yield (
            "The jobs were not all evaluated on the same rows in the same way with the same base model: compare the "
            "best evaluation only within a group."
        )
    if len({(run.model, run.metric) for run in runs}) > 1:
        yield (
            "The jobs have different base models or methods: their training metrics are on different scales, and the "
            "loss of a token depends on the tokenizer."
        )
    unfinished = [run.name for run in runs if not run.status.is_terminal]
    if unfinished:
        yield f"Not finished: {', '.join(unfinished)}."


def _curves(record: JobRecord, series: Series) -> Iterable[ComparedCurve]:
    for name, points in series.items():
        steps, values = thinned([point.step for point in points], [point.value for point in points], CURVE_POINTS)
        yield ComparedCurve(name=name, job_id=record.id, steps=[int(step) for step in steps], values=values)


def _datasets(tx: Transaction, owner: str, records: Sequence[JobRecord]) -> list[ComparedDataset]:
    trained_by: dict[str, list[str]] = {}
    evaluated_by: dict[str, list[str]] = {}
    for record in records:
        for dataset_id in dict.fromkeys(record.dataset_ids):
            trained_by.setdefault(dataset_id, []).append(record.id)
        if record.eval_dataset_id:
            evaluated_by.setdefault(record.eval_dataset_id, []).append(record.id)
    ids = list(dict.fromkeys([*trained_by, *evaluated_by]))
    kept = {dataset.id: dataset for dataset in tx.datasets.of_ids(ids, owner=owner)}
    first_of: dict[tuple[str, str], str] = {}
    return [
        _dataset(dataset_id, kept.get(dataset_id), first_of).model_copy(
            update={
                "trained_by": trained_by.get(dataset_id, []),
                "evaluated_by": evaluated_by.get(dataset_id, []),
            }
        )
        for dataset_id in ids
    ]


def _dataset(dataset_id: str, dataset: DatasetRecord | None, first_of: dict[tuple[str, str], str]) -> ComparedDataset:
    """The dataset; `first_of` has the first one with the same rows, by bucket and key of the rows."""
    if dataset is None:
        return ComparedDataset(dataset_id=dataset_id)
    first = first_of.setdefault((dataset.bucket, dataset.canonical), dataset_id)
    same_as = first if first != dataset_id else None
    return ComparedDataset(dataset_id=dataset_id, name=dataset.name, num_rows=dataset.num_rows, same_as=same_as)


def _samples(tx: Transaction, records: Sequence[JobRecord]) -> list[ComparedPrompt]:
    answers: dict[str, dict[str, ComparedAnswer]] = {}
    for record in records:
        for event in tx.events.tail(record.id, EventKind.SAMPLE, MAX_SAMPLES):
            sample = event.payload
            if isinstance(sample, SamplePayload):
                answer = ComparedAnswer(job_id=record.id, step=sample.step, text=sample.text)
                answers.setdefault(sample.prompt, {})[record.id] = answer
    return [ComparedPrompt(prompt=prompt, answers=list(own.values())) for prompt, own in answers.items()]
