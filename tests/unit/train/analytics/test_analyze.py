"""The analysis of recorded series of real runs, of series made by hand, and of any numbers."""

import json
import math
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ftlab.schemas import JobAnalytics, JobConfig
from ftlab.status import JobStatus
from train.analytics.analyze import JobFacts, analyze
from train.analytics.series import Measurement, clean_series, kept_steps
from train.analytics.time_use import time_use_of

RECORDED = Path(__file__).with_name("recorded")
"""Series of real runs; `record.py` writes them."""
NOW = datetime(2030, 1, 1, tzinfo=UTC)
NO_TIME = time_use_of(NOW, NOW, [], [], [])

Series = dict[str, list[tuple[int, float]]]


def analysis(
    series: Series, *, status: JobStatus = JobStatus.COMPLETED, step: int = 0, method: str = "sft"
) -> JobAnalytics:
    measured = {name: [Measurement(*point, 1) for point in points] for name, points in series.items()}
    config = JobConfig.model_validate({"model": "org/m", "dataset": "ds-1", "method": METHODS[method]})
    return analyze(JobFacts("job-1", status, config, step, None), measured, {1: None}, NO_TIME)


METHODS: dict[str, dict[str, Any]] = {
    "sft": {"type": "sft"},
    "dpo": {"type": "dpo"},
    "grpo": {"type": "grpo", "rewards": [{"type": "length", "max_length": 9}]},
}


def recorded(name: str) -> tuple[dict[str, Any], JobAnalytics]:
    document = json.loads((RECORDED / f"{name}.json").read_text("utf-8"))
    measured = {
        series: [Measurement(int(step), value, int(attempt)) for step, value, attempt in points]
        for series, points in document["points"].items()
    }
    resumed_from = {int(number): step for number, step in document["resumed_from"].items()}
    facts = JobFacts("job-1", JobStatus.COMPLETED, JobConfig.model_validate(document["config"]), 0, None)
    return document, analyze(facts, measured, resumed_from, NO_TIME)


def evaluations(document: dict[str, Any], name: str = "eval_loss") -> dict[int, float]:
    return {step: value for step, value, _ in document["points"][name] if step > 0}


def test_a_job_that_learned_its_rows_by_heart():
    document, found = recorded("overfitted")
    losses = evaluations(document)
    assert found.best is not None
    assert found.gap is not None
    assert found.convergence is not None
    assert found.gradient_norm is not None
    assert (found.best.step, found.best.value) == min(losses.items(), key=lambda item: item[1]) == (50, 2.62783)
    assert (found.best.before_training, found.best.steps_since, found.best.evaluations_since) == (6.24875, 10, 2)
    before, after = ([v for s, v in losses.items() if (s > 40) == late] for late in (False, True))
    assert found.best.last_third_gain == pytest.approx(min(before) - min(after))
    last = [value for step, value, _ in document["points"]["loss"] if step > 55]
    assert found.gap.train == pytest.approx(math.fsum(last) / 5)
    assert found.gap.gap == pytest.approx(losses[60] - math.fsum(last) / 5)
    assert found.convergence.trend == "falling"
    assert [share.step for share in found.shares] == [1, 16, 30, 45, 60]
    assert [share.evaluation for share in found.shares] == [6.24875, 3.75639, 2.78722, 2.63193, 2.63052]
    assert found.gradient_norm.clipped_share == 1.0
    assert found.summary == [
        "The lowest eval loss is 2.628, at step 50 of 60.",
        "The eval loss has not improved for 10 steps (2 evaluations).",
        "The last third of the steps improved the eval loss by only 0.013.",
        "The training loss went from 5.888 to 1.059 and is falling in the last third of the steps.",
        "The evaluation is worse than the training by 1.6 at step 60: 2.631 and 1.059.",
        "The gradient was clipped at 100% of the logged steps (training.max_grad_norm); its norm has a median of 1.79.",
    ]


def test_the_steps_that_a_retry_repeated_count_once():
    document, found = recorded("retried")
    assert document["resumed_from"] == {"1": None, "2": 15, "3": 35}
    assert len(document["points"]["loss"]) > 40  # each step once for each attempt that logged it
    assert found.convergence is not None
    assert (found.convergence.num_points, found.num_attempts, found.step) == (40, 3, 40)
    newest = {step: value for step, value, _ in document["points"]["tokens_per_s"]}  # in the order of the attempts
    assert found.throughput is not None
    assert found.throughput.tokens_per_s == median(newest.values())


def test_a_spike_does_not_hide_that_the_loss_is_flat():
    _, found = recorded("spiked")
    assert found.spikes is not None
    assert found.convergence is not None
    assert (found.spikes.count, found.spikes.largest[0].step, found.spikes.largest[0].value) == (1, 58, 5.90385)
    assert (found.convergence.trend, found.convergence.settled_step) == ("flat", 21)
    assert (found.best, found.gap) == (None, None)
    assert found.summary == [
        "There is no evaluation yet, so nothing shows how well the model does on other rows.",
        "The training loss went from 6.022 to 5.033 and is flat in the last third of the steps; it settled at step 21.",
        "The training loss has one spike: 5.904 at step 58, after a median of 5.037.",
    ]


@pytest.mark.parametrize("name", ["preferences", "rated"])
def test_preferences_and_ratings_have_a_best_margin(name: str):
    metric = "eval_rewards/margins"
    document, found = recorded(name)
    margins, losses = evaluations(document, metric), evaluations(document)
    best = next(each for each in found.best_values if each.metric == metric)
    assert (best.step, best.value) == max(margins.items(), key=lambda item: item[1])
    assert found.best is not None
    assert (found.best.step, found.best.value) == min(losses.items(), key=lambda item: item[1])
    assert found.best.metrics[metric] == margins[found.best.step]


def test_a_job_with_rewards_is_judged_by_its_reward():
    document, found = recorded("rewarded")
    rewards = evaluations(document, "eval_reward")
    assert found.best is not None
    assert found.convergence is not None
    assert (found.best.metric, found.best.value) == ("eval_reward", max(rewards.values()))
    assert (found.convergence.metric, found.spikes) == ("reward", None)
    assert "It never improved on the model before training, which has 0.2917." in found.summary
    assert not any("not improved for" in sentence for sentence in found.summary)


def test_overfitting_and_a_last_third_that_bought_nothing():
    train = [(step, 2.0 - step / 1000) for step in range(10, 1601, 10)]
    losses = [(0, 3.0), (400, 1.7), (800, 1.5), (1200, 1.4), (1400, 1.5), (1600, 1.6)]
    found = analysis({"loss": train, "eval_loss": losses})
    assert found.best is not None
    assert found.best.last_third_gain == pytest.approx(1.5 - 1.4)
    assert "The eval loss has not improved for 400 steps (2 evaluations)." in found.summary
    assert any(sentence.endswith("the model overfits.") for sentence in found.summary)
    early = analysis({"loss": train, "eval_loss": [(0, 3.0), (800, 1.4), (1200, 1.5), (1600, 1.6)]})
    assert "The last third of the steps did not improve the eval loss." in early.summary
    running = analysis({"loss": train, "eval_loss": losses}, status=JobStatus.RUNNING, step=2000)
    assert "The eval loss has not improved for 800 steps (2 evaluations)." in running.summary
    assert not any("last third of the steps did" in sentence for sentence in running.summary)


def test_a_new_level_is_no_series_of_spikes():
    level = [(step, 1.0 + step % 3 / 100) for step in range(1, 41)]
    other = [(step, 5.0 + step % 3 / 100) for step in range(41, 81)]
    spikes = [(20, 4.0), (60, 9.0)]
    found = analysis({"loss": sorted([*(p for p in level + other if p[0] not in (20, 60)), *spikes])}).spikes
    assert found is not None
    assert [(spike.step, spike.value) for spike in found.largest] == spikes


def test_a_loss_is_weighted_by_the_steps_that_it_covers():
    found = analysis({"loss": [(10, 4.0), (20, 4.0), (30, 4.0), (31, 0.0)], "eval_loss": [(31, 1.0)]})
    assert found.gap is not None
    assert found.gap.train == pytest.approx(4.0 * 30 / 31)


def test_a_series_of_one_point():
    found = analysis({"loss": [(1, 2.0)], "grad_norm": [(1, 0.5)], "eval_loss": [(1, 2.5)], "step_time_s": [(1, 0.1)]})
    assert found.convergence is not None
    assert (found.convergence.first, found.convergence.last, found.convergence.trend) == (2.0, 2.0, None)
    assert [(share.step, share.value) for share in found.shares] == [(1, 2.0)] * 5
    assert found.gap is not None
    assert (found.gap.gap, found.gap.is_widening, found.spikes) == (0.5, None, None)


def test_a_job_without_metrics_has_no_results():
    found = analysis({})
    assert (found.best, found.shares, found.convergence, found.throughput, found.summary) == (None, [], None, None, [])


def test_only_step_0_is_evaluated():
    found = analysis({"eval_loss": [(0, 3.0)]})
    assert (found.best, found.gap) == (None, None)


def test_a_later_attempt_replaces_what_came_after_its_checkpoint_once_it_has_measured_something():
    first = [Measurement(step, 1.0, 1) for step in (10, 20, 30, 40)]
    kept = kept_steps({1: None, 2: 20})
    assert clean_series([*first, Measurement(30, 0.5, 2)], kept) == [(10, 1.0), (20, 1.0), (30, 0.5)]
    config = JobConfig.model_validate({"model": "org/m", "dataset": "ds-1"})
    facts = JobFacts("job-1", JobStatus.FAILED, config, 40, None)
    found = analyze(facts, {"loss": first}, {1: None, 2: 20}, NO_TIME)
    assert found.convergence is not None
    assert found.convergence.num_points == 4  # the second attempt ended before its first step


def test_a_resume_from_an_older_checkpoint_counts_for_all_earlier_attempts():
    assert kept_steps({1: None, 2: 40, 3: 10}) == {1: 10, 2: 10, 3: math.inf}
    assert kept_steps({1: None, 2: None}) == {1: 0, 2: math.inf}


numbers = st.floats(allow_nan=True, allow_infinity=True) | st.floats(-10, 10)
points = st.lists(st.tuples(st.integers(0, 300), numbers, st.integers(1, 3)), max_size=60)
names = st.sampled_from(["loss", "eval_loss", "reward", "eval_reward", "grad_norm", "tokens_per_s", "step_time_s"])


@settings(max_examples=150, deadline=None)
@given(
    st.dictionaries(names, points, max_size=7),
    st.lists(st.none() | st.integers(0, 300), min_size=3, max_size=3),
    st.sampled_from(list(METHODS)),
)
def test_whatever_was_recorded_the_result_is_finite(series, resumed, method):
    measured = {name: [Measurement(*point) for point in values] for name, values in series.items()}
    config = JobConfig.model_validate({"model": "org/m", "dataset": "ds-1", "method": METHODS[method]})
    facts = JobFacts("job-1", JobStatus.COMPLETED, config, 0, None)
    found = analyze(facts, measured, dict(enumerate(resumed, 1)), NO_TIME)

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} in JSON")

    text = json.dumps(found.model_dump(mode="json"), allow_nan=False)
    assert json.loads(text, parse_constant=refuse)["job_id"] == "job-1"
    assert not any("nan" in sentence or "inf" in sentence for sentence in found.summary)
