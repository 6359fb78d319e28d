"""Intervals and tests by resampling, against values that are known in closed form."""

import numpy as np
import pytest
import sacrebleu

from ftlab.schemas import EvaluationConfig
from train.evaluation.measures import Answer, AnswerMeasure, measures_of
from train.evaluation.statistics import interval, permutation_p_value


def mean(sums: np.ndarray) -> float:
    return float(sums[0] / sums[1])


def scores(*values: float) -> np.ndarray:
    return np.array([(value, 1.0) for value in values])


def test_the_interval_of_a_mean_is_that_of_the_normal_distribution():
    values = np.random.default_rng(1).normal(10.0, 2.0, size=2000)
    low, high = interval(scores(*values), mean, seed=3)
    error = 1.96 * values.std() / np.sqrt(len(values))
    assert (low, high) == (
        pytest.approx(values.mean() - error, abs=0.02),
        pytest.approx(values.mean() + error, abs=0.02),
    )


def test_a_seed_gives_the_same_interval_again():
    rows = scores(*np.random.default_rng(2).random(50))
    assert interval(rows, mean, seed=5) == interval(rows, mean, seed=5)
    assert interval(rows, mean, seed=5) != interval(rows, mean, seed=6)


def test_one_row_has_neither_an_interval_nor_a_test():
    assert interval(scores(1.0), mean, seed=0) is None
    assert permutation_p_value(scores(1.0), scores(0.0), mean, seed=0) is None


def test_rows_that_are_all_right_do_not_promise_that_every_row_is():
    """Of ten right rows, the exact interval begins at 69 %: with that share, ten in a row have a chance of 2.5 %."""
    low, high = interval(scores(*[1.0] * 10), mean, seed=0, is_share=True)
    assert (low**10, high) == (pytest.approx(0.025), 1.0)
    low, high = interval(scores(*[0.0] * 10), mean, seed=0, is_share=True)
    assert (low, (1 - high) ** 10) == (0.0, pytest.approx(0.025))
    assert interval(scores(*[0.7] * 10), mean, seed=0) is None


def test_equal_models_do_not_differ():
    rows = scores(*np.random.default_rng(2).random(50))
    assert permutation_p_value(rows, rows, mean, seed=0) == 1.0


def test_few_rows_cannot_be_significant():
    """Of the 16 ways to swap four rows, two give a difference as large as the observed one."""
    p_value = permutation_p_value(scores(1, 1, 1, 1), scores(0, 0, 0, 0), mean, seed=0)
    assert p_value == pytest.approx(2 / 16, abs=0.03)


def test_many_rows_are_significant_and_noise_is_not():
    random = np.random.default_rng(4)
    base = random.random(200)
    assert permutation_p_value(scores(*(base + 0.1)), scores(*base), mean, seed=0) == pytest.approx(1 / 1001)
    noise = scores(*random.permutation(base))
    assert permutation_p_value(noise, scores(*base), mean, seed=0) > 0.05


@pytest.mark.parametrize(
    ("metric", "is_share"),
    [({"type": "exact_match"}, True), ({"type": "regex", "pattern": "a"}, True), ({"type": "f1"}, False)],
)
def test_metrics_that_are_right_or_wrong_are_shares(metric, is_share):
    config = EvaluationConfig.model_validate({"models": ["org/name"], "dataset": "ds-1", "metrics": [metric]})
    [measure] = measures_of(config)
    assert measure.is_share is is_share


def test_perplexities_are_compared_only_over_the_same_tokens():
    config = EvaluationConfig.model_validate(
        {"models": ["org/name"], "dataset": "ds-1", "metrics": [{"type": "perplexity"}, {"type": "f1"}]}
    )
    perplexity, f1 = measures_of(config)
    one, same, other = [(9.0, 4.0), (2.0, 1.0)], [(8.0, 4.0), (3.0, 1.0)], [(9.0, 5.0), (2.0, 1.0)]
    assert perplexity.can_compare(one, same)
    assert not perplexity.can_compare(one, other)
    assert f1.can_compare(one, other)


ANSWERS = ["The dog bit the man.", "It wasn't surprising.", "The man had just bitten him."]
REFERENCES = ["The dog bit the man.", "It was not unexpected.", "The man bit him first."]


def test_corpus_metrics_are_those_of_sacrebleu():
    metrics = [{"type": "bleu"}, {"type": "chrf"}, {"type": "chrf", "word_order": 2}]
    config = EvaluationConfig.model_validate({"models": ["org/name"], "dataset": "ds-1", "metrics": metrics})
    answers = [Answer(text, [1], is_cut=False) for text in ANSWERS]
    values = {}
    for measure in measures_of(config):
        assert isinstance(measure, AnswerMeasure)
        rows = np.array(measure.numbers(answers, REFERENCES))
        values[measure.name] = measure.value(rows.sum(axis=0))
    assert values == {
        "bleu": pytest.approx(sacrebleu.corpus_bleu(ANSWERS, [REFERENCES]).score),
        "chrf": pytest.approx(sacrebleu.corpus_chrf(ANSWERS, [REFERENCES]).score),
        "chrf_2": pytest.approx(sacrebleu.corpus_chrf(ANSWERS, [REFERENCES], word_order=2).score),
    }
    assert values["bleu"] == pytest.approx(45.06750632106114)
