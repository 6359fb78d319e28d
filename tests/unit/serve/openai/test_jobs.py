"""Fine-tuning jobs, driven by the `openai` client; runs are played."""

import asyncio
from typing import Any

import openai as sdk
import pytest
from openai import OpenAI

from ftlab.schemas import CheckpointPayload, MetricsPayload
from ftlab.status import JobStatus, ReasonCode, StopKind
from tests.unit.serve.jobs.statuses import NOW, bring
from tests.unit.serve.openai.conftest import ALIAS, BASE, jsonl, upload
from tests.unit.tracking.samples import add_job
from tracking.store.records import CheckpointRecord, JobRef, MetricRecord, MlflowCursor, ModelRecord, NewEvent

HYPER = {"n_epochs": 2, "batch_size": 12, "learning_rate_multiplier": 0.5}


def create(client: OpenAI, **fields: Any) -> Any:
    body = {"model": BASE, "training_file": upload(client), "hyperparameters": HYPER} | fields
    return client.fine_tuning.jobs.create(**body)


def own(job: Any) -> str:
    return str(job.id.replace("ftjob-", "job-"))


def measure(store, ref: JobRef, step: int = 2) -> None:
    """A step with its metrics and its checkpoint."""
    values = {"loss": 0.5, "mean_token_accuracy": 0.75, "eval_loss": 0.625}
    saved = {"step": step, "name": f"step-{step:08d}", "metrics": {"eval_loss": 0.625}}
    with store.begin() as tx:
        tx.metrics.add([MetricRecord(ref.id, name, step, value, NOW, ref.attempt) for name, value in values.items()])
        tx.metrics.add([MetricRecord(ref.id, "num_tokens", step, 512.0, NOW, ref.attempt)])
        tx.checkpoints.add(ref, CheckpointRecord(ref.id, step, ref.attempt, saved["name"], 10, "00", NOW))
        position = {"step": step, "total_steps": 4, "epoch": 1.0}
        tx.jobs.record_progress(ref, **position, now=NOW)
        payloads = [MetricsPayload(**position, values=values), CheckpointPayload(**saved)]
        tx.events.append(ref, [NewEvent(payload, NOW) for payload in payloads])


def complete(services, job_id: str) -> str:
    """Train a queued job to its end; gives the id of its model."""
    store = services.store
    ref = bring(store, job_id, JobStatus.RUNNING)
    measure(store, ref)
    folder = services.settings.home / "jobs" / job_id / "model"
    folder.mkdir(parents=True)
    (folder / "adapter_config.json").write_text("{}")
    with store.begin() as tx:
        owner = tx.jobs.get(job_id).owner
        model = ModelRecord(f"model-{job_id[4:]}", owner, job_id, "m", "adapter", BASE, None, 2, folder, None, NOW)
        tx.models.add(model)
        tx.attempts.end(ref, reason=ReasonCode.OK, message=None, now=NOW)
        tx.jobs.move(ref, JobStatus.COMPLETED, now=NOW, model_id=model.id)
    return model.id


def record(store, job_id: str) -> None:
    """What MLflow's recorder and the scheduler do after a job."""
    with store.begin() as tx:
        for attempt in tx.attempts.of_job(job_id):
            tx.attempts.count(JobRef(job_id, attempt.number), now=NOW)
        tx.jobs.set_mlflow(job_id, cursor=MlflowCursor(tx.jobs.get(job_id).last_seq))


def test_a_job_has_every_field_of_openai_and_ours(openai: OpenAI, services):
    held_out = upload(openai, 5)
    metadata = {"team": "a", "empty": ""}
    job = create(
        openai,
        validation_file=held_out,
        suffix="My run",
        seed=7,
        metadata=metadata,
        extra_body={"priority": 80, "lora": {"r": 4}, "method_settings": {"max_length": 512}},
    )
    assert job.id.startswith("ftjob-")
    assert (job.status, job.model, job.seed, job.validation_file) == ("queued", BASE, 7, held_out)
    assert (job.metadata, job.result_files, job.error, job.fine_tuned_model) == (metadata, [], None, None)
    assert job.hyperparameters.model_dump() == HYPER
    assert job.method.type == "supervised"
    assert job.method.supervised.hyperparameters.n_epochs == 2
    assert (job.priority, job.lora["r"], job.method_settings["max_length"], job.queue_position) == (80, 4, 512, 1)
    assert openai.fine_tuning.jobs.retrieve(job.id) == job
    with services.store.read() as tx:
        config = tx.jobs.get(own(job)).config
    assert (config.name, config.training.seed, config.eval_dataset) == ("My run", 7, held_out.replace("file", "ds"))
    assert (config.training.per_device_train_batch_size, config.training.gradient_accumulation_steps) == (6, 2)
    assert config.training.learning_rate == pytest.approx(1e-4)


def test_what_is_not_given_is_auto_and_the_reply_says_what_it_became(openai: OpenAI):
    job = openai.fine_tuning.jobs.create(model=ALIAS, training_file=upload(openai))
    assert job.model == ALIAS
    assert isinstance(job.hyperparameters.n_epochs, int)
    assert isinstance(job.hyperparameters.batch_size, int)
    assert isinstance(job.hyperparameters.learning_rate_multiplier, float)


def test_jobs_are_listed_over_pages_and_by_metadata(openai: OpenAI):
    file = upload(openai)
    odd = {"team": "a", 'a key with [brackets] & "quotes"': "5%"}
    jobs = [
        create(openai, training_file=file, metadata=metadata)
        for metadata in ({"team": "a"}, None, {"team": "b"}, odd, {"team": ""}, {"team": "a"}, {"team": "a"})
    ]
    ids = [job.id for job in jobs]
    listed = openai.fine_tuning.jobs.list
    assert [job.id for job in listed(limit=3)] == ids[::-1]
    assert [job.id for job in listed(limit=2, metadata={"team": "a"})] == [ids[6], ids[5], ids[3], ids[0]]
    assert [job.id for job in listed(metadata={"team": ""})] == [ids[4]]
    assert [job.id for job in listed(metadata={"team": "a", "other": "x"})] == []
    assert [job.id for job in listed(extra_query={"metadata": "null"})] == [ids[1]]
    with pytest.raises(sdk.BadRequestError) as raised:
        listed(extra_query={"colour": "red"})
    assert raised.value.code == "unknown_parameter"


def test_a_job_lives_to_its_end(openai: OpenAI, services, monkeypatch: pytest.MonkeyPatch):
    store = services.store
    job = create(openai, suffix="tone", training_file=upload(openai), validation_file=upload(openai, 5))
    events = openai.fine_tuning.jobs.list_events(job.id).data
    assert [event.message for event in events] == [f"Created fine-tuning job: {job.id}"]
    assert openai.fine_tuning.jobs.checkpoints.list(job.id).data == []
    complete(services, own(job))
    done = openai.fine_tuning.jobs.retrieve(job.id)
    assert (done.status, done.trained_tokens) == ("succeeded", 512)
    assert done.fine_tuned_model == f"ft:here:local:tone:{own(job)[4:12]}"
    assert done.finished_at is not None

    seen = list(openai.fine_tuning.jobs.list_events(job.id, limit=2))
    assert len({event.id for event in seen}) == len(seen) > 4
    assert seen[0].message.endswith(done.fine_tuned_model)
    [metrics] = [event for event in seen if event.type == "metrics"]
    assert metrics.message == "Step 2/4: training loss=0.50, full validation loss=0.62"
    assert metrics.data["train_mean_token_accuracy"] == 0.75

    [checkpoint] = openai.fine_tuning.jobs.checkpoints.list(job.id)
    assert checkpoint.fine_tuned_model_checkpoint == f"{done.fine_tuned_model}:ckpt-step-2"
    assert (checkpoint.step_number, checkpoint.metrics.train_loss, checkpoint.metrics.valid_loss) == (2, 0.5, 0.625)
    assert list(openai.fine_tuning.jobs.checkpoints.list(job.id, after=checkpoint.id)) == []

    [result] = done.result_files
    content = openai.files.content(result).text.splitlines()
    assert content == ["step,train_loss,train_accuracy,valid_loss,valid_mean_token_accuracy", "2,0.5,0.75,0.625,"]
    file = openai.files.retrieve(result)
    assert (file.purpose, file.filename) == ("fine-tune-results", "step_metrics.csv")
    assert [each.id for each in openai.files.list(purpose="fine-tune-results")] == [result]
    with pytest.raises(sdk.ConflictError):
        openai.files.delete(result)

    names = [model.id for model in openai.models.list()]
    assert names == [done.fine_tuned_model, f"{done.fine_tuned_model}:ckpt-step-2", ALIAS, BASE]
    assert openai.models.retrieve(f"{done.fine_tuned_model}:ckpt-step-2").owned_by == "org-local"
    assert openai.models.retrieve(BASE).owned_by == "system"

    record(store, own(job))
    user = JobRef(add_job(store, base_job_id=own(job)).id, 0)
    with store.begin() as tx:
        tx.jobs.move(user, JobStatus.CANCELLING, now=NOW)

    def end_user() -> None:
        with store.begin() as tx:
            if tx.jobs.get(user.id).status is JobStatus.CANCELLING:
                tx.jobs.move(user, JobStatus.CANCELLED, now=NOW)

    monkeypatch.setattr(services.coordinator, "wake", end_user)
    assert openai.models.delete(done.fine_tuned_model).deleted
    assert [model.id for model in openai.models.list()] == [ALIAS, BASE]
    assert not (services.settings.home / "jobs" / own(job) / "model").exists()
    assert openai.fine_tuning.jobs.retrieve(job.id).fine_tuned_model == done.fine_tuned_model
    assert openai.fine_tuning.jobs.checkpoints.list(job.id).data == [checkpoint]
    for name in (done.fine_tuned_model, BASE):
        with pytest.raises(sdk.NotFoundError) as raised:
            openai.models.delete(name)
        assert raised.value.code == "model_not_found"


def test_a_tuned_model_can_be_trained_further(openai: OpenAI, services):
    job = create(openai)
    model_id = complete(services, own(job))
    name = openai.fine_tuning.jobs.retrieve(job.id).fine_tuned_model
    for given, expected in ((name, f"model:{model_id}"), (f"{name}:ckpt-step-2", f"job:{own(job)}/step-2")):
        with pytest.raises(sdk.APIStatusError) as raised:  # the files of the played run are no model
            create(openai, model=given)
        assert raised.value.code != "unknown_model", expected
    for wrong in (f"{name[:-1]}!", f"{name}:ckpt-step-3", name.replace("here", "other"), "gpt-4o"):
        with pytest.raises(sdk.BadRequestError) as raised:
            create(openai, model=wrong)
        assert (raised.value.code, raised.value.param) == ("model_not_found", "model")


def test_a_checkpoint_is_not_shared_and_says_so(openai: OpenAI, services):
    job = create(openai)
    complete(services, own(job))
    name = openai.fine_tuning.jobs.retrieve(job.id).fine_tuned_model
    permissions = openai.fine_tuning.checkpoints.permissions
    for checkpoint, error, code in (
        (name, sdk.BadRequestError, "sharing_not_supported"),
        (f"{name}:ckpt-step-2", sdk.BadRequestError, "sharing_not_supported"),
        (f"{name}:ckpt-step-3", sdk.NotFoundError, "model_not_found"),
        ("ft:of:another::user", sdk.NotFoundError, "model_not_found"),
    ):
        for call in (
            lambda of: permissions.create(of, project_ids=["bob"]).data,
            lambda of: permissions.list(of, limit=2).data,
            lambda of: permissions.delete("cp_1", fine_tuned_model_checkpoint=of),
        ):
            with pytest.raises(error) as refused:
                call(checkpoint)
            assert refused.value.code == code


def test_a_job_is_paused_resumed_and_cancelled(lenient: OpenAI, services):
    job = create(lenient)
    jobs = lenient.fine_tuning.jobs
    assert jobs.pause(job.id).status == "paused"
    assert jobs.resume(job.id).status == "queued"
    ref = bring(services.store, own(job), JobStatus.RUNNING)
    assert jobs.pause(job.id).status == "pausing"
    with services.store.begin() as tx:
        tx.attempts.end(ref, reason=ReasonCode.OK, message=None, now=NOW)
        tx.jobs.move(ref, JobStatus.PAUSED, now=NOW)
    assert jobs.resume(job.id).id == job.id
    assert jobs.cancel(job.id).status == "cancelled"
    with pytest.raises(sdk.ConflictError) as raised:
        jobs.cancel(job.id)
    assert raised.value.code == "job_ended"
    assert job.id in raised.value.message
    assert raised.value.response.headers["x-should-retry"] == "false"


def test_a_pause_of_the_service_itself_is_no_pause(openai: OpenAI, services):
    job = create(openai)
    bring(services.store, own(job), JobStatus.PAUSING, StopKind.PREEMPT)
    assert openai.fine_tuning.jobs.retrieve(job.id).status == "running"


@pytest.mark.parametrize(
    ("reason", "code", "param"),
    [
        (ReasonCode.DATASET_INVALID, "invalid_training_file", "training_file"),
        (ReasonCode.DEVICE_OOM, "device_oom", None),
    ],
)
def test_a_failed_job_says_why(openai: OpenAI, services, reason, code, param):
    job = create(openai)
    ref = bring(services.store, own(job), JobStatus.RUNNING)
    with services.store.begin() as tx:
        tx.attempts.end(ref, reason=reason, message="No.", now=NOW)
        tx.jobs.move(ref, JobStatus.FAILED, now=NOW, reason=reason, message=f"Row 3 of {own(job)} is bad.")
    found = openai.fine_tuning.jobs.retrieve(job.id)
    assert found.status == "failed"
    assert (found.error.code, found.error.message, found.error.param) == (code, f"Row 3 of {job.id} is bad.", param)
    assert openai.fine_tuning.jobs.list_events(job.id).data[0].level == "error"


REFUSED = [
    ({"training_file": "file-000000000000"}, "file_not_found", "training_file"),
    ({"training_file": "file-x"}, "file_not_found", "training_file"),
    ({"validation_file": "nothing"}, "file_not_found", "validation_file"),
    ({"hyperparameters": {"n_epochs": 0}}, "invalid_body", "hyperparameters.n_epochs"),
    ({"hyperparameters": {"batch_size": "much"}}, "invalid_body", "hyperparameters.batch_size"),
    ({"extra_body": {"colour": "red"}}, "unknown_field", "colour"),
    ({"extra_body": {"training": {"learning_rat": 1.0}}}, "unknown_field", "training.learning_rat"),
    ({"extra_body": {"training": {"learning_rate": 1.0}}}, "invalid_body", "hyperparameters.learning_rate_multiplier"),
    ({"extra_body": {"training": 5}}, "invalid_body", "training"),
    ({"extra_body": {"resources": {"num_workers": 5}}}, "invalid_body", "hyperparameters.batch_size"),
    ({"method": {"type": "kto"}, "hyperparameters": sdk.omit}, "unsupported_method", "method.type"),
    ({"method": {"type": "supervised"}}, "invalid_body", "hyperparameters"),
    ({"method": {"type": "dpo", "supervised": {}}, "hyperparameters": sdk.omit}, "invalid_body", "method.supervised"),
    ({"method": {"type": "dpo"}, "hyperparameters": sdk.omit}, "dataset_kind_mismatch", "training_file"),
    ({"method": {"type": "reinforcement"}, "hyperparameters": sdk.omit}, "missing_field", "method.reinforcement"),
    ({"integrations": [{"type": "wandb", "wandb": {"project": "p"}}]}, "unsupported_integration", "integrations"),
    ({"metadata": {"k" * 65: "v"}}, "invalid_body", None),
    ({"seed": -1}, "invalid_body", "seed"),
    ({"suffix": "x" * 65}, "invalid_body", "suffix"),
]


def test_what_cannot_be_is_refused_with_code_and_param(openai: OpenAI):
    file = upload(openai)
    for fields, code, param in REFUSED:
        with pytest.raises(sdk.BadRequestError) as raised:
            create(openai, **{"training_file": file} | fields)
        assert (raised.value.code, raised.value.type) == (code, "invalid_request_error"), fields
        assert param in (None, raised.value.param), raised.value
    assert openai.fine_tuning.jobs.list().data == []


def test_an_unknown_job_has_the_code_of_openai(openai: OpenAI):
    jobs = openai.fine_tuning.jobs
    for call in (jobs.retrieve, jobs.cancel, jobs.list_events, jobs.checkpoints.list):
        for job in ("ftjob-000000000000", "ftjob-x"):
            with pytest.raises(sdk.NotFoundError) as raised:
                call(job)
            assert (raised.value.code, raised.value.param) == ("fine_tune_not_found", "fine_tune_id")


def test_a_job_of_our_own_api_is_there_too(openai: OpenAI, client, services):
    file = upload(openai)
    for name, method in (("plain", {"type": "sft"}), ("kto", {"type": "kto"})):
        body = {"model": BASE, "dataset": file.replace("file-", "ds-"), "name": name, "method": method}
        if name == "kto":
            rows = b'{"prompt": "a", "completion": "b", "label": true}\n' * 4
            dataset = client.post("/api/datasets", content=rows, headers={"x-filename": "k.jsonl"}).json()["id"]
            body["dataset"] = dataset
        assert client.post("/api/training/jobs", json=body).status_code == 201
    kto, plain = openai.fine_tuning.jobs.list().data
    assert (plain.method.type, plain.hyperparameters.n_epochs, plain.metadata) == ("supervised", 3, None)
    assert kto.method is None


def test_a_repeated_create_makes_no_second_job(openai: OpenAI):
    file = upload(openai)
    first = create(openai, training_file=file)
    again = create(openai, training_file=file, extra_headers={"x-stainless-retry-count": "1"})
    other = create(openai, training_file=file, seed=9, extra_headers={"x-stainless-retry-count": "1"})
    meant = create(openai, training_file=file)
    assert again == first
    assert len({first.id, other.id, meant.id}) == 3
    keyed = [create(openai, training_file=file, extra_headers={"Idempotency-Key": "k"}).id for _ in range(2)]
    assert keyed[0] == keyed[1]


def test_a_create_whose_client_has_left_makes_no_job(url, services):
    """The client disconnects while the service looks the model up; its next try makes the job."""
    openai = OpenAI(api_key="k", base_url=url)
    find = services.huggingface.find

    async def slow(*args: Any) -> Any:
        await asyncio.sleep(0.6)
        return await find(*args)

    services.huggingface.find = slow
    file = upload(openai)
    with pytest.raises(sdk.APITimeoutError):
        create(openai.with_options(timeout=0.2, max_retries=0), training_file=file, model="org/remote")
    job = create(openai, training_file=file, model="org/remote", extra_headers={"x-stainless-retry-count": "1"})
    assert [each.id for each in openai.fine_tuning.jobs.list()] == [job.id]


@pytest.mark.anyio
async def test_the_async_client_does_the_same(async_openai, services):
    async with async_openai as client:
        file = await client.files.create(file=("a.jsonl", jsonl(3)), purpose="fine-tune")
        job = await client.fine_tuning.jobs.create(model=BASE, training_file=file.id, hyperparameters=HYPER)
        complete(services, own(job))
        done = await client.fine_tuning.jobs.retrieve(job.id)
        assert done.status == "succeeded"
        assert len([event async for event in client.fine_tuning.jobs.list_events(job.id, limit=2)]) > 4
        assert done.fine_tuned_model in [model.id async for model in client.models.list()]
        with pytest.raises(sdk.NotFoundError):
            await client.fine_tuning.jobs.cancel("ftjob-x")


def test_checkpoints_of_a_long_job_keep_their_metrics(openai: OpenAI, services) -> None:
    """However many steps were logged beside theirs."""
    job = create(openai)
    ref = bring(services.store, own(job), JobStatus.RUNNING)
    for step in (5_001, 7_003):
        measure(services.store, ref, step)
    with services.store.begin() as tx:
        others = [step for step in range(1, 12_000) if step not in (5_001, 7_003)]
        tx.metrics.add([MetricRecord(ref.id, "loss", step, 9.0, NOW, ref.attempt) for step in others])
    found = openai.fine_tuning.jobs.checkpoints.list(job.id).data
    assert [each.step_number for each in found] == [7_003, 5_001]
    measured = [(each.metrics.train_loss, each.metrics.train_mean_token_accuracy) for each in found]
    assert measured == [(0.5, 0.75)] * 2
