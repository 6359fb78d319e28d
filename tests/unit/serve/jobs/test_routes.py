"""Submit, list, look at and cancel jobs over HTTP."""

import json
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest

from cluster.interfaces import new_job_of
from cluster.policy import Fleet, Node
from ftlab.schemas import JobConfig, LogPayload, NoticePayload
from ftlab.status import JobStatus, Phase, ReasonCode, StopKind
from tests.unit.serve.jobs.statuses import NOW, bring
from tracking.store.jobs import JobRepository
from tracking.store.records import CheckpointRecord, JobRef, MetricRecord, ModelRecord, NewEvent

JOBS = "/api/training/jobs"


def submit(client, config, **headers):
    return client.post(JOBS, json=config, headers=headers)


def test_a_submitted_job_is_durable_and_described(client, config, store, hub, coordinator):
    reply = submit(client, config | {"name": "first"})
    assert reply.status_code == 201
    job = reply.json()
    assert reply.headers["location"] == f"{JOBS}/{job['id']}"
    assert (job["name"], job["status"], job["queue_position"]) == ("first", "queued", 1)
    assert "scheduler" in job["message"]
    assert job["config"]["training"]["learning_rate"] is None
    filled_in = job["config"]["training"] | {"learning_rate": 2e-4}
    assert job["resolved_config"] == job["config"] | {"training": filled_in}
    with store.read() as tx:
        assert tx.jobs.get(job["id"], owner="local").name == "first"
    assert hub.published == [new_job_of("local")]
    assert coordinator.num_wakes == 1
    assert client.get(f"{JOBS}/{job['id']}").json() == job


@pytest.mark.parametrize(
    ("resources", "message"),
    [
        ({"gpus_per_worker": 1}, "The job needs 1 GPU and 1 CPU core; this machine gives 4 CPU cores for training."),
        ({"num_workers": 5}, "The job needs 5 CPU cores; this machine gives 4 CPU cores for training."),
        ({"cpus_per_worker": 5}, "The job needs 5 CPU cores"),
    ],
)
def test_a_job_that_never_fits_is_refused(client, config, coordinator, store, resources, message):
    coordinator.fleet = Fleet.of_one(cpus=4)
    reply = submit(client, config | {"resources": resources})
    error = reply.json()["error"]
    assert (reply.status_code, error["code"], error["param"]) == (422, "config_invalid", "resources")
    assert error["message"].startswith(message)
    assert client.get(JOBS).json()["data"] == []


def test_a_job_that_fits_or_whose_machines_are_unknown_is_accepted(client, config, coordinator):
    large = config | {"resources": {"num_workers": 5}}
    assert submit(client, large).status_code == 201  # the coordinator does not answer: it decides later
    coordinator.fleet = Fleet(())
    assert submit(client, large).status_code == 201  # no machine has joined yet
    coordinator.fleet = Fleet.of_one(cpus=4)
    assert submit(client, config | {"resources": {"num_workers": 4, "cpus_per_worker": 1}}).status_code == 201
    coordinator.fleet = Fleet((Node("a", 4, 0), Node("b", 4, 0)))
    assert submit(client, large).status_code == 201


def test_a_replay_does_not_ask_for_the_machines_again(client, config, coordinator):
    large = config | {"resources": {"num_workers": 5}}
    first = submit(client, large, **{"idempotency-key": "k"})
    coordinator.fleet = Fleet.of_one(cpus=4)
    again = submit(client, large, **{"idempotency-key": "k"})
    assert (again.status_code, again.json()["id"]) == (201, first.json()["id"])


def test_a_queued_job_says_what_it_waits_for(client, config, store):
    first, second, third = (submit(client, config).json()["id"] for _ in range(3))
    with store.begin() as tx:
        tx.leases.acquire("coordinator", "test", ttl_s=3600, now=datetime.now(UTC))
    messages = [client.get(f"{JOBS}/{job}").json()["message"] for job in (first, second, third)]
    assert messages == [
        "The job is next in the queue. Waiting for free devices.",
        "The job is number 2 in the queue. Waiting for 1 job ahead of it.",
        "The job is number 3 in the queue. Waiting for 2 jobs ahead of it.",
    ]
    queue = client.get("/api/training/queue").json()
    assert [entry["job_id"] for entry in queue["queued"]] == [first, second, third]
    assert queue["waiting_for"] == "The first job in the queue is about to start."


def test_the_queue_comes_in_pages_of_the_callers_own_jobs(client, config, store):
    mine = [submit(client, config).json()["id"] for _ in range(3)]
    with store.begin() as tx:
        record = tx.jobs.get(mine[0])
        hers = record.config.model_copy(update={"priority": 90})
        tx.jobs.add("job-hers", owner="her", name="", config=hers, now=NOW)
    first = client.get("/api/training/queue", params={"limit": 2}).json()
    assert [(entry["position"], entry["job_id"]) for entry in first["queued"]] == [(2, mine[0]), (3, mine[1])]
    assert (first["num_queued"], first["has_more"], first["next_cursor"]) == (3, True, mine[1])
    last = client.get("/api/training/queue", params={"limit": 2, "after": first["next_cursor"]}).json()
    assert [(entry["position"], entry["job_id"]) for entry in last["queued"]] == [(4, mine[2])]
    assert (last["num_queued"], last["has_more"], last["next_cursor"]) == (3, False, None)
    forged = client.get("/api/training/queue", params={"after": "job-hers"})
    assert (forged.status_code, forged.json()["error"]["code"]) == (400, "invalid_cursor")
    assert client.get("/api/training/queue", params={"limit": 101}).status_code == 422


def test_what_the_scheduler_found_missing_is_what_a_job_waits_for(client, config, store):
    first, second = (submit(client, config).json()["id"] for _ in range(2))
    with store.begin() as tx:
        tx.leases.acquire("coordinator", "test", ttl_s=3600, now=datetime.now(UTC))
        tx.jobs.set_waiting({first: "Waiting for 2 GPUs; 1 is free.", second: "Waiting for the quota."})
    jobs = [client.get(f"{JOBS}/{job}").json() for job in (first, second)]
    assert [job["waiting_for"] for job in jobs] == ["Waiting for 2 GPUs; 1 is free.", "Waiting for the quota."]
    assert jobs[0]["message"] == "The job is next in the queue. Waiting for 2 GPUs; 1 is free."
    assert jobs[1]["message"] == "The job is number 2 in the queue. Waiting for the quota."
    assert client.get(JOBS).json()["data"] == jobs[::-1]
    queue = client.get("/api/training/queue").json()
    assert [entry["waiting_for"] for entry in queue["queued"]] == [job["waiting_for"] for job in jobs]
    assert queue["waiting_for"] == "First in the queue: Waiting for 2 GPUs; 1 is free."
    with store.begin() as tx:
        tx.leases.acquire("coordinator", "other", ttl_s=-1, now=datetime.now(UTC))
    assert "scheduler" in client.get(f"{JOBS}/{first}").json()["waiting_for"]


def test_only_a_queued_job_waits_for_something(client, config, store):
    job = submit(client, config).json()["id"]
    bring(store, job, JobStatus.RUNNING)
    assert client.get(f"{JOBS}/{job}").json()["waiting_for"] is None


def test_a_retried_job_says_when_it_is_tried_again(client, config, store):
    job = submit(client, config).json()["id"]
    ref = bring(store, job, JobStatus.RUNNING)
    later = datetime.now(UTC) + timedelta(minutes=5)
    with store.begin() as tx:
        tx.attempts.end(ref, reason=ReasonCode.WORKER_CRASHED, message="x", now=NOW)
        tx.jobs.move(ref, JobStatus.QUEUED, now=NOW, not_before=later)
    assert "when it is retried" in client.get(f"{JOBS}/{job}").json()["message"]
    assert "is retried after" in client.get("/api/training/queue").json()["waiting_for"]


def test_the_queue_waits_for_running_jobs(client, config, store):
    running, waiting = (submit(client, config).json()["id"] for _ in range(2))
    bring(store, running, JobStatus.RUNNING)
    queue = client.get("/api/training/queue").json()
    assert [entry["job_id"] for entry in queue["running"]] == [running]
    assert [entry["job_id"] for entry in queue["queued"]] == [waiting]
    assert queue["waiting_for"] == "The first job in the queue waits for devices that 1 job holds."


def test_the_queue_shows_how_far_running_jobs_are(client, config, store):
    job = submit(client, config | {"name": "mine", "priority": 70}).json()["id"]
    ref = bring(store, job, JobStatus.RUNNING)
    with store.begin() as tx:
        tx.jobs.record_progress(ref, step=3, total_steps=10, epoch=0.3, loss=2.5, eval_loss=None, eta_s=7.0, now=NOW)
        tx.jobs.record_progress(ref, step=3, total_steps=None, epoch=None, eta_s=7.0, phase=Phase.EVALUATING, now=NOW)
    [entry] = client.get("/api/training/queue").json()["running"]
    assert (entry["name"], entry["status"], entry["priority"]) == ("mine", "running", 70)
    assert (entry["step"], entry["total_steps"], entry["loss"], entry["eta_s"]) == (3, 10, 2.5, 7.0)
    assert entry["phase"] == client.get(f"{JOBS}/{job}").json()["phase"] == "evaluating"
    with store.begin() as tx:
        tx.jobs.move(ref, JobStatus.PAUSING, now=NOW, stop_kind=StopKind.PAUSE)
    [entry] = client.get("/api/training/queue").json()["running"]
    assert (entry["status"], entry["eta_s"]) == ("pausing", None)


def test_the_queue_shows_the_devices_that_running_jobs_hold(client, config, store):
    job = submit(client, config).json()["id"]
    ref = bring(store, job, JobStatus.RUNNING)
    [entry] = client.get("/api/training/queue").json()["running"]
    assert (entry["cpus"], entry["gpus"]) == (1, 0)
    with store.begin() as tx:
        tx.attempts.end(ref, reason=ReasonCode.PREEMPTED, message=None, now=NOW)
    [entry] = client.get("/api/training/queue").json()["running"]
    assert (entry["cpus"], entry["gpus"]) == (None, None)


def test_a_queued_job_moves_behind_another_one(client, config):
    names = ("a", "b", "c")
    a, b, c = (submit(client, config | {"name": name}).json()["id"] for name in names)
    moved = client.post(f"{JOBS}/{a}/move", json={"to": "behind", "job": "b"})
    assert (moved.status_code, moved.json()["queue_position"]) == (202, 2)
    queue = client.get("/api/training/queue").json()["queued"]
    assert [entry["job_id"] for entry in queue] == [b, a, c]
    [notice] = client.get(f"{JOBS}/{a}/events?kind=notice").json()["data"]
    assert notice["data"] == {"code": "moved_behind", "message": f"The job was moved behind b ({b})."}
    assert client.post(f"{JOBS}/{a}/move", json={"to": "behind", "job": a}).json()["queue_position"] == 2

    client.patch(f"{JOBS}/{c}", json={"priority": 60})
    refused = client.post(f"{JOBS}/{a}/move", json={"to": "behind", "job": c})
    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "other_priority")
    client.post(f"{JOBS}/{c}/cancel")
    refused = client.post(f"{JOBS}/{a}/move", json={"to": "behind", "job": c})
    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "job_not_queued")


def test_jobs_are_found_by_a_part_of_their_name_or_the_beginning_of_their_id(client, config):
    found = {name: submit(client, config | {"name": name}).json()["id"] for name in ("Support v1", "support_v2", "50%")}
    client.post(f"{JOBS}/{found['50%']}/pause")

    def search(text, **more):
        return [job["name"] for job in client.get(JOBS, params={"search": text, **more}).json()["data"]]

    assert search("SUPPORT") == ["support_v2", "Support v1"]
    assert search("t_v") == ["support_v2"]
    assert search("%") == ["50%"]
    assert search("support", limit=1) == ["support_v2"]
    assert search("0", status="paused") == ["50%"]
    assert search("v1", status="paused") == []
    assert search(found["Support v1"][:9]) == ["Support v1"]
    assert client.get(JOBS, params={"search": ""}).status_code == 422


def test_series_of_several_jobs_at_once(client, config, store):
    one, two = (submit(client, config).json()["id"] for _ in range(2))
    for job in (one, two):
        bring(store, job, JobStatus.RUNNING)
    with store.begin() as tx:
        points = [MetricRecord(one, "loss", step, 4 - step / 100, NOW, 1) for step in range(1, 201)]
        tx.metrics.add([*points, MetricRecord(one, "grad_norm", 1, 1.0, NOW, 1)])
    query = {"job": [two, one, "job-of-nobody"], "max_points": 5}
    [series] = client.get("/api/training/metrics", params=query).json()["data"]
    assert (series["job_id"], series["name"]) == (one, "loss")
    assert (series["steps"][0], series["steps"][-1], len(series["values"])) == (1, 200, 5)
    both = client.get("/api/training/metrics", params=query | {"name": ["loss", "grad_norm"]}).json()["data"]
    assert [found["name"] for found in both] == ["grad_norm", "loss"]
    assert client.get("/api/training/metrics").status_code == 422


@pytest.mark.parametrize("change", [{"to": "front"}, {"priority": 90}])
def test_a_job_that_was_moved_does_not_wait_for_those_behind_it(client, config, store, change):
    first, second = (submit(client, config).json()["id"] for _ in range(2))
    with store.begin() as tx:
        tx.leases.acquire("coordinator", "test", ttl_s=3600, now=datetime.now(UTC))
        tx.jobs.set_waiting({first: "Waiting for 1 core; none is free.", second: "Waiting for 1 job ahead of it."})
    url = f"{JOBS}/{second}"
    reply = client.post(f"{url}/move", json=change) if "to" in change else client.patch(url, json=change)
    assert reply.json()["message"] == "The job is next in the queue. Waiting for free devices."


def test_the_run_time_is_the_sum_of_the_attempts(client, config, store):
    job = submit(client, config).json()["id"]
    assert client.get(f"{JOBS}/{job}").json()["run_time_s"] is None
    ref = bring(store, job, JobStatus.RUNNING)
    with store.begin() as tx:
        tx.attempts.end(ref, reason=ReasonCode.PREEMPTED, message=None, now=NOW + timedelta(seconds=40))
        tx.jobs.move(ref, JobStatus.QUEUED, now=NOW + timedelta(seconds=40))
    for path in (JOBS, f"{JOBS}/{job}"):
        found = client.get(path).json()
        assert (found["data"][0] if "data" in found else found)["run_time_s"] == 40
    ref = bring(store, job, JobStatus.RUNNING)
    with store.begin() as tx:
        tx.attempts.end(ref, reason=ReasonCode.OK, message=None, now=NOW + timedelta(seconds=2.5))
        tx.jobs.move(ref, JobStatus.COMPLETED, now=NOW + timedelta(seconds=2.5))
    assert client.get(f"{JOBS}/{job}").json()["run_time_s"] == 42.5


def test_a_job_without_a_name_is_called_after_model_and_dataset(client, config):
    assert submit(client, config).json()["name"] == "tiny-model chat.jsonl"


def test_the_same_idempotency_key_never_makes_a_second_job(client, config, store, coordinator):
    first = submit(client, config, **{"idempotency-key": "key 1"})
    again = client.post(
        JOBS,
        content=json.dumps(dict(reversed(config.items())), indent=2),
        headers={"idempotency-key": "key 1"},
    )
    assert (first.status_code, again.status_code) == (201, 201)
    assert again.json()["id"] == first.json()["id"]
    assert "idempotent-replay" not in first.headers
    assert again.headers["idempotent-replay"] == "true"
    other = submit(client, config | {"name": "other"}, **{"idempotency-key": "key 1"})
    assert (other.status_code, other.json()["error"]["code"]) == (422, "idempotency_key_reused")
    with store.read() as tx:
        assert len(tx.jobs.list(owner="local")) == 1


def test_a_race_of_submits_with_one_key_makes_one_job(client, config, store):
    with ThreadPoolExecutor(8) as pool:
        replies = list(pool.map(lambda _: submit(client, config, **{"idempotency-key": "race"}), range(16)))
    assert {reply.status_code for reply in replies} == {201}
    assert len({reply.json()["id"] for reply in replies}) == 1
    assert sum("idempotent-replay" not in reply.headers for reply in replies) == 1
    with store.read() as tx:
        assert len(tx.jobs.list(owner="local")) == 1


def test_a_submit_that_loses_the_race_in_the_database_gets_the_winners_job(client, config, monkeypatch):
    """On PostgreSQL both transactions can look before either commits; the unique key then decides."""
    first = submit(client, config, **{"idempotency-key": "race"}).json()
    add, num_tries = JobRepository.add, []

    def counted(self, *args, **kwargs):
        num_tries.append(1)
        return add(self, *args, **kwargs)

    monkeypatch.setattr(JobRepository, "add", counted)
    again = submit(client, config, **{"idempotency-key": "race"})
    assert (again.status_code, again.json()["id"]) == (201, first["id"])
    assert again.headers["idempotent-replay"] == "true"
    assert len(num_tries) == 1


def test_a_replay_gets_its_job_whatever_stands_against_a_new_one(client, config, settings, coordinator):
    first = submit(client, config, **{"idempotency-key": "key"}).json()
    client.post(f"{JOBS}/{first['id']}/cancel")
    client.delete(f"/api/datasets/{config['dataset']}")
    (settings.home / "models" / "org--tiny-model").mkdir(parents=True)
    client.put("/api/quota", json={"max_queued_jobs": 0})
    wakes = coordinator.num_wakes
    again = submit(client, config, **{"idempotency-key": "key"})
    assert (again.status_code, again.json()["id"]) == (201, first["id"])
    assert coordinator.num_wakes == wakes
    other = submit(client, config | {"name": "other"}, **{"idempotency-key": "key"})
    assert (other.status_code, other.json()["error"]["code"]) == (422, "idempotency_key_reused")
    assert submit(client, config, **{"idempotency-key": "new"}).status_code == 404


def test_lists_page_newest_first_without_gap_or_double(client, config):
    ids = [submit(client, config).json()["id"] for _ in range(5)]
    seen, after = [], None
    while True:
        params = {"limit": 2} | ({"after": after} if after else {})
        page = client.get(JOBS, params=params).json()
        seen += [job["id"] for job in page["data"]]
        assert page["has_more"] == (page["next_cursor"] is not None)
        if not page["has_more"]:
            break
        after = page["next_cursor"]
    assert seen == ids[::-1]
    positions = [job["queue_position"] for job in client.get(JOBS).json()["data"]]
    assert positions == [5, 4, 3, 2, 1]


def test_lists_filter_by_status(client, config, store):
    queued, running = (submit(client, config).json()["id"] for _ in range(2))
    bring(store, running, JobStatus.RUNNING)
    for query, expected in (("queued", [queued]), ("running", [running]), ("failed", [])):
        data = client.get(JOBS, params={"status": query}).json()["data"]
        assert [job["id"] for job in data] == expected
    both = client.get(JOBS, params={"status": ["queued", "running"]}).json()["data"]
    assert len(both) == 2


def test_jobs_are_found_by_id_name_and_prefix(client, config):
    job = submit(client, config | {"name": "my job"}).json()
    for text in (job["id"], "my job", job["id"][:-2], job["id"].removeprefix("job-")[:8]):
        assert client.get(f"{JOBS}/{text}").json()["id"] == job["id"]
    submit(client, config | {"name": "my job"})
    ambiguous = client.get(f"{JOBS}/my job")
    assert (ambiguous.status_code, ambiguous.json()["error"]["code"]) == (409, "ambiguous")


def test_a_queued_job_is_cancelled_at_once(client, config, hub, coordinator):
    job = submit(client, config).json()["id"]
    reply = client.post(f"{JOBS}/{job}/cancel")
    assert reply.status_code == 202
    assert (reply.json()["status"], reply.json()["reason"]) == ("cancelled", "user_cancelled")
    assert [event["data"]["status"] for event in hub.events] == ["cancelling", "cancelled"]
    assert [event["seq"] for event in hub.events] == [2, 3]


def test_a_paused_job_is_cancelled_at_once(client, config, store):
    job = submit(client, config).json()["id"]
    with store.begin() as tx:
        tx.jobs.move(JobRef(job, 0), JobStatus.PAUSED, now=NOW)
    assert client.post(f"{JOBS}/{job}/cancel").json()["status"] == "cancelled"


def test_events_by_kind(client, config, store):
    job = submit(client, config).json()["id"]
    ref = bring(store, job, JobStatus.RUNNING)
    with store.begin() as tx:
        lines = [NewEvent(LogPayload(level="info", text=f"line {n}"), NOW) for n in range(3)]
        tx.events.append(ref, [*lines, NewEvent(NoticePayload(code="resumed", message="x"), NOW), *lines])
    found = client.get(f"{JOBS}/{job}/events?kind=notice&kind=log&after=5").json()
    assert [event["seq"] for event in found["data"]] == [6, 7, 8, 9, 10, 11]
    assert found["last_seq"] == 11
    found = client.get(f"{JOBS}/{job}/events?kind=notice").json()
    assert [(event["seq"], event["kind"]) for event in found["data"]] == [(8, "notice")]


def test_a_running_job_is_left_to_the_coordinator(client, config, store, coordinator):
    job = submit(client, config).json()["id"]
    bring(store, job, JobStatus.RUNNING)
    wakes = coordinator.num_wakes
    for _ in range(2):
        reply = client.post(f"{JOBS}/{job}/cancel")
        assert (reply.status_code, reply.json()["status"]) == (202, "cancelling")
    assert coordinator.num_wakes == wakes + 2
    assert client.get(f"{JOBS}/{job}/events").json()["last_seq"] == 5


def test_an_ended_job_cannot_be_cancelled(client, config):
    job = submit(client, config).json()["id"]
    client.post(f"{JOBS}/{job}/cancel")
    reply = client.post(f"{JOBS}/{job}/cancel")
    assert (reply.status_code, reply.json()["error"]["code"]) == (409, "job_ended")
    assert "cancelled" in reply.json()["error"]["message"]
    assert reply.headers["x-should-retry"] == "false"


def test_what_a_job_did_can_be_read(client, config, store):
    job = submit(client, config).json()["id"]
    ref = bring(store, job, JobStatus.RUNNING)
    with store.begin() as tx:
        lines = [NewEvent(LogPayload(level="info", text=f"line {n}"), NOW) for n in range(5)]
        tx.events.append(ref, lines)
        tx.metrics.add(
            [MetricRecord(job, name, step, step / 2, NOW, 1) for name in ("loss", "lr") for step in range(4)]
        )
        tx.checkpoints.add(ref, CheckpointRecord(job, 2, 1, "step-00000002", 10, "00", NOW, {"loss": 1.0}))
    base = f"{JOBS}/{job}"
    assert [line["text"] for line in client.get(f"{base}/logs?tail=2").json()["data"]] == ["line 3", "line 4"]
    points = client.get(f"{base}/metrics?names=loss").json()["data"]
    assert [(point["name"], point["step"]) for point in points] == [("loss", step) for step in range(4)]
    assert len(client.get(f"{base}/metrics?max_points=2").json()["data"]) == 4
    assert len(client.get(f"{base}/metrics?names=loss,lr").json()["data"]) == 8
    events = client.get(f"{base}/events?after=3&limit=2").json()
    assert ([event["seq"] for event in events["data"]], events["last_seq"]) == ([4, 5], 9)
    assert [item["name"] for item in client.get(f"{base}/checkpoints").json()["data"]] == ["step-00000002"]
    attempt = client.get(f"{base}/attempts").json()["data"][0]
    assert (attempt["number"], attempt["ended_at"]) == (1, None)
    assert attempt["driver"]
    assert "pids" not in attempt


@pytest.mark.parametrize("below", ["", "/metrics", "/events", "/logs", "/checkpoints", "/attempts"])
def test_an_unknown_job_is_not_found(client, below):
    reply = client.get(f"{JOBS}/job-000000000000{below}")
    assert (reply.status_code, reply.json()["error"]["code"]) == (404, "job_not_found")


def test_another_owners_job_is_not_found(client, config, store):
    with store.begin() as tx:
        record = tx.jobs.add(
            "job-foreign00000",
            owner="someone",
            name="theirs",
            config=JobConfig(model="org/name", dataset=config["dataset"]),
            idempotency_key="key",
            now=NOW,
        )
    for path in (f"{JOBS}/{record.id}", f"{JOBS}/theirs", f"/api/jobs/{record.id}"):
        assert client.get(path).status_code == 404
    assert client.post(f"{JOBS}/{record.id}/cancel").status_code == 404
    assert client.get(JOBS).json()["data"] == []
    assert client.get("/api/training/queue").json()["queued"] == []
    assert submit(client, config, **{"idempotency-key": "key"}).json()["id"] != record.id
    reply = submit(client, config | {"model": f"job:{record.id}"})
    assert (reply.status_code, reply.json()["error"]["code"]) == (404, "model_not_found")


def test_former_jobs_and_models_can_be_trained_on(client, config, store, settings):
    job = submit(client, config | {"name": "base"}).json()["id"]
    assert submit(client, config | {"model": f"job:{job}"}).json()["config"]["after"] == [job], "it waits for the model"
    ref = bring(store, job, JobStatus.RUNNING)
    folder = settings.home / "jobs" / job
    delivered = folder / "model"
    with store.begin() as tx:
        tx.checkpoints.add(ref, CheckpointRecord(job, 2, 1, "step-00000002", 10, "00", NOW))
        tx.models.add(ModelRecord("mdl-1", "local", job, "tuned", "adapter", "org/x", None, 2, delivered, None, NOW))
    # The records are there and the files are not.
    for model in (f"job:{job}", f"job:{job}/step-2", "model:mdl-1"):
        assert submit(client, config | {"model": model}).json()["error"]["code"] == "model_not_found"
    for place in (delivered, folder / "checkpoints" / "step-00000002"):
        place.mkdir(parents=True)
        (place / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": "org/x"}))
    assert submit(client, config | {"model": f"job:{job}"}).json()["name"] == "base chat.jsonl"
    assert submit(client, config | {"model": f"job:{job}/step-2"}).status_code == 201
    assert submit(client, config | {"model": f"job:{job}/step-3"}).json()["error"]["param"] == "model"
    assert submit(client, config | {"model": "model:mdl-1"}).json()["name"] == "tuned chat.jsonl"
    assert submit(client, config | {"model": "model:mdl-2"}).status_code == 404
    models = client.get("/api/models").json()["data"]
    assert [(model["id"], model["kind"]) for model in models] == [("mdl-1", "adapter")]
    assert "path" not in models[0]
    assert client.get("/api/models/mdl-1").json() == models[0]
    assert client.get("/api/models/mdl-2").json()["error"]["code"] == "model_not_found"
