"""Costs in the SDK and the CLI, against the real HTTP service."""

from datetime import date
from decimal import Decimal

import pytest

from ftlab import errors
from ftlab.formatting import money
from ftlab.settings import Settings
from ftlab.status import JobStatus, ReasonCode
from tests.unit.tracking.samples import add_job, later, start
from tracking.costs import record_of

PRICED = Settings(prices={"cpu": "0.1"}, currency="EUR")


@pytest.fixture
def address(world) -> str:
    return str(world.url(""))


@pytest.fixture
def job_id(world) -> str:
    """A job that held two cores for an hour."""
    store = world.store
    ref = start(store, add_job(store, name="nightly").id)
    with store.begin() as tx:
        tx.attempts.end(ref, reason=ReasonCode.OK, message="", now=later(3600))
        tx.jobs.move(ref, JobStatus.COMPLETED, now=later(3600))
        tx.attempts.count(ref, now=later(3600))
        tx.costs.add(record_of(PRICED, tx.jobs.get(ref.id), tx.attempts.get(ref)))
    return ref.id


def test_costs_in_the_sdk(client, job_id):
    cost = client.jobs.get(job_id).cost
    assert (cost.amount, cost.currency, cost.is_final) == (Decimal("0.2"), "EUR", True)
    [record] = client.costs.of_job("nightly")
    assert (record.amount, record.devices[0].price_per_hour) == (Decimal("0.2"), Decimal("0.1"))
    day = date(2026, 3, 1)
    [total] = client.costs.report("day", since=day, until=day).totals
    assert (total.amount, total.num_attempts) == (Decimal("0.2"), 1)
    assert client.costs.report(since=date(2026, 3, 2)).data == []
    with pytest.raises(errors.NotFoundError):
        client.costs.of_job("unknown")


def test_the_limit_of_a_job_and_the_budget_of_a_month_on_the_command_line(cli, world):
    job_id = add_job(world.store, name="capped", config={"max_cost": "7.5"}).id
    ref = start(world.store, job_id)
    with world.store.begin() as tx:
        tx.attempts.end(ref, reason=ReasonCode.OK, message="", now=later(3600))
        tx.jobs.move(ref, JobStatus.COMPLETED, now=later(3600))
        tx.attempts.count(ref, now=later(3600))
        tx.costs.add(record_of(PRICED, tx.jobs.get(job_id), tx.attempts.get(ref)))
    assert any(
        line.split() == ["Cost", "0.20", "of", "at", "most", "7.50", "EUR"] for line in cli("show", job_id).lines
    )
    refused = cli("quota", "--set", "max_monthly_cost=100")
    assert "has no effect, because the service has no prices" in refused.err
    world.settings.prices["cpu"] = Decimal("0.1")
    shown = cli("quota", "--set", "max_monthly_cost=100").lines
    assert any(line.split() == ["Cost", "this", "month", "0.00", "of", "100.00", "USD"] for line in shown)
    shown = cli("quota", "--set", "max_monthly_cost=null").lines
    assert any(line.split()[3:] == ["0.00", "USD,", "no", "limit"] for line in shown)


def test_costs_on_the_command_line(cli, job_id):
    assert cli("costs").lines == [
        "MODEL\tNAME\tATTEMPTS\tCPU HOURS\tGPU HOURS\tENERGY KWH\tAMOUNT\tCURRENCY",
        "org/name\t\t1\t2.000000\t0\t0\t0.200000\tEUR",
        "total\t\t1\t2.000000\t0\t0\t0.200000\tEUR",
    ]
    csv = cli("costs", "--by", "job", "--csv", "--since", "2026-03-01", "--until", "2026-03-01").lines
    assert csv == [
        "job,name,attempts,cpu_hours,gpu_hours,energy_kwh,amount,currency",
        f"{job_id},nightly,1,2.000000,0,0,0.200000,EUR",
    ]
    assert cli("costs", "--json").json["totals"][0]["amount"] == "0.200000"
    assert "No attempt has ended" in cli("costs", "--since", "2026-03-02").err
    assert cli("costs", "--by", "colour").code == 2
    assert cli("costs", "--since", "yesterday").code == 2
    assert any(line.split() == ["Cost", "0.20", "EUR"] for line in cli("show", job_id).lines)


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        ("0", "0.00 EUR"),
        ("12.345", "12.34 EUR"),
        ("0.2", "0.20 EUR"),
        ("0.0800", "0.08 EUR"),
        ("0.0123", "0.012 EUR"),
        ("0.000056", "0.000056 EUR"),
    ],
)
def test_small_amounts_are_not_shown_as_nothing(amount, text):
    assert money(Decimal(amount), "EUR") == text
