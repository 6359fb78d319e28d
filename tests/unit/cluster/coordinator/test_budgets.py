"""Budgets of a month: warnings, and jobs that are held; a core costs a tenth of a cent a second."""

from decimal import Decimal

import pytest

from ftlab.schemas.notifications import NotificationKind
from ftlab.status import JobStatus, ReasonCode
from tests.unit.cluster.coordinator.test_cost_limit import ONE_CORE
from tests.unit.cluster.coordinator.test_time_limit import last_until
from tests.unit.cluster.coordinator.world import World


@pytest.fixture
def budgeted(priced: World) -> World:
    set_budget(priced, "0.1")
    return priced


def set_budget(world: World, amount: str | None, owner: str = "local") -> None:
    with world.store.begin() as tx:
        tx.quotas.set(owner, max_monthly_cost=None if amount is None else Decimal(amount))


def warnings(world: World, owner: str = "local") -> list[tuple[str, str]]:
    with world.store.read() as tx:
        found = tx.notifications.list(owner=owner, kinds=[NotificationKind.BUDGET])
        return [(each.title, each.message) for each in reversed(found)]


def ends(world: World, job_id: str) -> None:
    world.end_attempt(job_id, ReasonCode.DEVICE_OOM)
    world.tick(after_s=1)


def test_the_owner_is_warned_once_and_then_jobs_are_held(budgeted: World):
    job_id = budgeted.running(resources=ONE_CORE)
    last_until(budgeted, job_id, 70)
    assert warnings(budgeted) == []
    last_until(budgeted, job_id, 90)
    [(title, message)] = warnings(budgeted)
    assert title == "80 % of the budget is used"
    assert "of 0.10 EUR in March 2026" in message
    budgeted.coordinator = budgeted.new_coordinator()  # the warning that was sent is in the database
    last_until(budgeted, job_id, 120)
    assert [title for title, _ in warnings(budgeted)] == ["80 % of the budget is used", "100 % of the budget is used"]
    assert budgeted.status(job_id) is JobStatus.RUNNING
    held = budgeted.submit(resources=ONE_CORE)
    budgeted.tick(after_s=2)
    budgeted.beat(job_id)
    assert budgeted.status(held) is JobStatus.QUEUED
    assert (budgeted.job(held).waiting_for or "").startswith("Held: the budget of its owner is used up (0.12")


def test_what_has_ended_counts_and_a_higher_budget_releases_the_jobs(budgeted: World):
    job_id = budgeted.running(resources=ONE_CORE)
    last_until(budgeted, job_id, 100)
    ends(budgeted, job_id)
    held = budgeted.submit(resources=ONE_CORE)
    budgeted.tick(after_s=10)
    assert budgeted.status(held) is JobStatus.QUEUED
    set_budget(budgeted, "0.5")
    budgeted.tick(after_s=5)
    assert budgeted.status(held) is JobStatus.PENDING


def test_the_next_month_begins_with_a_whole_budget(budgeted: World):
    job_id = budgeted.running(resources=ONE_CORE)
    last_until(budgeted, job_id, 100)
    ends(budgeted, job_id)
    held = budgeted.submit(resources=ONE_CORE)
    budgeted.now = budgeted.now.replace(day=31, hour=23, minute=59, second=50)
    budgeted.tick()
    assert budgeted.status(held) is JobStatus.QUEUED
    budgeted.tick(after_s=10)
    assert budgeted.status(held) is JobStatus.PENDING


def test_other_owners_are_not_held(budgeted: World):
    job_id = budgeted.running(resources=ONE_CORE)
    last_until(budgeted, job_id, 100)
    own, other = budgeted.submit(resources=ONE_CORE), budgeted.submit(owner="ann", resources=ONE_CORE)
    budgeted.tick(after_s=5)
    assert [budgeted.status(job) for job in (own, other)] == ["queued", "pending"]
    assert warnings(budgeted, "ann") == []


def test_the_setting_is_the_budget_of_owners_without_one(priced: World):
    priced.settings = priced.settings.model_copy(update={"quota_monthly_cost": Decimal("0.05")})
    priced.coordinator = priced.new_coordinator()
    job_id = priced.running(resources=ONE_CORE)
    last_until(priced, job_id, 40)
    assert [title for title, _ in warnings(priced)] == ["80 % of the budget is used"]
