"""Metrics as sums: each row gives a few numbers, and the value of the metric follows from their sums.

A mean is a sum over a count, a perplexity is `exp` of one, and BLEU and chrF count n-grams. So intervals and tests work
alike for all of them: they add up other selections of rows.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ftlab.schemas.answer_scores import AnswerScore, ExactMatch, JsonSchema, NumericAnswer, PythonFile, Regex
from ftlab.schemas.evaluation import F1, Bleu, Chrf, EvaluationConfig, Metric, NormalisedMatch, Perplexity, Rouge
from ftlab.schemas.judges import JudgePreference, JudgeScore
from train.evaluation.cases import Skip
from train.evaluation.text_scores import f1, normalised_match, rouge
from train.rewards import FileReward, RewardFunction

SHARES = (ExactMatch, NormalisedMatch, NumericAnswer, Regex, JsonSchema)
"""Metrics that give a row 0 or 1."""
Numbers = tuple[float, ...]
Sums = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Answer:
    """What a model answered."""

    text: str
    """Without special tokens."""
    ids: Sequence[int]
    """Generated tokens, up to the one that ends the answer."""
    is_cut: bool
    """Whether it reached `generation.max_new_tokens` before its end."""


class Measure(ABC):
    """One metric."""

    is_lower_better = False
    has_interval = True
    """Whether the value follows from sums over rows."""
    is_share = False
    """Whether each row has 0 or 1, so that the value is the share of the rows with 1."""

    def __init__(self, name: str) -> None:
        self.name = name

    @abstractmethod
    def value(self, sums: Sums) -> float:
        """The value of the metric, from the sums over some rows."""

    def total(self, rows: Sequence[Numbers]) -> float:
        """The value of the metric, from the numbers of each row."""
        return self.value(np.array(rows).sum(axis=0))

    def of_row(self, numbers: Numbers) -> float:
        """The metric of a single row."""
        return self.value(np.array(numbers))

    def can_compare(self, one: Sequence[Numbers], other: Sequence[Numbers]) -> bool:
        """Whether the numbers of two models for the same rows are on the same scale."""
        return True


class TokenLoss(Measure):
    """Perplexity, from the loss of each row over its counted tokens and their number."""

    is_lower_better = True

    def __init__(self, name: str, metric: Perplexity) -> None:
        super().__init__(name)
        self.metric = metric

    def value(self, sums: Sums) -> float:
        try:
            return math.exp(sums[0] / sums[1])
        except OverflowError:
            return math.inf

    def can_compare(self, one: Sequence[Numbers], other: Sequence[Numbers]) -> bool:
        """A perplexity is a mean over tokens: another tokenizer, which makes more tokens of a text, has a lower one."""
        return all(mine == its for (_, mine), (_, its) in zip(one, other, strict=True))


class AnswerMeasure(Measure):
    """A metric of generated answers."""

    def __init__(self, name: str, *, needs_reference: bool) -> None:
        super().__init__(name)
        self.needs_reference = needs_reference

    @abstractmethod
    def numbers(self, answers: Sequence[Answer], references: Sequence[str | None]) -> list[Numbers]:
        """The numbers of each row."""

    def of_rows(
        self, answers: Mapping[int, Answer | Skip], references: Mapping[int, str | None]
    ) -> dict[int, Numbers | Skip]:
        """The numbers of each row by its number, or why it has none."""
        found: dict[int, Numbers | Skip] = {}
        scored: list[int] = []
        for row, answer in answers.items():
            if isinstance(answer, Skip):
                found[row] = answer
            elif self.needs_reference and references[row] is None:
                found[row] = Skip.NO_REFERENCE
            else:
                scored.append(row)
        given = [answer for row in scored if isinstance(answer := answers[row], Answer)]
        numbers = self.numbers(given, [references[row] for row in scored]) if scored else []
        return found | dict(zip(scored, numbers, strict=True))


class MeanScore(AnswerMeasure):
    """The mean of a score of each answer."""

    def __init__(self, name: str, config: AnswerScore, score: Any) -> None:
        super().__init__(name, needs_reference=config.needs_reference)
        self.is_share = isinstance(config, SHARES)
        self._score = score

    def numbers(self, answers: Sequence[Answer], references: Sequence[str | None]) -> list[Numbers]:
        scores = self._score(
            completions=[answer.text for answer in answers],
            completion_ids=[answer.ids for answer in answers],
            reference=references,
        )
        return [(float(score), 1.0) for score in scores]

    def value(self, sums: Sums) -> float:
        return float(sums[0] / sums[1])


class CorpusScore(AnswerMeasure):
    """BLEU or chrF of sacreBLEU, from its own statistics of each answer."""

    def __init__(self, name: str, metric: Any) -> None:
        super().__init__(name, needs_reference=True)
        self._metric = metric

    def numbers(self, answers: Sequence[Answer], references: Sequence[str | None]) -> list[Numbers]:
        texts, expected = [answer.text for answer in answers], [reference or "" for reference in references]
        rows = self._metric._extract_corpus_statistics(texts, [expected])
        return [tuple(map(float, row)) for row in rows]

    def value(self, sums: Sums) -> float:
        return float(self._metric._compute_score_from_stats([int(number) for number in sums]).score)


class JudgeMeasure(Measure):
    """The mean of what a judge made of each answer."""

    def __init__(self, name: str, metric: JudgeScore | JudgePreference) -> None:
        super().__init__(name)
        self.metric = metric

    def value(self, sums: Sums) -> float:
        return float(sums[0] / sums[1])


def measures_of(config: EvaluationConfig) -> list[Measure]:
    """The metrics of an evaluation, in their order.

    Raise `InvalidRequestError` for a Python file that changed since the submission, or that cannot be loaded.
    """
    pairs = zip(config.metrics, config.metric_names, strict=True)
    return [_measure(metric, name, f"metrics.{place}") for place, (metric, name) in enumerate(pairs)]


def _measure(metric: Metric, name: str, field: str) -> Measure:
    match metric:
        case Perplexity():
            return TokenLoss(name, metric)
        case NormalisedMatch():
            return MeanScore(name, metric, _by_pair(normalised_match))
        case F1():
            return MeanScore(name, metric, _by_pair(f1))
        case Rouge():
            variant = metric.variant
            return MeanScore(name, metric, _by_pair(lambda answer, reference: rouge(answer, reference, variant)))
        case Bleu():
            from sacrebleu.metrics.bleu import BLEU

            return CorpusScore(name, BLEU(tokenize=metric.tokenizer, effective_order=False))
        case Chrf():
            from sacrebleu.metrics.chrf import CHRF

            return CorpusScore(name, CHRF(word_order=metric.word_order))
        case JudgeScore() | JudgePreference():
            return JudgeMeasure(name, metric)
        case PythonFile():
            return MeanScore(name, metric, FileReward(metric, name, field))
    return MeanScore(name, metric, RewardFunction(metric, name))


def _by_pair(score: Any) -> Any:
    def all_of(*, completions: Sequence[str], reference: Sequence[str | None], **_: Any) -> list[float]:
        return [score(answer, expected or "") for answer, expected in zip(completions, reference, strict=True)]

    return all_of
