"""How well a job learned: its best evaluation, the course of its loss, and the gap between evaluation and training."""

import itertools
import math
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, linear_regression, median, stdev

from ftlab.schemas.analytics import BestEvaluation, BestValue, Convergence, Gap, ShareOfSteps, Trend
from train.analytics.series import Point, mean_of, part_of

SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)
NUM_SEGMENTS = 20
"""Number of parts; the first and the last value of a series are means over one of them."""
MIN_TREND_POINTS = 6
"""A trend of the last third needs at least this many points there."""
MIN_CHANGE = 0.01
"""A smaller change, relative to the value, is none."""
STANDARD_ERRORS = 2.0
"""A change of fewer standard errors is noise."""
SETTLED_BAND = 0.05
WIDER_GAP = 0.05


@dataclass(frozen=True)
class Goal:
    """The metrics by which a method is judged."""

    train: str = "loss"
    evaluation: str = "eval_loss"
    is_highest_best: bool = False
    other_evaluations: tuple[str, ...] = ()
    """Other evaluation metrics of which the highest value is the best."""

    def improvement(self, before: float, after: float) -> float:
        """How much better `after` is than `before`."""
        return after - before if self.is_highest_best else before - after

    def best(self, points: Sequence[Point]) -> Point:
        """The best point, the earlier one on a tie."""
        sign = -1 if self.is_highest_best else 1
        return min(points, key=lambda point: (sign * point.value, point.step))


GOALS = {
    "sft": Goal(other_evaluations=("eval_mean_token_accuracy",)),
    "dpo": Goal(other_evaluations=("eval_rewards/margins", "eval_rewards/accuracies")),
    "kto": Goal(other_evaluations=("eval_rewards/margins",)),
    "reward": Goal(other_evaluations=("eval_accuracy", "eval_margin")),
    "grpo": Goal(train="reward", evaluation="eval_reward", is_highest_best=True),
}

Series = Mapping[str, Sequence[Point]]


def best_evaluation(series: Series, goal: Goal, last_step: int) -> BestEvaluation | None:
    """The best evaluation after step 0; `last_step` is the newest step of the job."""
    points = series.get(goal.evaluation, ())
    trained = [point for point in points if point.step > 0]
    if not trained:
        return None
    best = goal.best(trained)
    return BestEvaluation(
        metric=goal.evaluation,
        step=best.step,
        value=best.value,
        before_training=next((point.value for point in points if point.step == 0), None),
        steps_since=max(last_step, trained[-1].step) - best.step,
        evaluations_since=sum(point.step > best.step for point in trained),
        last_third_gain=_last_third_gain(points, goal),
        metrics={
            name: point.value
            for name, values in series.items()
            if name.startswith("eval_")
            for point in values
            if point.step == best.step
        },
    )


def best_values(series: Series, goal: Goal) -> list[BestValue]:
    """The highest values of the method's other evaluation metrics, after step 0."""
    found = []
    for name in goal.other_evaluations:
        if trained := [point for point in series.get(name, ()) if point.step > 0]:
            best = min(trained, key=lambda point: (-point.value, point.step))
            found.append(BestValue(metric=name, step=best.step, value=best.value))
    return found


def shares_of(train: Sequence[Point], evaluations: Sequence[Point]) -> list[ShareOfSteps]:
    """Where the training stood at the `SHARES` of its steps so far."""
    found = []
    for share in SHARES if train else ():
        target = train[0].step + share * (train[-1].step - train[0].step)
        nearest = min(train, key=lambda point: (abs(point.step - target), point.step))
        position = (nearest.step - train[0].step) / max(1, train[-1].step - train[0].step)
        begin = min(max(0.0, position - 0.5 / NUM_SEGMENTS), 1 - 1 / NUM_SEGMENTS)
        around = part_of(train, begin, max(position, begin + 1 / NUM_SEGMENTS)) or [nearest]
        measured = bisect_right([point.step for point in evaluations], nearest.step)
        evaluation = evaluations[measured - 1].value if measured else None
        found.append(ShareOfSteps(share=share, step=nearest.step, value=mean_of(around), evaluation=evaluation))
    return found


def convergence_of(metric: str, points: Sequence[Point]) -> Convergence | None:
    """The course of a training metric."""
    if not points:
        return None
    segments = _segments(points)
    third = part_of(points, 2 / 3, 1.0)
    trend = trend_of(third)
    has_settled = trend == "flat" and trend_of(points) != "flat"
    slope = linear_regression(*zip(*third, strict=True)).slope if len(third) > 1 else None
    return Convergence(
        metric=metric,
        num_points=len(points),
        first=mean_of(segments[0]),
        last=mean_of(segments[-1]),
        trend=trend,
        slope_per_100_steps=None if slope is None or trend is None else 100 * slope,
        settled_step=_settled_step(points, before=third[0].step) if has_settled else None,
    )


def trend_of(points: Sequence[Point]) -> Trend | None:
    """The direction of a part of a series, by the means of its halves; `None` for too few points."""
    if len(points) < MIN_TREND_POINTS:
        return None
    half = len(points) // 2
    first, second = [p.value for p in points[:half]], [p.value for p in points[half:]]
    change = fmean(second) - fmean(first)
    noise = math.hypot(stdev(first) / math.sqrt(len(first)), stdev(second) / math.sqrt(len(second)))
    if abs(change) <= STANDARD_ERRORS * noise or abs(change) <= MIN_CHANGE * abs(fmean(first)):
        return "flat"
    return "falling" if change < 0 else "rising"


def gap_of(train: Sequence[Point], evaluations: Sequence[Point], goal: Goal) -> Gap | None:
    """The gap at the newest evaluation that has training steps before it."""
    gaps: dict[int, tuple[float, Point]] = {}
    before = 0
    for point in evaluations:
        between = [each for each in train if before < each.step <= point.step]
        before = point.step
        if between:
            gaps[point.step] = mean_of(between), point
    if not gaps:
        return None
    level, newest = gaps[max(gaps)]
    gap = goal.improvement(newest.value, level)
    best = goal.best([point for _, point in gaps.values()])
    at_best = goal.improvement(best.value, gaps[best.step][0])
    is_later = newest.step > best.step
    return Gap(
        step=newest.step,
        train=level,
        evaluation=newest.value,
        gap=gap,
        at_best=at_best,
        is_widening=gap - at_best > WIDER_GAP * abs(best.value) if is_later else None,
    )


def _last_third_gain(points: Sequence[Point], goal: Goal) -> float | None:
    last_third = part_of(points, 2 / 3, 1.0)
    before = points[: len(points) - len(last_third)]
    if not before or not last_third:
        return None
    return goal.improvement(goal.best(before).value, goal.best(last_third).value)


def _segments(points: Sequence[Point]) -> list[list[Point]]:
    """`NUM_SEGMENTS` equal parts of the steps; parts without a point are omitted."""
    parts = [part_of(points, number / NUM_SEGMENTS, (number + 1) / NUM_SEGMENTS) for number in range(NUM_SEGMENTS)]
    return [part for part in parts if part]


def _settled_step(points: Sequence[Point], before: int) -> int | None:
    """The first step from which on all medians stay near the last one; `None` where it is not below `before`."""
    medians = [Point(part[0].step, median(point.value for point in part)) for part in _segments(points)]
    last = medians[-1].value
    band = SETTLED_BAND * abs(last - medians[0].value)
    near = itertools.takewhile(lambda point: abs(point.value - last) <= band, reversed(medians))
    settled = min(point.step for point in near)
    return settled if settled < before else None
