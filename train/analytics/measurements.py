"""Spikes of the loss, gradient norms, and the speed of the steps."""

from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from statistics import median

from ftlab.schemas.analytics import GradientNorm, SpeedOfPart, Spike, Spikes, Throughput
from train.analytics.series import Point, part_of

HISTORY = 32
"""Values before a point that it is compared with; without earlier spikes."""
MIN_HISTORY = 10
MAX_SPIKE_POINTS = 5
"""More high values in a row are a new level."""
SPIKE_DEVIATIONS = 6.0
"""A spike is this many standard deviations above the median, estimated from the median absolute deviation."""
SPIKE_SHARE = 0.1
"""It is also above the median by this share of it."""
DEVIATION_OF_MAD = 1.4826
"""Standard deviation of a normal distribution / its median absolute deviation."""
MAX_SPIKES = 10
GRAD_NORM_RATIO = 10.0
NUM_PARTS = 4


def spikes_of(points: Sequence[Point]) -> Spikes | None:
    """Values far above those before them; `None` for a series that is too short."""
    if len(points) <= MIN_HISTORY:
        return None
    found = _outliers(points, _spike_limit)
    largest = sorted(found, key=lambda spike: spike.usual - spike.value)[:MAX_SPIKES]
    return Spikes(count=len(found), largest=sorted(largest, key=lambda spike: spike.step))


def gradient_norm_of(points: Sequence[Point], max_grad_norm: float | None) -> GradientNorm | None:
    """The gradient norms; `max_grad_norm` is the limit above which they are clipped, 0 for none."""
    if not points:
        return None
    highest = max(points, key=lambda point: (point.value, -point.step))
    clipped = sum(point.value > max_grad_norm for point in points) if max_grad_norm else None
    return GradientNorm(
        median=median(point.value for point in points),
        max=highest.value,
        max_step=highest.step,
        last=points[-1].value,
        clipped_share=None if clipped is None else clipped / len(points),
        spikes=len(_outliers(points, lambda level, _: GRAD_NORM_RATIO * level)),
    )


def throughput_of(series: Mapping[str, Sequence[Point]]) -> Throughput | None:
    """Median speeds over the whole series and in its quarters."""
    names = ("tokens_per_s", "step_time_s", "data_wait_s")
    # A speed of 0 is that of a method that counts no tokens.
    speeds = {name: [p for p in series.get(name, ()) if p.value > 0 or name == "data_wait_s"] for name in names}
    reference = speeds["step_time_s"] or speeds["tokens_per_s"]
    if not reference:
        return None
    parts = []
    for number in range(NUM_PARTS):
        if part := part_of(reference, number / NUM_PARTS, (number + 1) / NUM_PARTS):
            begin, end = part[0].step, part[-1].step
            values = {name: [p.value for p in points if begin <= p.step <= end] for name, points in speeds.items()}
            medians = {name: median(found) for name, found in values.items() if found}
            parts.append(SpeedOfPart(from_step=begin, to_step=end, **medians))
    tokens = [point.value for point in speeds["tokens_per_s"]]
    return Throughput(tokens_per_s=median(tokens) if tokens else None, parts=parts)


def _outliers(points: Sequence[Point], limit: Callable[[float, Collection[float]], float]) -> list[Spike]:
    """Points above `limit(median, values)` of the values before them."""
    usual: deque[float] = deque(maxlen=HISTORY)
    found: list[Spike] = []
    in_a_row: list[float] = []
    for step, value in points:
        level = median(usual) if len(usual) >= MIN_HISTORY else None
        if level is None or value <= limit(level, usual):
            usual.append(value)
            in_a_row.clear()
            continue
        found.append(Spike(step=step, value=value, usual=level))
        in_a_row.append(value)
        if len(in_a_row) > MAX_SPIKE_POINTS:
            del found[-len(in_a_row) :]
            usual.clear()
            usual.extend(in_a_row)
            in_a_row.clear()
    return found


def _spike_limit(level: float, values: Collection[float]) -> float:
    spread = DEVIATION_OF_MAD * median(abs(value - level) for value in values)
    return level + max(SPIKE_DEVIATIONS * spread, SPIKE_SHARE * abs(level))
