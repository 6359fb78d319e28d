"""Pause, resume, cancel, priority and place, in every status."""

from dataclasses import dataclass
from typing import Any

import pytest

from ftlab.schemas import JobConfig
from ftlab.status import JobStatus, StopKind
from tests.unit.serve.jobs.statuses import NOW, S, bring
from tracking.store import StaleJobError
from tracking.store.jobs import JobRepository
from tracking.store.records import JobRef

JOBS = "/api/training/jobs"


@pytest.fixture
def job(client, config) -> str:
    return str(client.post(JOBS, json=config).json()["id"])


@dataclass(frozen=True)
class Outcome:
    """What a request must lead to: the status that holds afterwards, or the code it is refused with."""

    status: JobStatus | None = None
    refused: str | None = None


def to(status: JobStatus) -> Outcome:
    return Outcome(status=status)


def no(code: str) -> Outcome:
    return Outcome(refused=code)


ENDED = dict.fromkeys((S.COMPLETED, S.FAILED, S.CANCELLED), no("job_ended"))
HOLDS_DEVICES = (S.PENDING, S.INITIALIZING, S.RUNNING, S.PAUSING)

TABLE: dict[str, dict[JobStatus, Outcome]] = {
    "pause": ENDED
    | dict.fromkeys(HOLDS_DEVICES, to(S.PAUSING))
    | {S.QUEUED: to(S.PAUSED), S.PAUSED: no("job_paused"), S.CANCELLING: no("job_cancelling")},
    "resume": dict.fromkeys(S, no("job_not_paused")) | dict.fromkeys((S.PAUSED, S.FAILED, S.CANCELLED), to(S.QUEUED)),
    "cancel": ENDED
    | dict.fromkeys((*HOLDS_DEVICES, S.CANCELLING), to(S.CANCELLING))
    | {S.QUEUED: to(S.CANCELLED), S.PAUSED: to(S.CANCELLED)},
    "move": dict.fromkeys(S, no("job_not_queued")) | {S.QUEUED: to(S.QUEUED)},
    "priority": dict.fromkeys(S, no("job_not_waiting")) | {S.QUEUED: to(S.QUEUED), S.PAUSED: to(S.PAUSED)},
}


def order(client, job: str, what: str) -> Any:
    if what == "priority":
        return client.patch(f"{JOBS}/{job}", json={"priority": 80})
    return client.post(f"{JOBS}/{job}/{what}", json={"to": "front"} if what == "move" else None)


def test_the_table_is_complete():
    assert all(set(row) == set(S) for row in TABLE.values())


@pytest.mark.parametrize(
    ("what", "status"), [(what, status) for what in TABLE for status in S], ids=lambda value: str(value)
)
def test_every_order_in_every_status(client, store, hub, coordinator, job, what, status):
    bring(store, job, status)
    before, wakes, told = client.get(f"{JOBS}/{job}").json(), coordinator.num_wakes, len(hub.events)
    reply = order(client, job, what)
    outcome = TABLE[what][status]
    after = client.get(f"{JOBS}/{job}").json()
    if outcome.refused:
        assert (reply.status_code, reply.json()["error"]["code"]) == (409, outcome.refused), reply.text
        assert status in reply.json()["error"]["message"]
        assert reply.headers["x-should-retry"] == "false"
        assert after == before
        assert (coordinator.num_wakes, len(hub.events)) == (wakes, told)
        return
    assert reply.status_code == (200 if what == "priority" else 202), reply.text
    assert reply.json() == after
    assert after["status"] == outcome.status
    assert coordinator.num_wakes == wakes + 1
    # Everything new in the log has been told, in order and once.
    log = client.get(f"{JOBS}/{job}/events?after={before['last_seq']}").json()["data"]
    assert hub.events[told:] == log
    assert (after["paused_at"] is not None) is (after["status"] == "paused")


@pytest.mark.parametrize("kind", [StopKind.PREEMPT, StopKind.DRAIN, StopKind.TIME_LIMIT])
def test_a_pause_replaces_what_the_system_wants(client, store, job, kind):
    bring(store, job, S.PAUSING, kind)
    reply = client.post(f"{JOBS}/{job}/pause")
    assert (reply.status_code, reply.json()["status"]) == (202, "pausing")
    with store.read() as tx:
        assert tx.jobs.get(job).stop_kind is StopKind.PAUSE
    [notice] = client.get(f"{JOBS}/{job}/events?kind=notice").json()["data"]
    assert notice["data"]["code"] == "pause_requested"
    assert client.post(f"{JOBS}/{job}/pause").json()["last_seq"] == notice["seq"]


def test_a_pause_asks_the_attempt_to_stop_for_it(client, store, job):
    ref = bring(store, job, S.RUNNING)
    client.post(f"{JOBS}/{job}/pause")
    with store.begin() as tx:
        state = tx.attempts.heartbeat(ref, now=NOW)
    assert (state.status, state.stop_kind) == (S.PAUSING, StopKind.PAUSE)


def test_a_paused_job_comes_back_at_its_old_place(client, config, job):
    later = client.post(JOBS, json=config).json()["id"]
    client.post(f"{JOBS}/{job}/pause")
    assert client.get(f"{JOBS}/{later}").json()["queue_position"] == 1
    assert client.post(f"{JOBS}/{job}/resume").json()["queue_position"] == 1
    assert client.get(f"{JOBS}/{later}").json()["queue_position"] == 2


def test_a_job_that_has_never_run_does_not_promise_a_checkpoint(client, store, config, job):
    assert "paused before it started" in client.post(f"{JOBS}/{job}/pause").json()["message"]
    started = client.post(JOBS, json=config).json()["id"]
    bring(store, started, S.PAUSED)
    client.post(f"{JOBS}/{started}/resume")
    assert "checkpoint" in client.post(f"{JOBS}/{started}/pause").json()["message"]


def test_priority_and_front_decide_the_place(client, config, job):
    second, third = (client.post(JOBS, json=config).json()["id"] for _ in range(2))
    urgent = client.post(JOBS, json=config | {"priority": 90}).json()
    assert (urgent["priority"], urgent["queue_position"]) == (90, 1)
    assert order(client, third, "move").json()["queue_position"] == 2
    assert client.patch(f"{JOBS}/{second}", json={"priority": 100}).json()["queue_position"] == 1
    queue = client.get("/api/training/queue").json()["queued"]
    assert [(entry["job_id"], entry["position"], entry["priority"]) for entry in queue] == [
        (second, 1, 100),
        (urgent["id"], 2, 90),
        (third, 3, 50),
        (job, 4, 50),
    ]


def test_a_change_is_a_notice_that_names_both_priorities(client, job):
    order(client, job, "priority")
    order(client, job, "move")
    notices = client.get(f"{JOBS}/{job}/events?kind=notice").json()["data"]
    assert [notice["data"]["code"] for notice in notices] == ["priority_changed", "moved_to_front"]
    assert notices[0]["data"]["message"] == "The priority was changed from 50 to 80."


def test_the_same_priority_again_changes_nothing(client, job):
    before = client.get(f"{JOBS}/{job}").json()
    assert client.patch(f"{JOBS}/{job}", json={"priority": 50}).json() == before


@pytest.mark.parametrize(("change", "status"), [("pause", "paused"), ("cancel", "cancelled")])
def test_a_change_that_meets_another_is_tried_again(client, job, monkeypatch, change, status):
    move, failures = JobRepository.move, [1, 2]

    def stale_at_first(self, *args, **kwargs):
        if failures:
            failures.pop()
            raise StaleJobError("moved on")
        return move(self, *args, **kwargs)

    monkeypatch.setattr(JobRepository, "move", stale_at_first)
    assert client.post(f"{JOBS}/{job}/{change}").json()["status"] == status


def test_a_change_that_never_gets_through_is_a_conflict_worth_another_try(client, job, monkeypatch):
    def stale(*_, **__):
        raise StaleJobError("moved on")

    monkeypatch.setattr(JobRepository, "move", stale)
    reply = client.post(f"{JOBS}/{job}/pause")
    assert (reply.status_code, reply.json()["error"]["code"]) == (409, "stale_job")
    assert "x-should-retry" not in reply.headers


@pytest.mark.parametrize("what", TABLE)
def test_another_owners_job_is_not_found(client, store, config, what):
    with store.begin() as tx:
        theirs = JobConfig(model="org/name", dataset=config["dataset"])
        tx.jobs.add("job-foreign00000", owner="someone", name="theirs", config=theirs, now=NOW)
    reply = order(client, "job-foreign00000", what)
    assert (reply.status_code, reply.json()["error"]["code"]) == (404, "job_not_found")
    with store.read() as tx:
        found = tx.jobs.get("job-foreign00000")
    assert (found.status, found.priority, found.queue_shift) == (S.QUEUED, 50, 0)


def test_the_paths_of_earlier_clients(client, store, hub, coordinator, job):
    reply = client.post(f"/api/training/pause/{job}")
    assert (reply.status_code, reply.json()["status"], reply.json()["job_id"]) == (202, "paused", job)
    assert client.post(f"/api/training/pause/{job}").status_code == 409
    wakes, told = coordinator.num_wakes, len(hub.events)
    reply = client.post(f"/api/training/resume/{job}")
    assert (reply.status_code, reply.json()["status"]) == (202, "queued")
    assert (coordinator.num_wakes, len(hub.events)) == (wakes + 1, told + 1)
    with store.read() as tx:
        assert tx.jobs.get(job).ref == JobRef(job, 0)
