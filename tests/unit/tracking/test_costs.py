"""What attempts cost: exact amounts, live ones, and their sums."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from ftlab.schemas.costs import CostGroup
from ftlab.settings import Settings
from ftlab.status import JobStatus
from tests.unit.tracking.samples import NOW, add_job, later, start
from tracking.costs import held_devices, job_cost, model_of, price_of, rate_of, record_of, report
from tracking.energy import PowerMeter
from tracking.store.records import JobRef
from tracking.store.telemetry import SeriesKey
from tracking.store.telemetry_points import from_readings

PRICES = {"cpu": "0.1", "gpu": 2, "H100": "3.333333"}
PRICED = Settings(prices=PRICES, currency="EUR")


@pytest.fixture
def attempt(store):
    """A live attempt with 2 cores, from `NOW` on."""
    ref = start(store, add_job(store).id)
    with store.read() as tx:
        return tx.attempts.get(ref)


@pytest.fixture
def job(store, attempt):
    with store.read() as tx:
        return tx.jobs.get(attempt.job_id)


def ended(attempt, seconds, **changes):
    return replace(attempt, ended_at=later(seconds), **changes)


@pytest.mark.parametrize(
    ("cpus", "gpus", "types", "held"),
    [
        (4, 0, {}, {"cpu": "4"}),
        (0, 0.1, {}, {"gpu": "0.1"}),
        (1, 0.3, {"H100": 0.3}, {"cpu": "1", "H100": "0.3"}),
        (2, 3.0, {"H100": 1.0, "A100": 1.0}, {"cpu": "2", "H100": "1.0", "A100": "1.0", "gpu": "1.0"}),
    ],
)
def test_held_devices_by_type(cpus, gpus, types, held):
    assert held_devices(cpus, gpus, types) == {device: Decimal(number) for device, number in held.items()}


def test_a_type_without_a_price_has_that_of_gpus_and_cores_never_do():
    assert price_of(PRICED.prices, "H100") == Decimal("3.333333")
    assert price_of(PRICED.prices, "A100") == Decimal(2)
    assert price_of(Settings(prices={"gpu": 2}).prices, "cpu") is None
    assert rate_of(Settings(prices={"gpu": 2}), held_devices(8, 0, {})) is None


@pytest.mark.parametrize(
    ("config", "model"),
    [
        ({"model": "org/name"}, "org/name"),
        ({"models": ["job:job-1"]}, "job:job-1"),
        ({"models": ["job:job-1", "org/name"]}, "2 models"),
    ],
)
def test_every_job_has_a_model_to_sum_costs_by(config, model):
    assert model_of(config) == model


def test_amounts_are_exact(attempt, job):
    """A tenth of a currency unit an hour has no exact binary fraction."""
    record = record_of(PRICED, job, ended(attempt, 3600 * 3))
    assert (record.amount, record.currency) == (Decimal("0.6"), "EUR")
    record = record_of(PRICED, job, ended(attempt, 1, gpus=0.7, gpu_types={"H100": 0.7}))
    cpu, gpu = record.devices
    assert (cpu.device, cpu.quantity, cpu.hours, cpu.amount) == (
        "cpu",
        Decimal(2),
        Decimal("0.000556"),
        Decimal("0.000056"),
    )
    assert (gpu.device, gpu.quantity, gpu.amount) == ("H100", Decimal("0.7"), Decimal("0.000648"))
    assert record.amount == cpu.amount + gpu.amount
    assert (record.held_from, record.held_until) == (NOW, later(1))


def test_devices_without_a_price_are_recorded_and_cost_nothing(attempt, job):
    record = record_of(Settings(prices={"gpu": 1}), job, ended(attempt, 3600))
    [cpu] = record.devices
    assert (cpu.hours, cpu.price_per_hour, cpu.amount) == (Decimal(2), None, None)
    assert (record.amount, record.currency) == (None, None)
    assert job_cost(Settings(), job, [record], [], NOW) is None


def test_a_clock_that_was_set_back_costs_nothing(attempt, job):
    record = record_of(PRICED, job, ended(attempt, -50))
    assert record.amount == 0
    assert record.held_until == record.held_from


def test_a_running_job_costs_its_attempts_until_now(attempt, job):
    first = record_of(PRICED, job, ended(attempt, 3600))
    second = replace(attempt, number=2, created_at=later(7200))
    job = replace(job, eta_s=1800.0)
    cost = job_cost(PRICED, job, [first], [second], later(9000))
    assert (cost.amount, cost.currency, cost.is_final) == (Decimal("0.3"), "EUR", False)
    assert (cost.rate_per_hour, cost.expected) == (Decimal("0.2"), Decimal("0.4"))


def test_the_cost_of_an_ended_job_is_final_once_every_attempt_has_its_record(attempt, job):
    job = replace(job, status=JobStatus.COMPLETED)
    over = ended(attempt, 3600)
    pending = job_cost(PRICED, job, [], [over], later(9000))
    assert (pending.amount, pending.is_final, pending.rate_per_hour) == (Decimal("0.2"), False, 0)
    final = job_cost(PRICED, job, [record_of(PRICED, job, over)], [], later(9000))
    assert (final.amount, final.is_final, final.expected) == (Decimal("0.2"), True, None)


def test_the_estimate_stays_beside_the_result_at_the_prices_of_the_first_attempt(attempt, job):
    job = replace(job, status=JobStatus.COMPLETED, estimated_time_s=1800.0)
    record = record_of(PRICED, job, ended(attempt, 3600))
    dearer = Settings(prices={"cpu": 100}, currency="EUR")
    assert job_cost(dearer, job, [record], [], NOW).estimated == Decimal("0.1")
    assert job_cost(PRICED, job, [], [ended(attempt, 3600)], NOW).estimated == Decimal("0.1")
    assert job_cost(PRICED, replace(job, estimated_time_s=None), [record], [], NOW).estimated is None


def test_later_prices_change_no_record(attempt, job):
    record = record_of(PRICED, job, ended(attempt, 3600))
    dearer = Settings(prices={"cpu": 100}, currency="EUR")
    assert job_cost(dearer, job, [record], [], NOW).amount == Decimal("0.2")


def test_records_survive_the_database_unchanged(store, attempt, job):
    record = record_of(PRICED, job, ended(attempt, 1, gpus=0.7, gpu_types={"H100": 0.7}))
    with store.begin() as tx:
        tx.costs.add(record)
    with store.read() as tx:
        assert tx.costs.of_jobs([job.id, "job-other"]) == {job.id: [record]}
        assert list(tx.costs.of_period(owner="local", since=later(1), until=later(2))) == [record]
        assert list(tx.costs.of_period(owner="local", since=later(2), until=None)) == []
        assert list(tx.costs.of_period(owner="local", since=None, until=later(1))) == []
        assert list(tx.costs.of_period(owner="someone", since=None, until=None)) == []


def test_the_power_so_far_is_the_mean_of_samples_that_are_read_once(store, attempt, monkeypatch):
    attempt = replace(attempt, gpus=0.5)
    ref = JobRef(attempt.job_id, attempt.number)
    meter, no_price = PowerMeter(Settings(prices={"kwh": 1})), PowerMeter(PRICED)

    def sample(second, watts):
        points = from_readings([(later(second).timestamp(), {"power_watts": watts})])
        with store.begin() as tx:
            tx.telemetry.add(SeriesKey("m1", "gpu-0", *vars(ref).values()), points)

    def watts(seconds, meter=meter):
        with store.read() as tx:
            return meter.watts(tx, [attempt], later(seconds))

    sample(50, 100.0)
    assert watts(80) == {}, "less than a minute"
    assert watts(90) == {ref: 50.0}
    sample(70, 300.0)
    assert watts(120) == {ref: 50.0}
    assert watts(150) == watts(300) == {ref: 100.0}
    assert watts(300, no_price) == {}


def test_devices_by_type_are_kept_with_the_attempt(store):
    job = add_job(store)
    with store.begin() as tx:
        epoch = tx.leases.acquire("coordinator", "c", ttl_s=10, now=NOW).epoch
        types = {"driver": "d", "cpus": 1, "gpus": 0.5, "gpu_types": {"H100": 0.5}}
        claimed = tx.jobs.claim(job.id, epoch=epoch, now=NOW, **types)
    with store.read() as tx:
        [read] = tx.attempts.without_cost_record([job.id])
    assert read == claimed
    assert read.gpu_types == {"H100": 0.5}


def records(job):
    def one(number, day, model, hours, price, currency="EUR"):
        settings = Settings(prices={"cpu": price} if price else {}, currency=currency)
        begin = datetime(2026, 3, day, 23, tzinfo=UTC)
        attempt = _attempt(job.id, number, begin, begin + timedelta(hours=hours))
        return record_of(settings, replace(job, submitted_config={"model": model}), attempt)

    return [
        one(1, 1, "a/small", 0.5, "0.1"),
        one(2, 1, "a/large", 2, "0.1"),
        one(3, 2, "a/small", 0.5, "0.2"),
        one(4, 2, "a/small", 1, None),
        one(5, 2, "a/small", 1, "7", "USD"),
    ]


def _attempt(job_id, number, begin, end):
    from tracking.store.records import AttemptRecord

    return AttemptRecord(
        job_id=job_id,
        number=number,
        driver="d",
        cpus=1,
        gpus=0,
        placement_groups=(),
        pids=(),
        resumed_from_step=None,
        created_at=begin,
        heartbeat_at=end,
        ended_at=end,
        reason=None,
        message=None,
    )


@pytest.mark.parametrize(
    ("by", "expected"),
    [
        (
            "model",
            [("a/small", "7", "USD"), ("a/large", "0.2", "EUR"), ("a/small", "0.15", "EUR"), ("a/small", None, None)],
        ),
        ("owner", [("local", "7", "USD"), ("local", "0.35", "EUR"), ("local", None, None)]),
        ("month", [("2026-03", "0.35", "EUR"), ("2026-03", None, None), ("2026-03", "7", "USD")]),
    ],
)
def test_sums(job, by, expected):
    found = report(records(job), CostGroup(by))
    assert [(each.key, each.amount and str(each.amount.normalize()), each.currency) for each in found.data] == expected
    totals = {each.currency: (each.amount, each.num_attempts, each.cpu_hours) for each in found.totals}
    assert totals == {
        "EUR": (Decimal("0.35"), 3, Decimal(3)),
        None: (None, 1, Decimal(1)),
        "USD": (Decimal(7), 1, Decimal(1)),
    }


def test_an_attempt_counts_on_the_day_on_which_it_ended(job):
    found = report(records(job)[:3], CostGroup.DAY)
    assert [(each.key, each.num_attempts) for each in found.data] == [("2026-03-01", 1), ("2026-03-02", 2)]


def test_attempts_and_jobs_have_names(job):
    found = report(records(job)[:2], CostGroup.ATTEMPT)
    assert [(each.key, each.name) for each in found.data] == [(f"{job.id}/1", "a job"), (f"{job.id}/2", "a job")]
    assert [each.key for each in report(records(job)[:2], CostGroup.JOB).data] == [job.id]
    assert [(each.key, each.name) for each in found.totals] == [("total", None)]


def test_ten_thousand_small_amounts_add_up(job):
    """Binary fractions would drift."""
    one = replace(_attempt(job.id, 1, NOW, later(36)), cpus=1)
    record = record_of(Settings(prices={"cpu": "0.1"}), job, one)
    assert report([record] * 10_000, CostGroup.MODEL).totals[0].amount == Decimal(10)
