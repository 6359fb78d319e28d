"""The electricity of an attempt's GPUs, from the power that they report. Pure functions."""

from collections.abc import Sequence
from decimal import Decimal

from tracking.costs import SMALLEST
from tracking.store.records import AttemptRecord
from tracking.store.telemetry import ATTEMPT, StoredSeries

POWER = "power_watts"
WATT_SECONDS_PER_KWH = Decimal(3_600_000)


def energy_kwh(attempt: AttemptRecord, series: Sequence[StoredSeries]) -> Decimal | None:
    """Mean power of its GPUs times the time that it held them, so that a sample that is missing changes little.

    Of a GPU that it shared, the attempt has its share. `None` where no GPU reported its power.
    """
    means = [mean for each in series if (mean := _mean_power(each, attempt.number)) is not None]
    if not means or attempt.ended_at is None:
        return None
    share = min(1.0, attempt.gpus / len(means))
    held_s = max(0.0, (attempt.ended_at - attempt.created_at).total_seconds())
    return (Decimal(str(sum(means) * share * held_s)) / WATT_SECONDS_PER_KWH).quantize(SMALLEST)


def _mean_power(series: StoredSeries, attempt: int) -> float | None:
    columns = series.points.series
    if POWER not in columns:
        return None
    of_attempt = zip(columns[ATTEMPT].mean, columns[POWER].mean, strict=True)
    values = [watts for number, watts in of_attempt if number == attempt and watts is not None]
    return sum(values) / len(values) if values else None
