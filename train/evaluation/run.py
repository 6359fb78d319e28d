"""One attempt of an evaluation, from the plan to the results."""

import gc
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import torch
from transformers import PreTrainedModel

from ftlab.errors import ConflictError
from ftlab.schemas import EvaluationConfig, MetricsPayload
from ftlab.schemas.evaluation_results import ANSWER_SPEED, READ_SPEED
from train.device_defaults import AS_TRAINED, device_defaults
from train.devices import place_of
from train.evaluation.cases import Case, read_cases
from train.evaluation.judging import Judgement, Judging, Rated, judge_clients
from train.evaluation.measures import AnswerMeasure, JudgeMeasure, Measure, TokenLoss, measures_of
from train.evaluation.report import ModelRows, make_report, write_report
from train.evaluation.row_store import ANSWERS, RowStore
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
from train.reporting.work_progress import WorkProgress


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
        self._place = place_of(plan)
        self._measures: Sequence[Measure] = measures_of(plan.config)
        self._judges = judge_clients(plan)
        self._parts = _parts(plan.config, self._measures)
        self._cases: list[Case] = []
        self._progress = WorkProgress(link, num_done=store.num_measured)
        self._has_begun = False
        self._answering, self._reading = Pace(), Pace()

    def run(self) -> None:
        """Measure every model, and write the results."""
        plan = self._plan
        self._heartbeat.enter(Phase.LOADING)
        self._check_in()
        self._cases = read_cases(plan.dataset.rows, plan.config.max_rows)
        num_judged = sum(isinstance(measure, JudgeMeasure) for measure in self._measures)
        self._progress.total = len(self._cases) * (len(self._parts) + num_judged) * len(plan.models)
        models = [self._measured(place, planned) for place, planned in enumerate(plan.models)]
        self._begin()
        self._heartbeat.enter(Phase.DELIVERING)
        results = make_report(plan, self._cases, self._measures, models)
        write_report(plan.results_folder, results, plan, self._cases, self._measures, models)
        values = {
            f"eval_{model.key}/{metric.metric}": metric.value for model in results.models for metric in model.metrics
        }
        paces = {ANSWER_SPEED: self._answering.tokens_per_s, READ_SPEED: self._reading.tokens_per_s}
        values |= {name: pace for name, pace in paces.items() if pace is not None}
        self._link.emit(MetricsPayload(**self._progress.position.to_data(), values=values))

    def close(self) -> None:
        """End the requests to judges."""
        for judge in self._judges.values():
            judge.close()

    def _measured(self, place: int, planned: MeasuredModel) -> ModelRows:
        base = self._find(place, planned)
        if any(self._missing(place, part) for part in self._parts):
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
        found = device_defaults(AS_TRAINED, self._place)
        model = load_for_answers(base, use_cuda=self._place.use_cuda, attention=found.attention)
        layers = facts_of(base.folder).layers
        loaded = LoadedModel(model, load_tokenizer(base), layers.max_positions if layers else None)
        self._begin()
        self._heartbeat.enter(Phase.EVALUATING)
        try:
            for part, measure in self._parts.items():
                pace = self._reading if isinstance(measure, TokenLoss) else self._answering
                work = Work(self._plan.config, self._check_in, partial(self._done, place, part), pace)
                cases = self._missing(place, part)
                if isinstance(measure, TokenLoss):
                    dtype = torch.float16 if found.fp16 else torch.bfloat16
                    with torch.autocast(_device_of(model), dtype, enabled=found.bf16 or found.fp16):
                        work.measure_losses(loaded, cases, measure.metric)
                elif cases:
                    work.answer(loaded, cases)
        finally:
            del loaded, model
            gc.collect()
            if self._place.use_cuda:
                torch.cuda.empty_cache()

    def _missing(self, place: int, part: str) -> list[Case]:
        done = self._store.part(place, part)
        return [case for case in self._cases if case.number not in done]

    def _done(self, place: int, part: str, rows: Mapping[int, Any]) -> None:
        self._store.add(place, part, rows)
        self._heartbeat.enter(Phase.EVALUATING, step=self._store.num_measured)
        self._progress.done(self._store.num_measured)

    def _begin(self) -> None:
        """Report once that the first model is there."""
        if not self._has_begun:
            self._has_begun = True
            self._progress.begin()
            self._link.emit(ModelLoaded())

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
