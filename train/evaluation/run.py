"""One attempt of an evaluation, from the plan to the results."""

import gc
import shutil
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from transformers import PreTrainedModel

from ftlab.errors import ConflictError
from ftlab.schemas import EvaluationConfig, MetricsPayload
from ftlab.schemas.evaluation_results import ANSWER_SPEED, READ_SPEED
from train.device_defaults import AS_TRAINED, device_defaults
from train.devices import traits_of
from train.estimate.measuring import measuring_peak
from train.evaluation.cases import Case, read_cases
from train.evaluation.expected import Expected, expected_work
from train.evaluation.judging import Judgement, Judging, Rated, judge_clients
from train.evaluation.measures import Answer, AnswerMeasure, JudgeMeasure, Measure, TokenLoss, measures_of
from train.evaluation.report import AnyCase, ModelRows, make_report, write_report
from train.evaluation.row_store import ANSWERS, RowStore
from train.evaluation.task_checks import find_tasks
from train.evaluation.task_rows import TaskRow
from train.evaluation.work import LoadedModel, Pace, Work
from train.failures.classify import raise_if_disk_full
from train.loop.run_context import EarlyStop, Heartbeat, StopPoll
from train.model.base_model import BaseModel, find_model
from train.model.folder import facts_of
from train.model.identity import identity_of
from train.model.load import load_for_answers
from train.model.tokenizer import load_tokenizer
from train.plan import Ending, EvaluationPlan, MeasuredModel, ModelLoaded, Outcome, Phase, RunLink
from train.process import prepare_process
from train.process_memory import begin_peak, peak_bytes
from train.reporting.work_progress import WorkProgress

if TYPE_CHECKING:
    from train.evaluation.harness import HarnessTask

TASK_DATA = "task-data"
"""Folder of the copies that lm-eval makes of the rows of tasks, while an attempt runs."""


def run(plan: EvaluationPlan, link: RunLink) -> Outcome:
    """Measure the models as `plan` says, continuing after the rows that are measured.

    Raises any error; `train.failures.classify.classify` derives the reason from it.
    """
    prepare_process(plan, plan.config.seed)
    store = RowStore(plan.results_folder)
    evaluation = _Evaluation(plan, link, store)
    try:
        evaluation.run()
    except EarlyStop as stop:
        num = store.num_measured
        kept = f"the {num} measurements so far are kept" if num else "nothing was measured yet"
        return Outcome(Ending.STOPPED, num, stop.kind, kept=kept)
    except Exception as error:
        raise_if_disk_full(error, plan.job_folder)
        raise
    finally:
        evaluation.close()
        store.close()
        gc.collect()
    return Outcome(Ending.FINISHED, store.num_measured)


class _Evaluation:
    def __init__(self, plan: EvaluationPlan, link: RunLink, store: RowStore) -> None:
        self._plan, self._link, self._store = plan, link, store
        self._heartbeat = Heartbeat(link)
        self._stop_poll = StopPoll(link, plan.time_left_s)
        self._traits = traits_of(plan)
        self._measures: Sequence[Measure] = measures_of(plan.config)
        self._judges = judge_clients(plan)
        self._parts = _parts(plan.config, self._measures)
        self._cases: list[Case] = []
        self._progress = WorkProgress(link, num_done=store.num_measured)
        self._tasks: list[HarnessTask] = []
        self._has_begun = False
        self._expected_bytes: int | None = None
        self._answering, self._reading = Pace(), Pace()

    def run(self) -> None:
        """Measure every model, and write the results."""
        plan = self._plan
        self._heartbeat.enter(Phase.LOADING)
        self._check_in()
        begin_peak(use_cuda=self._traits.use_cuda)
        if plan.dataset is not None:
            self._cases = read_cases(plan.dataset.rows, plan.config.max_rows)
        self._tasks = self._load_tasks()
        num_judged = sum(isinstance(measure, JudgeMeasure) for measure in self._measures)
        num_of_tasks = sum(len(task.cases) for task in self._tasks)
        num_parts = len(self._cases) * (len(self._parts) + num_judged)
        self._progress.total = (num_parts + num_of_tasks) * len(plan.models)
        models = [self._measured(place, planned) for place, planned in enumerate(plan.models)]
        self._begin()
        self._heartbeat.enter(Phase.DELIVERING)
        measures = [*self._measures, *self._add_tasks(models)]
        cases: list[AnyCase] = [*self._cases, *(case for task in self._tasks for case in task.cases)]
        results = make_report(plan, cases, measures, models).model_copy(
            update={
                "estimated_memory_bytes": self._expected_bytes,
                "peak_memory_bytes": peak_bytes(use_cuda=self._traits.use_cuda),
            }
        )
        write_report(plan.results_folder, results, plan, cases, measures, models)
        values = {
            f"eval_{model.key}/{metric.metric}": metric.value for model in results.models for metric in model.metrics
        }
        paces = {ANSWER_SPEED: self._answering.tokens_per_s, READ_SPEED: self._reading.tokens_per_s}
        values |= {name: pace for name, pace in paces.items() if pace is not None}
        self._link.emit(MetricsPayload(**self._progress.position.to_data(), values=values))

    def close(self) -> None:
        """End the requests to judges, and remove the copies of the rows of tasks."""
        for judge in self._judges.values():
            judge.close()
        shutil.rmtree(self._task_data, ignore_errors=True)

    @property
    def _task_data(self) -> Path:
        return self._plan.results_folder / TASK_DATA

    def _load_tasks(self) -> "list[HarnessTask]":
        config = self._plan.config
        if not config.tasks:
            return []
        found = find_tasks(config.tasks, self._plan.tasks_folder)
        from train.evaluation.harness import load_tasks

        first, folder = len(self._cases) + 1, self._task_data
        return load_tasks(config.tasks, found, folder, max_rows=config.max_rows, seed=config.seed, first=first)

    def _add_tasks(self, models: Sequence[ModelRows]) -> list[Measure]:
        """Add what the tasks found to the rows of the models; return the metrics of the tasks."""
        added: list[Measure] = []
        for task in self._tasks:
            from train.evaluation.task_measures import numbers_of, task_measures

            self._check_in()
            of_models = [self._store.part(place, task.part) for place in range(len(models))]
            for metric, measure in task_measures(task, of_models).items():
                added.append(measure)
                for model, rows in zip(models, of_models, strict=True):
                    model.numbers[measure.name] = numbers_of(measure, metric, rows)
            for model, rows in zip(models, of_models, strict=True):
                answered = {row: found.answer for row, found in rows.items() if isinstance(found, TaskRow)}
                model.answers |= {row: Answer(text, (), False) for row, text in answered.items() if text is not None}
        return added

    def _measured(self, place: int, planned: MeasuredModel) -> ModelRows:
        base = self._find(place, planned)
        lacks_rows = any(self._missing(place, part) for part in self._parts)
        if lacks_rows or any(self._missing_of(place, task) for task in self._tasks):
            self._heartbeat.enter(Phase.LOADING)
            self._measure(place, base)
        answers = dict(self._store.part(place, ANSWERS))
        references = {case.number: case.reference for case in self._cases}
        rows = ModelRows(base.revision, answers)
        for measure in self._measures:
            if isinstance(measure, AnswerMeasure):
                self._check_in()
                rows.numbers[measure.name] = measure.of_rows(answers, references)
            elif isinstance(measure, JudgeMeasure):
                judged = self._judged(place, planned, measure)
                rows.numbers[measure.name] = {row: each.numbers for row, each in judged.items()}
                rows.replies[measure.name] = {row: each.replies for row, each in judged.items()}
            else:
                rows.numbers[measure.name] = self._store.part(place, measure.name)
        return rows

    def _judged(self, place: int, planned: MeasuredModel, measure: JudgeMeasure) -> Mapping[int, Judgement]:
        """What a judge made of each row, asking it about those that are missing."""
        self._begin()
        self._heartbeat.enter(Phase.EVALUATING)
        base_answers = None if planned.base is None else self._store.part(planned.base, ANSWERS)
        done = partial(self._done, place, measure.name)
        judging = Judging(measure, self._judges[measure.metric.judge], self._check_in, done)
        judging.rate(self._missing(place, measure.name), Rated(self._store.part(place, ANSWERS), base_answers))
        return self._store.part(place, measure.name)

    def _find(self, place: int, planned: MeasuredModel) -> BaseModel:
        plan = self._plan
        found = find_model(planned.model, plan.models_folder, pinned=planned.pinned_revision, local=planned.local_base)
        if plan.identities is not None and identity_of(found) != plan.identities[place]:
            raise ConflictError(
                f"The files of {planned.name} changed since the evaluation was submitted. Submit it again.",
                "model_changed",
                "models",
            )
        return found

    def _measure(self, place: int, base: BaseModel) -> None:
        found = device_defaults(AS_TRAINED, self._traits)
        model = load_for_answers(base, use_cuda=self._traits.use_cuda, attention=found.attention)
        layers = facts_of(base.folder).layers
        loaded = LoadedModel(model, load_tokenizer(base), layers.max_positions if layers else None)
        self._begin(loaded, base)
        self._heartbeat.enter(Phase.EVALUATING)
        mixed = (torch.float16 if found.fp16 else torch.bfloat16) if found.bf16 or found.fp16 else None
        try:
            for part, measure in self._parts.items():
                pace = self._reading if isinstance(measure, TokenLoss) else self._answering
                work = Work(self._plan.config, self._check_in, partial(self._done, place, part), pace)
                cases = self._missing(place, part)
                if isinstance(measure, TokenLoss):
                    with torch.autocast(_device_of(model), mixed, enabled=mixed is not None):
                        work.measure_losses(loaded, cases, measure.metric)
                elif cases:
                    work.answer(loaded, cases)
            for task in self._tasks:
                work = Work(self._plan.config, self._check_in, partial(self._done, place, task.part))
                if rows := self._missing_of(place, task):
                    task.measure(work, loaded, rows, mixed if task.reads_only else None)
        finally:
            del loaded, model
            gc.collect()
            if self._traits.use_cuda:
                torch.cuda.empty_cache()

    def _missing(self, place: int, part: str) -> list[Case]:
        done = self._store.part(place, part)
        return [case for case in self._cases if case.number not in done]

    def _missing_of(self, place: int, task: "HarnessTask") -> list[int]:
        done = self._store.part(place, task.part)
        return [case.number for case in task.cases if case.number not in done]

    def _done(self, place: int, part: str, rows: Mapping[int, Any]) -> None:
        self._store.add(place, part, rows)
        self._heartbeat.enter(Phase.EVALUATING, step=self._store.num_measured)
        self._progress.done(self._store.num_measured)

    def _begin(self, loaded: LoadedModel | None = None, base: BaseModel | None = None) -> None:
        """Report once that the first model is there, with what the work with all models should take."""
        if self._has_begun:
            return
        self._has_begun = True
        self._progress.begin()
        if loaded is None or base is None or self._tasks or self._progress.num_done:
            self._link.emit(ModelLoaded())
            return
        plan = self._plan
        expected = expected_work(plan.config, self._cases, loaded.rows)
        self._expected_bytes = self._memory_of(expected, base)
        num_models = len(plan.models)
        read, answers = expected.read_tokens * num_models, expected.answer_tokens * num_models
        self._link.emit(ModelLoaded(num_tokens=read, num_answer_tokens=answers))

    def _memory_of(self, expected: Expected, base: BaseModel) -> int | None:
        """The peak that is expected; `None` where it depends on another model, or on what fits the GPU."""
        config, shape = self._plan.config, facts_of(base.folder).shape
        num_bases = sum(model.base is None for model in self._plan.models)
        is_open = self._traits.use_cuda and config.batch_size is None
        if shape is None or num_bases > 1 or is_open:
            return None
        prompts = [] if expected.longest_prompt is None else [expected.longest_prompt]
        return measuring_peak(shape, config, expected.longest_read, prompts, self._traits).total

    def _check_in(self) -> None:
        self._heartbeat.beat()
        self._stop_poll.raise_if_requested_here()


def _parts(config: EvaluationConfig, measures: Sequence[Measure]) -> dict[str, Measure | None]:
    """What is done with each model: answers, if a metric needs them, and the loss of each perplexity."""
    losses = {measure.name: measure for measure in measures if isinstance(measure, TokenLoss)}
    needs_answers = any(isinstance(measure, AnswerMeasure | JudgeMeasure) for measure in measures)
    return {**losses, **({ANSWERS: None} if needs_answers else {})}


def _device_of(model: PreTrainedModel | Any) -> str:
    return str(model.device.type)
