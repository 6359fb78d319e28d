"""The client against a real server: what it sends, what it reads, what it survives."""

import json

import httpx2
import pytest

from ftlab import errors
from ftlab.client import Client, RetryPolicy
from ftlab.client.wire import MAX_PAGE
from ftlab.schemas import EventKind, JobConfig
from ftlab.status import JobStatus, ReasonCode
from tests.unit.ftlab.fake_service import dropped_connection, status_fault

CONFIG = {"model": "org/name", "dataset": "ds-1", "name": "my job"}
JOBS = "/api/training/jobs"


def test_create_sends_the_config_with_a_key(fake, client):
    job = client.jobs.create(CONFIG)
    assert (job.status, job.name, job.queue_position) == (JobStatus.QUEUED, "my job", 1)
    assert job.config["training"]["save_steps"] == 50
    headers = fake.requests[-1][2]
    assert headers["idempotency-key"].startswith("ftlab-")
    assert headers["authorization"] == "Bearer ftl_secret"


def test_create_takes_a_config_object_and_a_key(fake, client):
    first = client.jobs.create(JobConfig.model_validate(CONFIG), "key-1")
    assert client.jobs.create(CONFIG, idempotency_key="key-1").id == first.id
    assert len(fake.jobs) == 1


def test_an_estimate_stores_nothing(fake, client):
    found = client.jobs.estimate(CONFIG)
    assert (found.model, found.steps, found.devices[0].fits) == ("org/name", 744, "does_not_fit")
    assert found.alternatives[1].changes == {"training.gradient_checkpointing": True}
    assert fake.jobs == {}
    with pytest.raises(errors.InvalidRequestError):
        client.jobs.estimate({"model": "org/name"})


@pytest.mark.parametrize(
    "fault",
    [
        status_fault(503, {"retry-after": "0"}),
        status_fault(502),
        status_fault(504),
        status_fault(408),
        status_fault(429),
        status_fault(404, text="Path '/api' not found."),
        status_fault(500, text="Internal Server Error"),
        dropped_connection,
    ],
)
def test_a_submit_survives_what_passes_and_makes_one_job(fake, client, fault):
    def lost_reply(request):
        # The service did its work, and the reply never came.
        fake.add_job()
        fake.keys[request.headers["idempotency-key"]] = "job-001"
        return fault(request)

    fake.faults = [lost_reply, fault]
    assert client.jobs.create(CONFIG).id == "job-001"
    assert len(fake.jobs) == 1
    keys = {headers["idempotency-key"] for _, _, headers in fake.requests}
    assert len(fake.requests) == 3
    assert len(keys) == 1


def test_a_wrong_config_is_refused_before_anything_is_sent(fake, client):
    with pytest.raises(errors.InvalidRequestError, match="Did you mean 'dataset'"):
        client.jobs.create({"model": "org/name", "datset": "ds-1"})
    assert fake.requests == []


@pytest.mark.parametrize("key", ["", "ü", "a\nb"])
def test_a_key_that_no_header_carries_is_refused(client, key):
    with pytest.raises(errors.InvalidRequestError, match="idempotency key"):
        client.jobs.create(CONFIG, key)


def test_errors_are_the_classes_that_the_service_raised(fake, client):
    with pytest.raises(errors.NotFoundError) as caught:
        client.jobs.get("job-999")
    assert (caught.value.code, caught.value.param, caught.value.request_id) == ("job_not_found", "job_id", "req-1")
    job = fake.add_job(end=JobStatus.COMPLETED)
    with pytest.raises(errors.ConflictError, match="has ended with status completed"):
        client.jobs.cancel(job.id)


@pytest.mark.parametrize("job", ["", ".", "..", "a/b", "../queue"])
def test_an_id_cannot_climb_to_another_path(fake, client, job):
    with pytest.raises(errors.NotFoundError):
        client.jobs.get(job)
    assert fake.requests == []


def test_odd_names_travel(fake, client):
    fake.add_job(name="50% ?#& ü")
    assert client.jobs.get("50% ?#& ü").id == "job-001"


def test_lists_fetch_page_after_page(fake, client):
    for _ in range(MAX_PAGE + 5):
        fake.add_job()
    assert [job.id for job in client.jobs.list()] == [f"job-{n:03}" for n in range(MAX_PAGE + 5, 0, -1)]
    assert fake.num_requests("GET", JOBS) == 2


def test_lists_fetch_no_page_that_nobody_reads(fake, client):
    for _ in range(MAX_PAGE + 5):
        fake.add_job()
    jobs = client.jobs.list()
    assert fake.requests == []
    next(jobs)
    assert fake.num_requests("GET", JOBS) == 1


def test_limit_is_the_most_jobs_to_yield(fake, client):
    for _ in range(5):
        fake.add_job()
    assert len(list(client.jobs.list(limit=3))) == 3
    assert len(list(client.jobs.list(limit=30))) == 5


def test_list_by_status(fake, client):
    fake.add_job()
    fake.add_job(end=JobStatus.FAILED)
    fake.add_job(end=JobStatus.CANCELLED)
    assert [job.id for job in client.jobs.list(JobStatus.FAILED)] == ["job-002"]
    assert len(list(client.jobs.list(["failed", "cancelled"]))) == 2


def test_history_of_a_job(fake, client):
    job = fake.add_job(num_steps=3)
    assert [event.seq for event in client.jobs.events(job.id, after=2)] == list(range(3, 9))
    assert [point.value for point in client.jobs.metrics(job.id, ["loss"])] == [2.9, 2.8, 2.7]
    assert [line.text for line in client.jobs.logs(job.id, tail=2)] == ["Step 3/10: loss 2.7", "line 3"]
    assert client.jobs.checkpoints(job.id)[0].name == "step-00000005"
    assert client.jobs.attempts(job.id)[0].number == 1


def test_events_fetch_page_after_page(fake, client):
    job = fake.add_job(num_steps=600)
    assert [event.seq for event in client.jobs.events(job.id)] == list(range(1, len(job.events) + 1))


def test_queue_and_models(fake, client):
    fake.add_job()
    assert client.queue().queued[0].job_id == "job-001"
    assert [model.id for model in client.models.list()] == ["mdl-1"]
    assert client.models.get("mdl-1").kind == "adapter"


def test_cancel(fake, client):
    assert client.jobs.cancel(fake.add_job().id).status is JobStatus.CANCELLED


def test_a_repeated_cancel_that_finds_its_work_done_is_a_success(fake, client):
    job = fake.add_job()

    def lost_reply(request):
        job.move(JobStatus.CANCELLED)
        return dropped_connection(request)

    fake.faults = [lost_reply]
    assert client.jobs.cancel(job.id).status is JobStatus.CANCELLED


def test_pause_and_resume(fake, client):
    job = fake.add_job(num_steps=2)
    assert client.jobs.pause(job.id).status is JobStatus.PAUSING
    job.move(JobStatus.PAUSED)
    with pytest.raises(errors.ConflictError):
        client.jobs.pause(job.id)
    with pytest.raises(errors.NotFoundError):
        client.jobs.resume(job.id, checkpoint="step-00000009")
    assert client.jobs.resume(job.id, "step-00000005").status is JobStatus.QUEUED
    assert client.jobs.pause(job.id).status is JobStatus.PAUSED
    assert client.jobs.resume(job.id).status is JobStatus.QUEUED


def test_resume_with_other_settings(fake, client):
    job = fake.add_job(2, JobStatus.FAILED)
    resumed = client.jobs.resume(job.id, config_adjustments={"training.max_grad_norm": 0.5}, checkpoint="best")
    assert job.resumed == {"checkpoint": "best", "config_adjustments": {"training.max_grad_norm": 0.5}}
    assert resumed.adjustments[0].sentence == "training.max_grad_norm none -> 0.5"
    job.move(JobStatus.FAILED)
    client.jobs.resume(job.id, original=True)
    assert job.resumed == {"original": True}


def test_append(fake, client):
    job = fake.add_job()
    assert client.jobs.append(job.id, "ds-2").datasets == ["ds-1", "ds-2"]
    longer = client.jobs.append(job.id, ["ds-3", "ds-1"])
    assert (longer.num_files, longer.datasets) == (4, ["ds-1", "ds-2", "ds-3", "ds-1"])


def test_an_append_whose_answer_is_lost_appends_once(fake, client):
    job = fake.add_job()

    def lost_reply(request):
        job.config["dataset"] = ["ds-1", "ds-2"]
        return dropped_connection(request)

    fake.faults = [None, lost_reply]
    assert client.jobs.append(job.id, "ds-2").datasets == ["ds-1", "ds-2"]


def test_an_append_that_somebody_else_was_faster_with_is_refused(fake, client):
    job = fake.add_job()

    def others_append(request):
        job.config["dataset"] = ["ds-1", "ds-3"]
        return dropped_connection(request)

    fake.faults = [None, others_append]
    with pytest.raises(errors.ConflictError) as caught:
        client.jobs.append(job.id, "ds-2")
    assert caught.value.code == "files_changed"


def test_priority_and_front(fake, client):
    job = fake.add_job()
    assert client.jobs.set_priority(job.id, 80).priority == 80
    client.jobs.move_to_front(job.id)
    assert job.events[-1]["data"]["message"] == "Moved to the front."


@pytest.mark.parametrize(("order", "done"), [("pause", JobStatus.PAUSED), ("resume", JobStatus.RUNNING)])
def test_a_repeated_order_that_finds_its_work_done_is_a_success(fake, client, order, done):
    job = fake.add_job()

    def lost_reply(request):
        job.move(done)
        return dropped_connection(request)

    fake.faults = [lost_reply]
    assert getattr(client.jobs, order)(job.id).status is done
    assert {headers["idempotency-key"][:6] for method, _, headers in fake.requests if method == "POST"} == {"ftlab-"}


def test_a_repeated_order_that_finds_another_state_is_refused(fake, client):
    job = fake.add_job()

    def lost_reply(request):
        job.move(JobStatus.COMPLETED)
        return dropped_connection(request)

    fake.faults = [lost_reply]
    with pytest.raises(errors.ConflictError, match="completed"):
        client.jobs.pause(job.id)


def test_events_of_some_kinds(fake, client):
    job = fake.add_job(num_steps=3)
    kinds = {event.kind for event in client.jobs.events(job.id, kinds=["log", EventKind.METRICS])}
    assert kinds == {EventKind.LOG, EventKind.METRICS}
    assert [event.seq for event in client.jobs.events(job.id, kinds=EventKind.STATUS)] == [1, 2]


def test_quota(fake, client):
    assert client.quota.get().max_queued_jobs == 100
    changed = client.quota.set(max_queued_jobs=5, max_running_gpus=None)
    assert (changed.max_queued_jobs, changed.max_running_gpus, changed.max_disk_bytes) == (5, None, 2_000_000_000)
    with pytest.raises(errors.InvalidRequestError) as caught:
        client.quota.set(max_jobs=1)
    assert caught.value.param == "max_jobs"


def test_what_does_not_pass_is_not_tried_again(fake, client):
    body = '{"error": {"message": "Too many jobs.", "code": "quota_exceeded", "param": "max_queued_jobs"}}'
    fake.faults = [status_fault(429, {"x-should-retry": "false"}, body)]
    with pytest.raises(errors.RateLimitError) as caught:
        client.jobs.create(CONFIG)
    assert (caught.value.code, caught.value.param) == ("quota_exceeded", "max_queued_jobs")
    assert len(fake.requests) == 1


def test_upload_streams_the_file(fake, client, tmp_path):
    file = tmp_path / "über 1.jsonl"
    file.write_bytes(b'{"messages": []}\n' * 100_000)
    seen = []
    dataset = client.datasets.upload(file, on_progress=lambda done, total: seen.append((done, total)))
    assert fake.files[dataset.id] == file.read_bytes()
    assert (dataset.name, dataset.bucket, dataset.num_rows) == ("über 1.jsonl", "training-files", 100_000)
    assert fake.requests[-1][2]["x-filename"] == "%C3%BCber%201.jsonl"
    assert len(seen) > 1
    assert seen[-1] == (dataset.size_bytes, dataset.size_bytes)


def test_upload_with_name_and_bucket(client, tmp_path):
    file = tmp_path / "a.jsonl"
    file.write_text("{}\n")
    dataset = client.datasets.upload(str(file), name="the rows", bucket="lora-datasets")
    assert (dataset.name, dataset.bucket) == ("the rows", "lora-datasets")


def test_upload_without_a_file(client, tmp_path):
    with pytest.raises(errors.InvalidRequestError, match="There is no file"):
        client.datasets.upload(tmp_path / "none.jsonl")


def test_an_upload_is_not_repeated_once_it_was_sent(fake, client, tmp_path):
    file = tmp_path / "a.jsonl"
    file.write_text("{}\n")
    fake.faults = [dropped_connection]
    with pytest.raises(errors.UnreachableError, match="not known whether the request took effect"):
        client.datasets.upload(file)
    assert fake.num_requests("POST", "/api/datasets") == 1


def test_datasets(fake, client, tmp_path):
    file = tmp_path / "a.jsonl"
    file.write_text("{}\n")
    dataset = client.datasets.upload(file)
    assert client.datasets.get(dataset.id) == dataset
    assert list(client.datasets.list()) == [dataset]
    client.datasets.delete(dataset.id)
    with pytest.raises(errors.NotFoundError):
        client.datasets.delete(dataset.id)


def test_a_repeated_delete_that_finds_its_work_done_is_a_success(fake, client, tmp_path):
    file = tmp_path / "a.jsonl"
    file.write_text("{}\n")
    dataset = client.datasets.upload(file)

    def lost_reply(request):
        fake.datasets.clear()
        return dropped_connection(request)

    fake.faults = [lost_reply]
    client.datasets.delete(dataset.id)


def test_wait_polls_until_the_end(fake, client, monkeypatch):
    monkeypatch.setattr("ftlab.client._sync.jobs.JOB_PAUSES_S", (0.001, 5.0))
    job = fake.add_job(num_steps=1)

    def end(_):
        job.move(JobStatus.COMPLETED)

    fake.faults = [None, status_fault(503), None, end]
    assert client.jobs.wait(job.id).status is JobStatus.COMPLETED


def test_wait_for_a_name_keeps_to_its_job(fake, client, monkeypatch):
    monkeypatch.setattr("ftlab.client._sync.jobs.JOB_PAUSES_S", (0.001, 5.0))
    job = fake.add_job(name="mine")

    def another(_):
        fake.jobs = {"job-900": fake.add_job(name="mine"), job.id: job}
        job.move(JobStatus.COMPLETED)

    fake.faults = [None, another]
    assert client.jobs.wait("mine").id == job.id


def test_wait_goes_on_while_a_job_is_paused_and_tells_of_it(fake, client, monkeypatch):
    monkeypatch.setattr("ftlab.client._sync.jobs.JOB_PAUSES_S", (0.001, 5.0))
    job = fake.add_job()
    ways = [JobStatus.PAUSED, JobStatus.PAUSED, JobStatus.QUEUED, JobStatus.COMPLETED]
    fake.faults = [lambda _, status=status: job.move(status) for status in ways]
    seen = []
    client.jobs.wait(job.id, on_status=lambda found: seen.append(found.status))
    assert seen == [JobStatus.PAUSED, JobStatus.QUEUED, JobStatus.COMPLETED]


@pytest.mark.parametrize("until", ["paused", JobStatus.PAUSED, {"paused", "pausing"}, (JobStatus.PAUSED,)])
def test_wait_until_a_status(fake, client, until):
    job = fake.add_job()
    job.move(JobStatus.PAUSED)
    assert client.jobs.wait(job.id, until=until).status is JobStatus.PAUSED
    job.move(JobStatus.FAILED)
    with pytest.raises(errors.JobFailedError):
        client.jobs.wait(job.id, until=until)


def test_wait_until_a_status_that_does_not_exist(fake, client):
    with pytest.raises(errors.InvalidRequestError, match="Did you mean 'paused'"):
        client.jobs.wait("job-001", until="pased")
    assert fake.requests == []


def test_wait_raises_how_a_job_failed(fake, client):
    job = fake.add_job(num_steps=30, end=JobStatus.FAILED)
    with pytest.raises(errors.JobFailedError, match="ran out of memory") as caught:
        client.jobs.wait(job.id)
    assert caught.value.job_id == job.id
    assert caught.value.reason == ReasonCode.DEVICE_OOM
    tail = caught.value.log_tail
    assert len(tail) == 20
    assert tail[1::2] == tuple(f"line {n}" for n in range(21, 31))
    assert tail[18].startswith("Step 30/10: loss "), "the failure itself is the error's message"


def test_wait_raises_that_a_job_was_cancelled(fake, client):
    job = fake.add_job(end=JobStatus.CANCELLED)
    with pytest.raises(errors.JobCancelledError):
        client.jobs.wait(job.id)
    assert client.jobs.wait(job.id, raise_on_failure=False).status is JobStatus.CANCELLED


def test_wait_ends_with_its_time(fake, client, monkeypatch):
    monkeypatch.setattr("ftlab.client._sync.jobs.JOB_PAUSES_S", (0.001, 5.0))
    job = fake.add_job()
    with pytest.raises(errors.WaitTimeoutError, match=r"did not end within 0\.05 s; it is queued"):
        client.jobs.wait(job.id, timeout_s=0.05)


def test_nothing_answers(unused_port):
    with (
        Client(f"http://127.0.0.1:{unused_port}", max_retries=2, retry=RetryPolicy(first_delay_s=0.001)) as client,
        pytest.raises(errors.UnreachableError, match=r"Nothing answers at http://127\.0\.0\.1.*ftlab up"),
    ):
        client.queue()


def test_another_service_at_the_address_is_named(fake, client):
    fake.faults = [lambda _: httpx_like("<html>")]
    with pytest.raises(errors.UnreachableError, match="not like FineTune Lab"):
        client.queue()


def httpx_like(text):
    from starlette.responses import HTMLResponse

    return HTMLResponse(text)


@pytest.mark.parametrize(("argument", "num_tries"), [(None, 4), (1, 2)])
def test_the_number_of_tries_is_the_policys_or_the_arguments(fake, argument, num_tries):
    fake.faults = [status_fault(503)] * 10
    retry = RetryPolicy(first_delay_s=0.001, max_retries=3)
    with Client(fake.url, max_retries=argument, retry=retry) as client, pytest.raises(errors.ServiceUnavailableError):
        client.queue()
    assert len(fake.requests) == num_tries


def test_a_service_that_does_not_come_back_is_given_up(fake):
    fake.faults = [status_fault(503)] * 3
    with Client(fake.url, max_retries=2, retry=RetryPolicy(first_delay_s=0.001)) as client:
        with pytest.raises(errors.ServiceUnavailableError, match="not ready"):
            client.queue()
        assert client.queue().running == []


def test_probes_are_sent_once(fake, client):
    assert client.health() == {"status": "ok"}
    assert client.ready()["status"] == "ready"


@pytest.mark.parametrize("url", ["", "localhost:8000", "ftp://host", "http://", "host"])
def test_an_address_that_can_never_work_is_refused(url):
    with pytest.raises(errors.InvalidRequestError, match="must look like"):
        Client(url)


def test_a_key_with_line_breaks_is_refused_unseen():
    with pytest.raises(errors.InvalidRequestError) as caught:
        Client("http://127.0.0.1:1", api_key="ftl_secret\n")
    assert "ftl_secret" not in caught.value.message


def test_address_and_key_come_from_the_settings(monkeypatch, fake):
    monkeypatch.setenv("FTLAB_SERVER", fake.url + "/")
    monkeypatch.setenv("FTLAB_API_KEY", "ftl_from_env")
    with Client() as client:
        client.queue()
    assert client.base_url == fake.url
    assert fake.requests[-1][2]["authorization"] == "Bearer ftl_from_env"


def test_a_proxy_of_the_environment_is_not_meant_for_this_machine(monkeypatch, fake, unused_port):
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{unused_port}")
    monkeypatch.setenv("ALL_PROXY", f"http://127.0.0.1:{unused_port}")
    job = fake.add_job(num_steps=1, end=JobStatus.COMPLETED)
    with Client(fake.url, max_retries=0) as client:
        assert len(list(client.jobs.follow(job.id))) == len(job.events)
    assert fake.socket_afters == [0]


def test_a_closed_client_says_so(client):
    client.close()
    with pytest.raises(RuntimeError):
        client.queue()


def test_bodies_are_json(fake, client):
    client.jobs.create(CONFIG)
    assert fake.requests[-1][2]["content-type"] == "application/json"
    assert json.loads(json.dumps(fake.jobs["job-001"].config))["model"] == "org/name"
    assert httpx2.get(f"{fake.url}/health").json() == {"status": "ok"}


def test_metrics_of_one_name(fake, client):
    job = fake.add_job(3)
    assert [point.name for point in client.jobs.metrics(job.id, names="loss")] == ["loss"] * 3
    assert fake.requests[-1][1].endswith("/metrics")


def test_a_replay_is_marked(fake, client):
    config = {"model": "org/name", "dataset": "ds-1"}
    assert client.jobs.create(config, "k").is_replay is False
    again = client.jobs.create(config, "k")
    assert again.is_replay is True
    assert "is_replay" not in again.model_dump()


def test_a_job_is_deleted_by_its_id(fake, client):
    fake.add_job(end=JobStatus.COMPLETED, name="old")
    client.jobs.delete("old")
    assert fake.num_requests("DELETE", f"{JOBS}/job-001") == 1
    assert fake.jobs == {}
    with pytest.raises(errors.NotFoundError):
        client.jobs.delete("old")


def test_a_delete_whose_reply_is_lost_has_succeeded(fake, client):
    fake.add_job(end=JobStatus.COMPLETED)

    def lost_reply(request):
        del fake.jobs["job-001"]
        return dropped_connection(request)

    fake.faults = [None, lost_reply]
    client.jobs.delete("job-001")
    assert fake.num_requests("DELETE", f"{JOBS}/job-001") == 2


def test_an_unfinished_job_is_not_deleted(fake, client):
    fake.add_job()
    with pytest.raises(errors.ConflictError) as caught:
        client.jobs.delete("job-001")
    assert caught.value.code == "job_not_ended"
