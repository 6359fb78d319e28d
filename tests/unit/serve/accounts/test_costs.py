"""Costs over HTTP: of a job, of its attempts, and their sums."""

from datetime import UTC, datetime

import pytest

from ftlab.settings import Settings
from ftlab.status import JobStatus, ReasonCode
from tests.unit.tracking.samples import NOW, add_job, later, start
from tracking.costs import record_of

PATH = "/api/costs"


@pytest.fixture
def settings(tmp_path) -> Settings:
    return Settings(home=tmp_path / "home", prices={"cpu": "0.10"}, currency="EUR")


def completed(store, settings, name="a job", *, owner="local"):
    """A job that held two cores for an hour."""
    ref = start(store, add_job(store, name=name, owner=owner).id)
    with store.begin() as tx:
        tx.attempts.end(ref, reason=ReasonCode.OK, message="", now=later(3600))
        tx.jobs.move(ref, JobStatus.COMPLETED, now=later(3600))
        tx.attempts.count(ref, now=later(3600))
        tx.costs.add(record_of(settings, tx.jobs.get(ref.id), tx.attempts.get(ref)))
    return ref.id


def test_a_job_has_its_cost_and_its_records(client, store, settings):
    job_id = completed(store, settings)
    job = client.get(f"/api/training/jobs/{job_id}").json()
    assert job["cost"] == {
        "amount": "0.200000",
        "currency": "EUR",
        "is_final": True,
        "rate_per_hour": "0",
        "expected": None,
        "estimated": None,
    }
    [record] = client.get(f"/api/training/jobs/{job_id}/costs").json()["data"]
    assert (record["attempt"], record["amount"], record["devices"][0]["hours"]) == (1, "0.200000", "2.000000")
    assert client.get(f"/api/jobs/{job_id}").json()["cost_records"] == [record]


def test_a_running_job_has_a_live_cost(client, store):
    ref = start(store, add_job(store).id)
    [job] = client.get("/api/training/jobs").json()["data"]
    hours = (datetime.now(UTC) - NOW).total_seconds() / 3600
    assert float(job["cost"]["amount"]) == pytest.approx(0.2 * hours, rel=1e-3)
    assert job["cost"]["rate_per_hour"] == "0.200000"
    assert client.get(f"/api/training/jobs/{ref.id}/costs").json() == {"data": []}


def test_a_job_that_has_not_started_has_no_cost(client, store):
    job = add_job(store)
    assert client.get(f"/api/training/jobs/{job.id}").json()["cost"] is None


def test_sums_of_a_period(client, store, settings):
    for name in ("one", "two"):
        completed(store, settings, name)
    completed(store, settings, owner="someone")
    found = client.get(PATH, params={"by": "day", "since": "2026-03-01", "until": "2026-03-01"}).json()
    assert [(each["key"], each["amount"], each["num_attempts"]) for each in found["data"]] == [
        ("2026-03-01", "0.400000", 2)
    ]
    assert found["totals"][0]["amount"] == "0.400000"
    assert client.get(PATH, params={"since": "2026-03-02"}).json() == {"by": "model", "data": [], "totals": []}
    assert client.get(PATH, params={"until": "2026-02-28"}).json()["data"] == []


def test_csv_is_safe_to_open(client, store, settings):
    job_id = completed(store, settings, '=HYPERLINK("x"), really')
    reply = client.get(PATH, params={"by": "job", "format": "csv"})
    assert reply.headers["content-type"] == "text/csv; charset=utf-8"
    assert reply.text.splitlines() == [
        "job,currency,amount,num_attempts,cpu_hours,gpu_hours,energy_kwh,name",
        f"""{job_id},EUR,0.200000,1,2.000000,0,0,"'=HYPERLINK(""x""), really\"""",
    ]


def test_costs_of_a_deleted_job_stay(client, store, settings):
    job_id = completed(store, settings)
    with store.begin() as tx:
        tx.jobs.set_mlflow(job_id, cursor=type(tx.jobs.get(job_id).mlflow_cursor)(99))
    assert client.delete(f"/api/training/jobs/{job_id}").status_code == 204
    assert client.get(PATH, params={"by": "job"}).json()["data"][0]["key"] == job_id


@pytest.mark.parametrize(
    "params",
    [
        {"by": "nothing"},
        {"since": "yesterday"},
        {"until": "2026-13-01"},
        {"format": "xml"},
        {"group": "model"},
    ],
)
def test_bad_requests_are_refused(client, params):
    assert client.get(PATH, params=params).status_code == 422


@pytest.mark.parametrize("day", ["0001-01-01", "9999-12-31"])
def test_the_first_and_the_last_day_of_the_calendar(client, day):
    assert client.get(PATH, params={"since": day, "until": day}).status_code == 200


def test_another_owners_job_is_unknown(client, store, settings):
    job_id = completed(store, settings, owner="someone")
    assert client.get(f"/api/training/jobs/{job_id}/costs").status_code == 404


def test_the_budget_of_a_month_and_what_was_spent_of_it(client, store, settings):
    ref = start(store, add_job(store).id)  # since last spring, and not counted yet
    completed(store, settings, owner="somebody")
    quota = client.put("/api/quota", json={"max_monthly_cost": 12.5}).json()
    assert (quota["max_monthly_cost"], quota["currency"]) == ("12.5", "EUR")
    hours = (datetime.now(UTC) - NOW).total_seconds() / 3600
    assert float(quota["monthly_cost"]) == pytest.approx(0.1 * 2 * hours, rel=0.001)
    with store.begin() as tx:
        tx.attempts.end(ref, reason=ReasonCode.OK, message="", now=later(3600))
        tx.attempts.count(ref, now=later(3600))
        tx.costs.add(record_of(settings, tx.jobs.get(ref.id), tx.attempts.get(ref)))
    assert float(client.get("/api/quota").json()["monthly_cost"]) == 0  # it ended in another month
    assert client.put("/api/quota", json={"max_monthly_cost": None}).json()["max_monthly_cost"] is None


@pytest.mark.parametrize("amount", [0, -1, "a lot", "NaN", "0.0000001", True, 1e12])
def test_what_is_no_amount_is_refused(client, amount):
    assert client.put("/api/quota", json={"max_monthly_cost": amount}).status_code == 422


def test_a_budget_without_prices_is_refused(client, services):
    object.__setattr__(services, "settings", services.settings.model_copy(update={"prices": {}}))
    reply = client.put("/api/quota", json={"max_monthly_cost": 5})
    assert (reply.status_code, reply.json()["error"]["code"]) == (422, "no_prices")
