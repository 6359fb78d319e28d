"""Settings that are `auto`: resolved at the submission, stored with the job, shown, exported, and kept."""

from dataclasses import replace
from typing import Any

import pytest

from cluster.policy import Fleet, Node
from ftlab.errors import ServiceUnavailableError
from ftlab.schemas import Job, JobConfig, JobEstimate, MemoryProbePayload
from ftlab.schemas.auto import AUTO, AUTO_SETTINGS, with_settings, without_auto
from ftlab.schemas.events import AUTO_RESOLVED, MEMORY_PROBED
from ftlab.status import JobStatus
from tests.support.model_folders import CONFIG, weights, write_model
from tests.unit.serve.jobs.statuses import NOW, bring
from tests.unit.serve.jobs.submission.test_estimate import SIZES
from tests.unit.serve.tuned_adapters import add_tuned_adapter
from tracking.mlflow_record.mapping import job_file, params_of, run_tags
from tracking.store.records import NewEvent
from train.auto.resolve import resolve
from train.data.tokens.row_lengths import RowLengths
from train.model.shape import derived_shapes

JOBS = "/api/training/jobs"
GIB = 1024**3
LENGTHS = RowLengths(210, 200, 10_250, 4000, {50: 199, 300: 1}, is_exact=True)
BATCH = "training.per_device_train_batch_size"


@pytest.fixture
def here(settings, config, services, coordinator) -> dict[str, Any]:
    """A body that leaves every setting to the service, for a model in the models folder on a machine with 8 GiB."""
    sizes = SIZES | {"max_position_embeddings": 256}
    folder = write_model(settings.home / "models" / "org--here", config=CONFIG | sizes)
    shapes = derived_shapes(8, 2, 8, 4, 16, 32, is_tied=True)
    (folder / "model.safetensors").write_bytes(weights({name: list(shape) for name, shape in shapes.items()}))
    coordinator.fleet = Fleet((Node("a", 4, 0, 8 * GIB),))
    services.data.lengths = [LENGTHS]
    return with_settings(config | {"model": "org/here"}, dict.fromkeys(AUTO_SETTINGS, AUTO))


def submit(client, body, **headers: str) -> Job:
    reply = client.post(JOBS, json=body, headers=headers)
    assert reply.status_code == 201, reply.text
    return Job.model_validate(reply.json())


def test_a_job_keeps_auto_what_it_became_and_why(client, here):
    job = submit(client, here)
    assert job.config["training"]["learning_rate"] == AUTO
    assert set(job.auto) == set(AUTO_SETTINGS)
    assert job.resolved_config is not None
    assert without_auto(job.config, job.resolved_config) == job.resolved_config
    for name, chosen in job.auto.items():
        group, _, field = name.partition(".")
        assert job.resolved_config[group][field] == chosen.value
    assert job.auto["method.max_length"].value == 64
    assert job.auto["method.max_length"].reason.endswith("at most 50 tokens; 1 of 200 is longer and is cut")
    assert job.auto[BATCH].reason.endswith("rows fit 8.0 GiB (CPU) at 64 tokens")
    again = Job.model_validate(client.get(f"{JOBS}/{job.id}").json())
    assert (again.auto, again.config, again.resolved_config) == (job.auto, job.config, job.resolved_config)


def test_the_event_log_has_every_value_and_reason(client, here):
    job = submit(client, here)
    events = client.get(f"{JOBS}/{job.id}/events", params={"kind": "notice"}).json()["data"]
    messages = [event["data"]["message"] for event in events if event["data"]["code"] == AUTO_RESOLVED]
    assert messages == [
        f"{name} is 'auto' and became {chosen.shown}: {chosen.reason}." for name, chosen in job.auto.items()
    ]


def test_the_lengths_are_counted_before_anything_is_cut(client, here, services):
    submit(client, here)
    [asked] = services.data.asked
    assert (asked.method.max_length, asked.method.packing) == (1_048_576, False)
    services.data.asked.clear()
    submit(client, with_settings(here, {"method.max_length": 512, "method.packing": AUTO}))
    [asked] = services.data.asked
    assert (asked.method.max_length, asked.method.packing) == (512, False)


def test_a_learning_rate_needs_neither_rows_nor_devices(client, here, services, coordinator):
    services.data.lengths = ServiceUnavailableError("The data worker does not respond.")
    coordinator.fleet = None
    body = {"model": here["model"], "dataset": here["dataset"], "training": {"learning_rate": AUTO}}
    assert submit(client, body).auto["training.learning_rate"].value == 2e-4


def test_a_job_without_auto_asks_nothing(client, here, services):
    body = {"model": here["model"], "dataset": here["dataset"]}
    job = submit(client, body)
    assert (job.auto, services.data.asked) == ({}, [])
    assert all(event["kind"] == "status" for event in client.get(f"{JOBS}/{job.id}/events").json()["data"])


@pytest.mark.parametrize("what", ["rows", "devices"])
def test_what_is_not_known_yet_is_said_and_nothing_is_stored(client, here, services, coordinator, what):
    if what == "rows":
        services.data.lengths = ServiceUnavailableError("The data worker does not respond.", "data_worker_unavailable")
    else:
        coordinator.fleet = None
    for path in (JOBS, f"{JOBS}/estimate"):
        reply = client.post(path, json=here)
        assert reply.status_code == 503, reply.text
        assert "does not respond" in reply.json()["error"]["message"]
    assert client.get(JOBS).json()["data"] == []


def test_a_job_that_no_machine_can_run_is_refused_as_without_auto(client, here):
    reply = client.post(JOBS, json=here | {"resources": {"gpus_per_worker": 1}})
    assert (reply.status_code, reply.json()["error"]["code"]) == (422, "config_invalid")


def test_a_repeated_submit_is_the_same_job_whatever_is_free_now(client, here, services, coordinator):
    key = {"Idempotency-Key": "once"}
    job = submit(client, here, **key)
    services.data.lengths = ServiceUnavailableError("The data worker does not respond.")
    coordinator.fleet = Fleet((Node("a", 4, 1, 8 * GIB, "H100"),))
    again = submit(client, here, **key)
    assert (again.id, again.auto) == (job.id, job.auto)
    assert client.post(JOBS, json=here | {"name": "other"}, headers=key).json()["error"]["code"] == (
        "idempotency_key_reused"
    )


def test_an_exported_job_is_the_same_job_on_other_devices(client, here, services, coordinator):
    job = submit(client, here)
    services.data.lengths = [replace(LENGTHS, counts={2000: 200})]
    coordinator.fleet = Fleet((Node("a", 64, 1, 8 * GIB, "H100"),))
    other = submit(client, here)
    assert other.resolved_config != job.resolved_config
    with services.store.read() as tx:
        record = tx.jobs.resolve(job.id, owner="local")
    same = submit(client, job_file(record))
    assert (same.resolved_config, same.auto) == (job.resolved_config, {})
    assert same.config == job.resolved_config


def test_every_attempt_and_every_appended_file_keeps_the_values(client, here, services, coordinator, dataset):
    job = submit(client, here)
    coordinator.fleet = Fleet((Node("a", 64, 1, 8 * GIB, "H100"),))
    services.data.lengths = ServiceUnavailableError("The data worker does not respond.")
    client.post(f"{JOBS}/{job.id}/append", json={"datasets": [dataset["id"]]})
    bring(services.store, job.id, JobStatus.PAUSED)
    resumed = Job.model_validate(client.post(f"{JOBS}/{job.id}/resume").json())
    assert resumed.auto == job.auto
    assert resumed.config["training"]["learning_rate"] == AUTO
    for group in ("method", "training"):
        assert (resumed.resolved_config or {})[group] == (job.resolved_config or {})[group]


def test_a_value_that_was_changed_later_is_not_called_chosen(client, here, services):
    job = submit(client, here)
    with services.store.begin() as tx:
        record = tx.jobs.resolve(job.id, owner="local")
        assert isinstance(record.config, JobConfig)
        training = record.config.training.model_copy(update={"learning_rate": 1e-3})
        changed = replace(record, config=record.config.model_copy(update={"training": training}))
        from serve.jobs.views.job_view import describe

        shown = describe(services.settings, tx, changed)
    assert set(shown.auto) == set(AUTO_SETTINGS) - {"training.learning_rate"}


def test_mlflow_gets_the_values_and_the_reasons(client, here, services):
    job = submit(client, here)
    with services.store.read() as tx:
        record = tx.jobs.resolve(job.id, owner="local")
    params = params_of(record, None, None)
    assert params["training.learning_rate"] == "0.0002"
    assert AUTO not in [params[name] for name in AUTO_SETTINGS]
    assert job.auto[BATCH].reason in run_tags(record)["ftlab.auto"]
    assert "ftlab.auto" not in run_tags(replace(record, auto={}))


def test_the_estimate_says_what_auto_would_become(client, here):
    found = JobEstimate.model_validate(client.post(f"{JOBS}/estimate", json=here).json())
    job = submit(client, here)
    assert found.auto == job.auto
    assert (found.devices[0].fits, found.steps is not None) == ("fits", True)
    same = JobEstimate.model_validate(client.post(f"{JOBS}/estimate", json=job.resolved_config).json())
    assert found.model_copy(update={"auto": {}}) == same


def test_measured_memory_of_a_job_with_other_batches_counts(client, here, services, coordinator):
    coordinator.fleet = Fleet((Node("a", 4, 0, 2 * GIB),))
    before = submit(client, here).auto[BATCH]
    job = submit(client, {"model": here["model"], "dataset": here["dataset"]})
    ref = bring(services.store, job.id, JobStatus.RUNNING)
    probe = MemoryProbePayload(code=MEMORY_PROBED, message="", longest=50, num_rows=4, peak_bytes=20 * GIB)
    with services.store.begin() as tx:
        tx.events.append(ref, [NewEvent(probe, NOW)])
    after = submit(client, here).auto[BATCH]
    assert "not even that fits 2.0 GiB" in after.reason
    assert "not even" not in before.reason


def test_the_rules_see_the_adapter_that_the_job_continues(client, here, services, monkeypatch):
    add_tuned_adapter(services, "org/here", r=4, lora_alpha=8, target_modules=["q_proj"])
    seen: list[JobConfig] = []
    monkeypatch.setattr(
        "serve.jobs.submission.auto.resolve", lambda config, facts: seen.append(config) or resolve(config, facts)
    )
    job = submit(client, here | {"model": "model:mdl-1"})
    assert [config.lora.r for config in seen] == [4]
    assert "cannot be estimated" not in job.auto[BATCH].reason
    assert (job.resolved_config or {})["lora"]["r"] == 4


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"training.weight_decay": AUTO}, "training.weight_decay must be a number"),
        ({"training.warmup_steps": 5}, "cannot be combined"),
        ({"method.type": "grpo"}, "method.packing is not a setting of method.type 'grpo'"),
        ({"training.bf16": True}, "training.bf16 and training.fp16 cannot be combined"),
    ],
)
def test_bad_combinations_are_refused(client, here, changes, words):
    reply = client.post(JOBS, json=with_settings(here, changes))
    assert reply.status_code == 422
    assert words in reply.json()["error"]["message"]
