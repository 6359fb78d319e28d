"""The electricity of an attempt's GPUs, from the power that they report."""

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal

from ftlab.settings import Settings
from tracking.costs import KWH, kwh_of
from tracking.store import Transaction
from tracking.store.records import AttemptRecord, JobRef
from tracking.store.telemetry import ATTEMPT, StoredSeries

POWER = "power_watts"
READ_INTERVAL = timedelta(minutes=1)
"""How often the new samples of an attempt are read."""
SAMPLE_DELAY = timedelta(seconds=30)
"""Samples are written in batches: those of the last seconds may still be missing."""
MAX_ATTEMPTS = 1000


def energy_kwh(attempt: AttemptRecord, series: Sequence[StoredSeries]) -> Decimal | None:
    """Mean power of its GPUs times the time that it held them, so that a sample that is missing changes little.

    Of a GPU that it shared, the attempt has its share. `None` where no GPU reported its power.
    """
    power = _Power(attempt.created_at)
    power.add(attempt, series)
    watts = power.watts(attempt)
    if watts is None or attempt.ended_at is None:
        return None
    return kwh_of(watts, attempt.created_at, attempt.ended_at)


class PowerMeter:
    """Mean power of the GPUs of attempts that have no cost record yet. Each sample is read once."""

    def __init__(self, settings: Settings) -> None:
        self._has_price = KWH in settings.prices
        self._measured: OrderedDict[JobRef, _Power] = OrderedDict()

    def watts(self, tx: Transaction, attempts: Iterable[AttemptRecord], now: datetime) -> dict[JobRef, float]:
        """Watts of each attempt whose GPUs have reported their power; of none without a price of electricity."""
        if not self._has_price:
            return {}
        found = {JobRef(each.job_id, each.number): self._watts(tx, each, now) for each in attempts if each.gpus}
        return {ref: watts for ref, watts in found.items() if watts is not None}

    def _watts(self, tx: Transaction, attempt: AttemptRecord, now: datetime) -> float | None:
        power = self._measured.setdefault(JobRef(attempt.job_id, attempt.number), _Power(attempt.created_at))
        until = min(attempt.ended_at or now, now - SAMPLE_DELAY)
        if until - power.read_until >= READ_INTERVAL:
            power.add(attempt, tx.telemetry.of_job(attempt.job_id, after=power.read_until, until=until))
            power.read_until = until
        if len(self._measured) > MAX_ATTEMPTS:
            self._measured.popitem(last=False)
        return power.watts(attempt)


@dataclass
class _Power:
    """What the GPUs of an attempt have reported: the sum and the number of the values of each."""

    read_until: datetime
    sums: dict[tuple[str, str], tuple[float, int]] = field(default_factory=dict)

    def add(self, attempt: AttemptRecord, series: Sequence[StoredSeries]) -> None:
        for each in series:
            values = list(_power_of(each, attempt.number))
            if values:
                total, count = self.sums.get((each.node, each.device), (0.0, 0))
                self.sums[each.node, each.device] = total + sum(values), count + len(values)

    def watts(self, attempt: AttemptRecord) -> float | None:
        """Of GPUs that the attempt shares, its share."""
        if not self.sums:
            return None
        return sum(total / count for total, count in self.sums.values()) * min(1.0, attempt.gpus / len(self.sums))


def _power_of(series: StoredSeries, attempt: int) -> Iterator[float]:
    columns = series.points.series
    if POWER in columns:
        for number, watts in zip(columns[ATTEMPT].mean, columns[POWER].mean, strict=True):
            if number == attempt and watts is not None:
                yield watts
