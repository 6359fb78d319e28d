"""Evaluations: how they are submitted, and what they found. Every function that is not a route blocks on the store."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Annotated

from fastapi import APIRouter, Query
from starlette.responses import Response

from cluster.runs.evaluated_models import evaluated_models
from cluster.runs.model_location import job_folder
from ftlab.errors import ConflictError, FineTuneLabError, InvalidRequestError, NotFoundError
from ftlab.lines import lines_in
from ftlab.model_ref import parse_model_ref
from ftlab.schemas import EvaluationConfig, NoticePayload, SftMethod
from ftlab.schemas.evaluation import Metric, Perplexity
from ftlab.schemas.evaluation_results import (
    RESULTS_FILE,
    RESULTS_FOLDER,
    ROWS_FILE,
    AnsweredRow,
    EvaluationResults,
)
from ftlab.schemas.judge_servers import JudgeServer
from ftlab.schemas.judges import JudgeMetric
from ftlab.schemas.methods import RowKind
from ftlab.schemas.replies import AnsweredRowList
from ftlab.status import JobKind, JobStatus
from serve.context import Caller, CallerContext, Services
from serve.http.json_body import JsonRoute
from serve.http.query import JobId
from serve.http.responses import reply
from serve.jobs.submission.job_datasets import find_dataset
from serve.jobs.submission.parents import NO_PARENTS, Expected, Parents
from serve.jobs.submission.preflight import check_max_cost, model_facts
from serve.jobs.submission.submit import NewJob, ResolvedSubmission, Submission, Submitted, check_size
from serve.jobs.views.job_view import describe
from serve.models.base_model import UNCHECKED, HubAnswer, ask_huggingface, check, find_tuned, job_of_folder, short_name
from tracking.store import Transaction
from tracking.store.records import DatasetRecord, JobRecord
from train.evaluation.cache_key import cache_key
from train.evaluation.task_checks import checked_tasks
from train.model.files import ModelFacts
from train.model.identity import known_identity
from train.model.reward_head import check_files, no_language_model
from train.plan import MeasuredModel
from train.rewards import checked_scores

router = APIRouter(prefix="/api/training/jobs", tags=["jobs"], route_class=JsonRoute)

MAX_NAME_CHARS = 200
_ANSWERED = (RowKind.MESSAGES, RowKind.PROMPTS)
"""Kinds of rows that a model can answer."""
_LEARNED = (RowKind.MESSAGES, RowKind.TEXT)
"""Kinds of rows that a perplexity can be measured of."""


@router.get("/{job_id}/evaluation", response_model=EvaluationResults, summary="Get what an evaluation found")
async def get_results(caller: Caller, job_id: JobId) -> Response:
    """Values with intervals, tests, and the worst and best rows. The base models come first."""
    return reply(await caller.call(results, job_id))


@router.get("/{job_id}/evaluation/rows", response_model=AnsweredRowList, summary="List the rows of an evaluation")
async def get_rows(
    caller: Caller,
    job_id: JobId,
    after: Annotated[int, Query(ge=0, le=2**53, description="Number of the last row of the page before.")] = 0,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> Response:
    """The answer of every model to each row, with its scores, in the order of the dataset."""
    return reply(await caller.call(rows, job_id, after, limit))


async def resolve_evaluation(caller: CallerContext, submission: Submission) -> ResolvedSubmission:
    """Check the job, and find a completed one that measured the same.

    Raises what `serve.models.base_model.check` raises for a model.
    """
    config = submission.config
    assert isinstance(config, EvaluationConfig)
    answers = [await ask_huggingface(caller.services, model) for model in config.models]
    return await caller.call(_resolve, submission, config, answers)


def results(services: Services, owner: str, job: str) -> EvaluationResults:
    """Raise `ConflictError` for a job of another kind (`not_an_evaluation`), and for one that has not completed."""
    found = EvaluationResults.model_validate_json(_file_text(services, owner, job, RESULTS_FILE))
    with services.store.read() as tx:
        titles = [_title(tx, owner, model.name) for model in found.models]
    shared = {title for title, count in Counter(titles).items() if count > 1}
    models = [
        model.model_copy(update={"title": f"{title} ({model.name})" if title in shared and title else title})
        for model, title in zip(found.models, titles, strict=True)
    ]
    return found.model_copy(update={"models": models})


def rows(services: Services, owner: str, job: str, after: int, limit: int) -> AnsweredRowList:
    """One page of the rows. Raises what `results` raises."""
    lines = lines_in(_file_text(services, owner, job, ROWS_FILE))
    found = (AnsweredRow.model_validate_json(line) for line in islice(lines, after, after + limit + 1))
    page = list(found)
    return AnsweredRowList(data=page[:limit], has_more=len(page) > limit)


def _title(tx: Transaction, owner: str, name: str) -> str | None:
    """The name of the job of a model, with the step of a checkpoint; `None` for a model without a job."""
    try:
        ref = parse_model_ref(name)
        if ref.kind not in ("job", "model"):
            return None
        job_id = ref.id if ref.kind == "job" else tx.models.get(ref.id, owner=owner).job_id
        job = tx.jobs.get(job_id, owner=owner)
    except (InvalidRequestError, NotFoundError):
        return None
    return job.name if ref.step is None else f"{job.name}/step-{ref.step}"


def _file_text(services: Services, owner: str, job: str, name: str) -> str:
    with services.store.read() as tx:
        record = tx.jobs.resolve(job, owner=owner)
    if record.kind is not JobKind.EVALUATION:
        raise ConflictError(
            f"Job {record.id!r} is of the kind '{record.kind}', and not an evaluation.", "not_an_evaluation"
        )
    if record.status is not JobStatus.COMPLETED:
        raise ConflictError(
            f"Evaluation {record.id!r} is {record.status}; its results are there once it has completed.",
            "evaluation_not_completed",
        )
    try:
        return (job_folder(services.settings, record.id) / RESULTS_FOLDER / name).read_text("utf-8")
    except FileNotFoundError:
        raise NotFoundError("The files of this evaluation no longer exist.", "results_not_found", "job_id") from None


@dataclass(frozen=True)
class CheckedEvaluation:
    """An evaluation with all checks of a submission."""

    config: EvaluationConfig
    dataset: DatasetRecord | None
    """`None` where only tasks are measured."""
    models: tuple[MeasuredModel, ...]
    """All models that it measures."""
    name: str
    """Name of the last model."""
    source_job_ids: tuple[str, ...]
    is_unchecked: bool
    facts: tuple[ModelFacts | None, ...]
    """Of the base model of each model that it names; `None` where its files do not say."""
    identities: list[str] | None
    """What the models are; `None` where that is not known of all."""

    @property
    def key(self) -> str | None:
        """The key of a completed evaluation that answers this one."""
        rows = self.dataset.canonical if self.dataset else None
        return cache_key(self.config, rows, self.identities) if self.identities else None


def _resolve(
    services: Services, owner: str, submission: Submission, config: EvaluationConfig, answers: Sequence[HubAnswer]
) -> ResolvedSubmission:
    checked = checked_evaluation(services, owner, config, answers, submission.parents)
    earlier = earlier_of(services, owner, checked)

    def complete(tx: Transaction) -> NewJob:
        current = _dataset(tx, owner, config)
        resolved = checked.config.model_copy(update={"dataset": current.id}) if current else checked.config
        notices = [NoticePayload(code="model_unchecked", message=UNCHECKED)] if checked.is_unchecked else []
        measured_on = [current.name] if current else []
        name = f"{checked.name} on {' and '.join([*measured_on, *(task.name for task in config.tasks)])}"
        return NewJob(resolved, name[:MAX_NAME_CHARS], notices, source_job_ids=checked.source_job_ids)

    def note(tx: Transaction, record: JobRecord) -> None:
        tx.evaluations.add(record.id, owner=owner, key=checked.key, identities=checked.identities)

    return ResolvedSubmission(replace(submission, on_add=note), lambda: complete, earlier)


def earlier_of(services: Services, owner: str, checked: CheckedEvaluation) -> Submitted | None:
    """The completed evaluation that answers this one, whose results still exist."""
    key = checked.key
    if not checked.config.reuse or key is None:
        return None
    with services.store.read() as tx:
        found = tx.evaluations.completed(key, owner=owner)
        if found is None or not (job_folder(services.settings, found) / RESULTS_FOLDER / RESULTS_FILE).is_file():
            return None
        return Submitted(describe(services.settings, tx, tx.jobs.get(found)), is_cached=True)


def checked_evaluation(
    services: Services,
    owner: str,
    config: EvaluationConfig,
    answers: Sequence[HubAnswer],
    parents: Parents = NO_PARENTS,
) -> CheckedEvaluation:
    """Check all that a submission checks. Raises what `resolve_evaluation` raises."""
    check_size(services, config.resources)
    check_max_cost(services, config)
    settings = services.settings
    metrics = checked_scores(config.metrics, "metrics", settings.reward_files)
    metrics = [_with_judge(metric, f"metrics.{place}", settings.judges) for place, metric in enumerate(metrics)]
    tasks = checked_tasks(config.tasks, settings.lm_eval_tasks)
    named: list[_NamedModel] = []
    for place, (text, answer) in enumerate(zip(config.models, answers, strict=True)):
        expected = parents.expected.get(text)
        if expected is not None and expected.scores_texts:
            raise no_language_model(SftMethod(), f"models.{place}")
        try:
            named.append(_named_model(services, owner, text, answer, expected))
        except FineTuneLabError as error:
            raise type(error)(error.message, error.code, f"models.{place}") from None
    models = list(dict.fromkeys(each.model for each in named))
    is_unchecked = any(answer.is_away for answer in answers)
    config = config.model_copy(update={"models": models, "metrics": metrics, "tasks": tasks})
    with services.store.read() as tx:
        dataset = _dataset(tx, owner, config)
        if dataset is not None:
            _check_rows(config, dataset)
        # What a job will deliver has no identity yet: such an evaluation is not found again.
        measured = () if parents.expected else evaluated_models(tx, settings, config.models)
    known = [known_identity(model, settings.home / "models") for model in measured]
    return CheckedEvaluation(
        config=config,
        dataset=dataset,
        models=measured,
        name=named[-1].name,
        source_job_ids=tuple(dict.fromkeys(each.source for each in named if each.source is not None)),
        is_unchecked=is_unchecked,
        facts=tuple(each.facts for each in named),
        identities=[each for each in known if each is not None] if known and all(known) else None,
    )


@dataclass(frozen=True)
class _NamedModel:
    """One of the models that an evaluation names, as its job will load it."""

    model: str
    name: str
    source: str | None = None
    """The job whose files it needs."""
    facts: ModelFacts | None = None
    """`None` for a model that a job will deliver."""


def _named_model(
    services: Services, owner: str, text: str, answer: HubAnswer, expected: Expected | None
) -> _NamedModel:
    """Raises what `resolve_evaluation` raises for a model."""
    if expected is not None:
        return _NamedModel(expected.parent.model, expected.parent.name, expected.parent.id)
    settings = services.settings
    found = check(text, settings, answer)
    with services.store.read() as tx:
        tuned = find_tuned(found.ref, tx, settings, owner)
    if tuned is not None:
        check_files(SftMethod(), tuned.folder)
    facts = model_facts(services, found, tuned)
    if tuned is not None:
        return _NamedModel(str(tuned.ref), tuned.name, tuned.job_id, facts)
    # The files that are measured are those of the commit that was found now.
    is_pinned = found.adapter is None and found.revision is not None and found.ref.kind == "hub"
    ref = replace(found.ref, revision=found.revision) if is_pinned else found.ref
    return _NamedModel(str(ref), short_name(found.ref), job_of_folder(found.ref, settings), facts)


def _dataset(tx: Transaction, owner: str, config: EvaluationConfig) -> DatasetRecord | None:
    return None if config.dataset is None else find_dataset(tx, owner, config.dataset, "dataset")


def _with_judge(metric: Metric, field: str, judges: Mapping[str, JudgeServer]) -> Metric:
    """The metric with the model of its judge. Raise `InvalidRequestError` for one that the service lacks."""
    if not isinstance(metric, JudgeMetric):
        return metric
    server = judges.get(metric.judge)
    if server is None:
        known = f"it has: {', '.join(sorted(judges))}" if judges else "the setting judges lists none"
        message = f"{field}.judge is not a judge of this service; {known}."
        raise InvalidRequestError(message, "invalid_config", f"{field}.judge")
    if metric.model not in (None, server.model):
        message = f"{field}.model is not the model of judge '{metric.judge}', which is '{server.model}'; leave it out."
        raise InvalidRequestError(message, "invalid_config", f"{field}.model")
    return metric.model_copy(update={"model": server.model})


def _check_rows(config: EvaluationConfig, dataset: DatasetRecord) -> None:
    """Raise `InvalidRequestError` for rows that a metric cannot be computed on."""
    kind = RowKind(dataset.kind)
    for metric, name in zip(config.metrics, config.metric_names, strict=True):
        kinds = _LEARNED if isinstance(metric, Perplexity) else _ANSWERED
        if kind not in kinds:
            raise InvalidRequestError(
                f"dataset has rows of the kind '{kind}', and metric '{name}' measures {' or '.join(kinds)} only; "
                "choose another dataset or metric.",
                "dataset_kind_mismatch",
                "dataset",
            )
        if kind is RowKind.PROMPTS and metric.needs_reference:
            raise InvalidRequestError(
                f"dataset has prompts without reference answers, and metric '{name}' compares with them; upload the "
                "rows with their answers as 'completion', or choose a metric that needs none.",
                "dataset_kind_mismatch",
                "dataset",
            )
