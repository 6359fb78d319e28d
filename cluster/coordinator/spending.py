"""The gate of money: queued jobs are held while their owner's budget is used up, or while no price can end them.

Running jobs continue: what they hold is paid already, and `max_cost` limits each of them.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from decimal import Decimal

from cluster.coordinator.tick import Tick
from cluster.policy import Fleet, QueuedJob, Wait, waiting_reasons
from cluster.runs.run_limits import is_priced
from ftlab.schemas.notifications import NotificationKind
from tracking.budgets import Budget, read_budget
from tracking.notifications.collect import add_notification
from tracking.store import Transaction
from tracking.store.notifications import NewNotification
from tracking.store.quotas import effective_quota
from tracking.store.records import QuotaRecord

LOOK_INTERVAL = timedelta(seconds=5)
"""How often what was spent is summed up."""
WATCHED_FOR = timedelta(minutes=1)
"""How long the budget of an owner is watched after their last running job: the record of its cost comes later."""


class SpendingGate:
    """Passes the jobs that may be paid, and warns owners. Remembers the budgets of the last look."""

    def __init__(self) -> None:
        self._budgets: dict[str, Budget] = {}
        self._looked_at: datetime | None = None
        self._owners: dict[str, datetime] = {}
        """Owners whose jobs cost something, and until when they are watched."""

    def watch(self, tick: Tick) -> None:
        """Notify owners of running jobs whose budget is nearly or wholly used up, once for each amount and month."""
        self._owners |= {job.owner: tick.now + WATCHED_FOR for job in tick.jobs}
        self._owners = {owner: until for owner, until in self._owners.items() if until > tick.now}
        if self._owners and self._is_due(tick):
            self._look(tick, self._owners)

    def let_pass(self, tick: Tick, queue: Sequence[QueuedJob], fleet: Fleet) -> tuple[list[QueuedJob], list[Wait]]:
        """The jobs of the queue that may start, and why the others are held."""
        owners = {job.owner for job in queue}
        if self._is_due(tick) or not owners <= self._owners.keys():
            self._owners |= dict.fromkeys(owners - self._owners.keys(), tick.now + LOOK_INTERVAL)
            self._look(tick, owners | self._owners.keys())
        passed, held = [], []
        for job in queue:
            budget = self._budgets.get(job.owner)
            if budget is not None and budget.is_used_up:
                held.append(Wait(job.id, waiting_reasons.held_by_budget(budget.in_words)))
            elif job.config.max_cost is not None and not is_priced(tick.settings, job.config.resources, fleet):
                held.append(Wait(job.id, waiting_reasons.held_without_price()))
            else:
                passed.append(job)
        return passed, held

    def _is_due(self, tick: Tick) -> bool:
        return self._looked_at is None or tick.now - self._looked_at >= LOOK_INTERVAL

    def _look(self, tick: Tick, owners: Iterable[str]) -> None:
        self._looked_at = tick.now
        with tick.store.read() as tx:
            limits = _limits(tx, tick, owners)
            self._budgets = {
                owner: read_budget(tx, tick.settings, owner, limit, tick.now, tick.limits.meter)
                for owner, limit in limits.items()
            }
            due = [
                budget
                for budget in self._budgets.values()
                if (percent := budget.reached_percent) is not None
                and not tx.budget_warnings.has(budget.owner, budget.month, percent, budget.limit)
            ]
        for budget in due:
            _warn(tick, budget)


def _limits(tx: Transaction, tick: Tick, owners: Iterable[str]) -> dict[str, Decimal]:
    """The budgets of those owners who have one."""
    quotas = tx.quotas.all()
    limits = {
        owner: effective_quota(quotas.get(owner) or QuotaRecord(owner), tick.settings).max_monthly_cost
        for owner in owners
    }
    return {owner: limit for owner, limit in limits.items() if limit is not None}


def _warn(tick: Tick, budget: Budget) -> None:
    """Store the notification, in one transaction with the note that it was sent."""
    percent = budget.reached_percent
    assert percent is not None
    follows = (
        "Queued jobs are held until the next month, or until an admin raises max_monthly_cost; running jobs continue."
        if budget.is_used_up
        else "Once it is used up, queued jobs are held; running jobs continue."
    )
    new = NewNotification(
        kind=NotificationKind.BUDGET,
        title=f"{percent} % of the budget is used",
        message=f"Jobs of {budget.owner} have cost {budget.in_words}. {follows}",
        at=tick.now,
    )
    with tick.store.begin() as tx:
        if tx.budget_warnings.add(budget.owner, budget.month, percent, budget.limit):
            add_notification(tx, budget.owner, new, tx.channels.list(owner=budget.owner))
