"""The results of an evaluation, from what was measured: values, intervals, tests, and the worst and best rows."""

import json
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ftlab.files import replacing
from ftlab.schemas.evaluation_results import (
    RESULTS_FILE,
    ROWS_FILE,
    AnsweredRow,
    EvaluationResults,
    MetricResult,
    ModelResult,
    PairedTest,
    ScoredRow,
)
from train.evaluation.cases import Case, Skip
from train.evaluation.measures import Answer, Measure, Numbers
from train.evaluation.statistics import interval, permutation_p_value
from train.evaluation.task_rows import TaskCase
from train.plan import EvaluationPlan

NUM_SHOWN_ROWS = 3
"""Worst and best rows of a metric that are shown."""
SHOWN_CHARS = 300
"""Characters of a question, a reference and an answer in the results; the rows have all of them."""
AnyCase = Case | TaskCase


@dataclass
class ModelRows:
    """What was measured of one model."""

    revision: str
    answers: dict[int, Answer | Skip]
    numbers: dict[str, Mapping[int, Numbers | Skip]] = field(default_factory=dict)
    """By metric: the numbers of each row, or why it has none."""
    replies: dict[str, Mapping[int, Sequence[str]]] = field(default_factory=dict)
    """By metric of a judge: what it replied about each row."""


def make_report(
    plan: EvaluationPlan, cases: Sequence[AnyCase], measures: Sequence[Measure], models: Sequence[ModelRows]
) -> EvaluationResults:
    """Summarise what was measured of all models, which are those of the plan in their order."""
    by_number = {case.number: case for case in cases}
    seed = plan.config.seed
    results = [
        ModelResult(
            key=planned.key,
            name=planned.name,
            base=None if planned.base is None else plan.models[planned.base].key,
            revision=found.revision,
            **_counts_of_answers(found, by_number),
            metrics=[_metric(measure, found, by_number, seed) for measure in measures],
        )
        for planned, found in zip(plan.models, models, strict=True)
    ]
    tests = [
        _test(measure, plan.models[one].key, models[one], plan.models[other].key, models[other], seed)
        for one, other in _pairs(plan)
        for measure in measures
    ]
    return EvaluationResults(
        job_id=plan.job_id,
        dataset_id=plan.dataset.dataset_id if plan.dataset else None,
        num_rows=len(cases),
        models=results,
        tests=tests,
        seed=seed,
    )


def write_report(
    folder: Path,
    results: EvaluationResults,
    plan: EvaluationPlan,
    cases: Sequence[AnyCase],
    measures: Sequence[Measure],
    models: Sequence[ModelRows],
) -> None:
    """Write the rows, and then the results, each as a whole file."""
    with replacing(folder / ROWS_FILE) as aside, aside.open("w", encoding="utf-8") as file:
        for row in _answered_rows(plan, cases, measures, models):
            file.write(row.model_dump_json(exclude_defaults=True) + "\n")
    with replacing(folder / RESULTS_FILE) as aside:
        aside.write_text(json.dumps(results.model_dump(mode="json"), ensure_ascii=False, indent=1), "utf-8")


def _pairs(plan: EvaluationPlan) -> list[tuple[int, int]]:
    """The places of the models that are tested against each other: each with its base, and the first two."""
    named = [place for place, model in enumerate(plan.models) if not _is_added(plan, place)]
    pairs = [(place, model.base) for place, model in enumerate(plan.models) if model.base is not None]
    first = (named[0], named[1]) if len(named) > 1 else None
    return pairs + ([first] if first is not None and first not in pairs and first[::-1] not in pairs else [])


def _is_added(plan: EvaluationPlan, place: int) -> bool:
    """Whether a model is there only as the base of another one."""
    return any(model.base == place for model in plan.models)


def _counts_of_answers(found: ModelRows, cases: Mapping[int, AnyCase]) -> dict[str, int]:
    """How many rows of the dataset a model answered, and how many of these answers were cut off."""
    of_dataset = {row: answer for row, answer in found.answers.items() if isinstance(cases[row], Case)}
    given = [answer for answer in of_dataset.values() if isinstance(answer, Answer)]
    return {"num_answers": len(given), "num_cut_answers": sum(answer.is_cut for answer in given)}


def _metric(measure: Measure, found: ModelRows, cases: Mapping[int, AnyCase], seed: int) -> MetricResult:
    rows = found.numbers[measure.name]
    scored = _scored(rows)
    skipped = Counter(skip.value for skip in rows.values() if isinstance(skip, Skip))
    result = MetricResult(
        metric=measure.name,
        num_rows=len(scored),
        skipped=dict(sorted(skipped.items())),
        is_lower_better=measure.is_lower_better,
    )
    if not scored:
        return result
    numbers = list(scored.values())
    limits = (
        interval(np.array(numbers), measure.value, seed, is_share=measure.is_share) if measure.has_interval else None
    )
    order = sorted(_row_scores(measure, scored), key=lambda each: each[1], reverse=not measure.is_lower_better)
    shown = [_shown(cases[row], score, found.answers.get(row)) for row, score in order]
    return result.model_copy(
        update={
            "value": _finite(measure.total(numbers)),
            "low": _finite(limits[0]) if limits else None,
            "high": _finite(limits[1]) if limits else None,
            "best": shown[:NUM_SHOWN_ROWS],
            "worst": shown[::-1][:NUM_SHOWN_ROWS],
        }
    )


def _test(measure: Measure, key: str, one: ModelRows, other_key: str, other: ModelRows, seed: int) -> PairedTest:
    rows, others = _scored(one.numbers[measure.name]), _scored(other.numbers[measure.name])
    common = [row for row in rows if row in others]
    test = PairedTest(metric=measure.name, model=key, other=other_key, num_rows=len(common))
    if not common:
        return test
    first, second = [rows[row] for row in common], [others[row] for row in common]
    if not measure.can_compare(first, second):
        return test.model_copy(update={"is_comparable": False})
    difference = measure.total(first) - measure.total(second)
    p_value = None
    if measure.has_interval:
        p_value = permutation_p_value(np.array(first), np.array(second), measure.value, seed)
    return test.model_copy(update={"difference": _finite(difference), "p_value": p_value})


def _answered_rows(
    plan: EvaluationPlan, cases: Sequence[AnyCase], measures: Sequence[Measure], models: Sequence[ModelRows]
) -> Iterator[AnsweredRow]:
    keyed = [(planned.key, found) for planned, found in zip(plan.models, models, strict=True)]
    scores = {
        (key, measure.name): dict(_row_scores(measure, _scored(found.numbers[measure.name])))
        for key, found in keyed
        for measure in measures
    }
    for case in cases:
        answers = {key: found.answers.get(case.number) for key, found in keyed}
        given = {key: answer for key, answer in answers.items() if isinstance(answer, Answer)}
        yield AnsweredRow(
            row=case.number,
            task=case.task if isinstance(case, TaskCase) else None,
            line=case.line,
            question=case.question,
            reference=case.reference,
            answers={key: answer.text for key, answer in given.items()},
            cut=[key for key, answer in given.items() if answer.is_cut],
            scores={
                key: {
                    measure.name: score
                    for measure in measures
                    if math.isfinite(score := scores[key, measure.name].get(case.number, math.nan))
                }
                for key, _ in keyed
            },
            judge_replies={
                key: replies
                for key, found in keyed
                if (
                    replies := {
                        metric: list(written)
                        for metric, rows in found.replies.items()
                        if (written := rows[case.number])
                    }
                )
            },
            skipped={
                key: reasons
                for key, found in keyed
                if (
                    reasons := {
                        measure.name: skip.value
                        for measure in measures
                        if isinstance(skip := found.numbers[measure.name].get(case.number), Skip)
                    }
                )
            },
        )


def _scored(rows: Mapping[int, Numbers | Skip]) -> dict[int, Numbers]:
    return {row: numbers for row, numbers in sorted(rows.items()) if not isinstance(numbers, Skip)}


def _row_scores(measure: Measure, scored: Mapping[int, Numbers]) -> list[tuple[int, float]]:
    """The metric of each row alone; rows whose number is not finite count as the worst that there is."""
    worst = math.inf if measure.is_lower_better else -math.inf
    values = ((row, measure.of_row(numbers)) for row, numbers in scored.items())
    return [(row, value if math.isfinite(value) else worst) for row, value in values]


def _shown(case: AnyCase, score: float, answer: Answer | Skip | None) -> ScoredRow:
    return ScoredRow(
        row=case.line if isinstance(case, TaskCase) else case.number,
        score=_finite(score),
        question=_shortened(case.question),
        reference=None if case.reference is None else _shortened(case.reference),
        answer=_shortened(answer.text) if isinstance(answer, Answer) else None,
    )


def _shortened(text: str) -> str:
    return text if len(text) <= SHOWN_CHARS else f"{text[: SHOWN_CHARS - 1]}…"


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
