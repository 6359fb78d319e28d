"""Budgets: what an owner may spend in a calendar month (UTC), and what was spent of it."""

from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal

from ftlab.formatting import money
from ftlab.settings import Settings
from tracking.costs import NO_POWER, cost_so_far
from tracking.energy import PowerMeter
from tracking.store import Transaction

WARNED_AT = (80, 100)
"""Percentages of a budget at which its owner gets a notification."""


@dataclass(frozen=True)
class Budget:
    """The budget of an owner for one month."""

    owner: str
    month: datetime
    """Its first moment."""
    limit: Decimal
    spent: Decimal
    currency: str

    @property
    def is_used_up(self) -> bool:
        return self.spent >= self.limit

    @property
    def reached_percent(self) -> int | None:
        """The highest of `WARNED_AT` that is reached; `None` below the lowest."""
        return max((percent for percent in WARNED_AT if self.spent * 100 >= self.limit * percent), default=None)

    @property
    def in_words(self) -> str:
        """`101.20 of 100.00 EUR in November 2026`."""
        spent = money(self.spent, None)
        return f"{spent} of {money(self.limit, self.currency)} in {self.month:%B %Y}"


def month_of(moment: datetime) -> datetime:
    """The first moment of its month, in UTC."""
    return moment.astimezone(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)


def spent_in_month(
    tx: Transaction, settings: Settings, owner: str, now: datetime, meter: PowerMeter | None = None
) -> Decimal:
    """What the owner's attempts cost that ended this month or have no record yet, in the currency of the service.

    An attempt counts whole, in the month in which it ends, as in the report by month. Without `meter`, its electricity
    counts when it has ended.
    """
    amounts = tx.costs.amounts(owner=owner, since=month_of(now), currency=settings.currency)
    pending = tx.attempts.without_cost_record_of(owner)
    return cost_so_far(settings, amounts, pending, now, meter.watts(tx, pending, now) if meter else NO_POWER)[0]


def read_budget(
    tx: Transaction, settings: Settings, owner: str, limit: Decimal, now: datetime, meter: PowerMeter
) -> Budget:
    """The owner's budget of this month, of which `limit` may be spent."""
    return Budget(owner, month_of(now), limit, spent_in_month(tx, settings, owner, now, meter), settings.currency)
