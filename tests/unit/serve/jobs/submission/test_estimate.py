"""`POST /api/training/jobs/estimate`: the same checks as a submit, and nothing is stored."""

from dataclasses import replace
from decimal import Decimal

import pytest

from cluster.policy import Fleet, Node
from ftlab.errors import ServiceUnavailableError
from ftlab.schemas import JobEstimate, MemoryProbePayload
from ftlab.schemas.events import MEMORY_PROBED
from ftlab.status import JobStatus, ReasonCode
from serve.models.huggingface_lookup import HubModel
from tests.support.model_folders import CONFIG, weights, write_model
from tests.support.service_fakes import COMMIT
from tests.unit.serve.jobs.statuses import NOW, bring
from tests.unit.train.estimate.shapes import SMOLLM2_135M
from tracking.store.records import MetricRecord, NewEvent
from train.data.tokens.row_lengths import RowLengths
from train.model.files import ModelFacts
from train.model.shape import ModelShape, derived_shapes

JOBS = "/api/training/jobs"
ESTIMATE = f"{JOBS}/estimate"
GIB = 1024**3
SIZES = {
    "hidden_size": 8,
    "intermediate_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "vocab_size": 32,
    "tie_word_embeddings": True,
}
EXACT = RowLengths(100, 90, 9000, 4000, {50: 45, 150: 45}, is_exact=True)


@pytest.fixture
def here(settings, config, services, coordinator):
    """A body that names a model in the models folder, on a machine with 8 GiB."""
    folder = write_model(settings.home / "models" / "org--here", config=CONFIG | SIZES)
    shapes = derived_shapes(8, 2, 8, 4, 16, 32, is_tied=True)
    (folder / "model.safetensors").write_bytes(weights({name: list(shape) for name, shape in shapes.items()}))
    coordinator.fleet = Fleet((Node("a", 4, 0, 8 * GIB),))
    services.data.lengths = [EXACT]
    return config | {"model": "org/here"}


def estimate(client, body) -> JobEstimate:
    reply = client.post(ESTIMATE, json=body)
    assert reply.status_code == 200, reply.text
    return JobEstimate.model_validate(reply.json())


def test_an_estimate_of_everything(client, here):
    training = {"per_device_train_batch_size": 4, "num_train_epochs": 2.0, "save_steps": 10}
    found = estimate(client, here | {"training": training, "eval_dataset": here["dataset"]})
    assert (found.steps, found.tokens, found.peak_length) == (46, 18000, 150)
    assert found.rows is not None
    assert (found.rows.num_sequences, found.rows.tokens_per_epoch, found.rows.is_exact) == (90, 9000, True)
    [device] = found.devices
    assert (device.device, device.fits, device.memory_bytes) == ("CPU", "fits", 8 * GIB)
    assert device.training is not None
    parts = device.training.model_dump(exclude={"total"})
    assert sum(parts.values()) == device.training.total > device.training.overhead > 0
    assert device.evaluation is not None
    assert found.alternatives == []
    assert found.num_checkpoints == 5
    assert found.checkpoints_bytes == 5 * (found.checkpoint_bytes or 0) > 0
    assert (found.time_s, found.measured_job_id) == (None, None)
    assert "The time is not known" in " ".join(found.notes)


def test_nothing_is_stored(client, here, coordinator):
    estimate(client, here)
    assert client.get(JOBS).json()["data"] == []
    assert coordinator.num_wakes == 0


def test_a_sample_is_named_as_one(client, here, services):
    services.data.lengths = [replace(EXACT, is_exact=False)]
    found = estimate(client, here)
    assert found.peak_length == 1024
    assert "scaled up from a sample" in found.notes[0]


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"model": "org/here", "dataset": "none"}, 404, None),
        ({"model": "job:none"}, 404, "model_not_found"),
        ({"model": ""}, 422, None),
        ({"trainning": {}}, 422, None),
        ({"lora": {"target_modules": ["query"]}}, 422, "invalid_config"),
        ({"training": {"fp16": True}, "resources": {"gpus_per_worker": 0}}, 422, "invalid_config"),
    ],
)
def test_what_a_submit_refuses_is_refused(client, here, body, status, code):
    reply = client.post(ESTIMATE, json=here | body)
    assert reply.status_code == status, reply.text
    if code:
        assert reply.json()["error"]["code"] == code


def test_rows_that_cannot_be_counted_leave_the_rest(client, here, services):
    services.data.lengths = ServiceUnavailableError("The data worker does not respond.", "data_worker_unavailable")
    found = estimate(client, here)
    assert (found.rows, found.steps, found.tokens) == (None, None, None)
    assert found.notes[0] == "The rows were not counted: The data worker does not respond."
    assert found.devices[0].fits == "fits"


def test_rows_without_a_trained_token_have_no_steps(client, here, services):
    services.data.lengths = [RowLengths(3, 0, 0, 0, {}, is_exact=True)]
    assert estimate(client, here).steps is None


def test_without_a_coordinator_the_devices_are_not_known(client, here, coordinator):
    coordinator.fleet = None
    found = estimate(client, here)
    assert found.devices == []
    assert "The devices are not known" in " ".join(found.notes)


def test_models_that_cannot_be_estimated_say_so(client, config, coordinator, services):
    coordinator.fleet = Fleet.of_one(cpus=4, gpus=1)
    services.data.lengths = [EXACT]
    found = estimate(client, config)
    assert (found.devices[0].fits, found.devices[0].training, found.delivered_bytes) == ("unknown", None, None)
    assert "Memory and disk are not estimated" in " ".join(found.notes)
    assert found.steps is not None


@pytest.fixture
def on_hub(huggingface, config, services):
    """A body that names a model of 135 million parameters on the hub."""
    shape = ModelShape.read(SMOLLM2_135M, None)
    facts = ModelFacts("LlamaForCausalLM", 134_515_008, 269_000_000, has_chat_template=True, shape=shape)
    huggingface.answers["org/small"] = HubModel(COMMIT, facts)
    services.data.lengths = [RowLengths(1000, 1000, 1_000_000, 500_000, {100: 900, 1000: 100}, is_exact=True)]
    return config | {"model": "org/small"}


def test_each_type_of_gpu_is_compared(client, on_hub, coordinator):
    nodes = (Node("a", 4, 2, 8 * GIB, "T4"), Node("b", 4, 8, 8 * GIB, "H100"), Node("c", 4, 1, 8 * GIB, None))
    coordinator.fleet = Fleet(nodes)
    found = estimate(client, on_hub | {"training": {"per_device_train_batch_size": 16}})
    by_name = {device.device: device for device in found.devices}
    assert {name: (device.fits, device.num_devices) for name, device in by_name.items()} == {
        "T4": ("does_not_fit", 2),
        "H100": ("fits", 8),
        "GPU": ("unknown", 1),
    }
    assert found.alternatives == []
    assert "not measured on one" in " ".join(found.notes)


def test_what_would_fit_instead(client, on_hub, coordinator):
    coordinator.fleet = Fleet((Node("a", 4, 1, 8 * GIB, "T4"),))
    found = estimate(client, on_hub | {"training": {"per_device_train_batch_size": 32}})
    assert found.devices[0].fits == "does_not_fit"
    assert found.alternatives
    for alternative in found.alternatives:
        body = on_hub | {"training": {"per_device_train_batch_size": 32}}
        for name, value in alternative.changes.items():
            group, _, field = name.rpartition(".")
            body = body | ({group: body.get(group, {}) | {field: value}} if group else {field: value})
        again = estimate(client, body)
        if "method.max_length" not in alternative.changes:  # its rows would be prepared again
            assert again.devices[0].fits == "fits"
            assert again.devices[0].training is not None
            assert again.devices[0].training.total == alternative.peak_bytes


def test_several_gpus_divide_what_does_not_fit_one(client, on_hub, coordinator):
    coordinator.fleet = Fleet((Node("a", 4, 4, 8 * GIB, "T4"),))
    body = on_hub | {"tuning": "full", "training": {"per_device_train_batch_size": 16}}
    auto, whole, divided = (
        estimate(client, body | {"resources": {"num_workers": 4, "sharding": sharding}}).devices[0]
        for sharding in ("auto", "none", "fsdp")
    )
    assert whole.fits != "fits"
    assert auto == divided
    assert auto.message.endswith("The weights are divided among the 4 workers (fsdp).")
    assert (auto.peak_bytes or 0) < (whole.peak_bytes or 0)


def test_a_share_of_a_gpu_has_a_share_of_its_memory(client, on_hub, coordinator):
    coordinator.fleet = Fleet((Node("a", 4, 1, 8 * GIB, "H100"),))
    whole, half = (
        estimate(client, on_hub | {"resources": {"gpus_per_worker": share}}).devices[0].memory_bytes or 0
        for share in (1, 0.5)
    )
    assert half == pytest.approx(whole / 2, abs=1)


def test_processes_on_one_machine_share_its_memory(client, here):
    [device] = estimate(client, here | {"resources": {"num_workers": 3}}).devices
    assert device.processes == 3


def test_the_time_comes_from_an_earlier_job_that_ran_the_same_way(client, here, services):
    for more in ({}, {"tuning": "full"}):
        job_id = client.post(JOBS, json=here | more).json()["id"]
        ref = bring(services.store, job_id, JobStatus.COMPLETED)
        speeds = {1: 90.0, 2: 100.0, 3: 5000.0} if not more else {1: 7.0}
        with services.store.begin() as tx:
            tx.metrics.add(
                [MetricRecord(job_id, "tokens_per_s", step, speed, NOW, ref.attempt) for step, speed in speeds.items()]
            )
    found = estimate(client, here | {"training": {"num_train_epochs": 1.0}})
    assert found.time_s == pytest.approx((found.tokens or 0) / 100)
    assert found.measured_job_id != job_id
    assert (found.cost, found.currency, found.devices[0].cost_per_hour) == (None, None, None)
    assert estimate(client, here | {"tuning": "full"}).measured_job_id == job_id
    assert estimate(client, here | {"load_in_4bit": True}).time_s is None


def test_the_memory_is_corrected_by_the_memory_probe_of_an_earlier_job(client, here, services):
    before = estimate(client, here)
    assert before.memory_correction is None
    [device] = before.devices
    job_id = client.post(JOBS, json=here).json()["id"]
    ref = bring(services.store, job_id, JobStatus.RUNNING)
    half = device.training.total // 2
    probe = MemoryProbePayload(code=MEMORY_PROBED, message="", num_rows=4, longest=before.peak_length, peak_bytes=half)
    with services.store.begin() as tx:
        tx.events.append(ref, [NewEvent(probe, NOW)])
    after = estimate(client, here)
    assert after.memory_job_id == job_id
    assert after.memory_correction == pytest.approx(0.5, abs=0.01)
    [corrected] = after.devices
    assert corrected.peak_bytes == pytest.approx(device.peak_bytes / 2, rel=0.01)
    assert corrected.training == device.training, "the parts stay as computed"
    assert estimate(client, here | {"tuning": "full"}).memory_correction is None


def test_what_a_job_measured_before_its_settings_changed_does_not_count(client, here, services):
    before = estimate(client, here)
    job_id = client.post(JOBS, json=here | {"training": {"per_device_train_batch_size": 8}}).json()["id"]
    ref = bring(services.store, job_id, JobStatus.RUNNING)
    probe = MemoryProbePayload(code=MEMORY_PROBED, message="", num_rows=4, longest=before.peak_length, peak_bytes=GIB)
    with services.store.begin() as tx:
        tx.events.append(ref, [NewEvent(probe, NOW)])
        tx.metrics.add([MetricRecord(job_id, "tokens_per_s", 1, 100.0, NOW, ref.attempt)])
        tx.jobs.move(ref, JobStatus.PAUSING, now=NOW)
        tx.attempts.end(ref, reason=ReasonCode.OK, message=None, now=NOW)
        tx.jobs.move(ref, JobStatus.PAUSED, now=NOW)
    changes = {"training.per_device_train_batch_size": 4}
    assert client.post(f"{JOBS}/{job_id}/resume", json={"config_adjustments": changes}).status_code == 202
    found = estimate(client, here)
    assert (found.memory_correction, found.time_s) == (None, None)


@pytest.fixture
def priced(services) -> None:
    prices = {"cpu": Decimal("0.9"), "gpu": Decimal(2), "H100": Decimal(3)}
    object.__setattr__(services, "settings", services.settings.model_copy(update={"prices": prices, "currency": "EUR"}))


@pytest.mark.usefixtures("priced")
def test_the_cost_is_that_of_the_time_on_the_devices(client, here, services):
    job_id = client.post(JOBS, json=here).json()["id"]
    ref = bring(services.store, job_id, JobStatus.COMPLETED)
    with services.store.begin() as tx:
        tx.metrics.add([MetricRecord(job_id, "tokens_per_s", 1, 100.0, NOW, ref.attempt)])
    found = estimate(client, here)
    assert found.devices[0].cost_per_hour == Decimal("3.6")
    assert float(found.cost or 0) == pytest.approx((found.time_s or 0) / 1000)
    assert found.currency == "EUR"


@pytest.mark.usefixtures("priced")
def test_each_type_of_gpu_has_its_price(client, here, coordinator):
    coordinator.fleet = Fleet(
        (Node("a", 4, 1, 8 * GIB, "H100"), Node("b", 4, 1, 8 * GIB, "A100"), Node("c", 4, 1, 8 * GIB))
    )
    found = estimate(client, here | {"resources": {"gpus_per_worker": 0.5}})
    costs = {device.device: device.cost_per_hour for device in found.devices}
    assert costs == {"H100": Decimal("2.4"), "A100": Decimal("1.9"), "GPU": Decimal("1.9")}
    assert found.cost is None


@pytest.mark.usefixtures("priced")
def test_a_cap_that_ends_the_job_before_its_last_step_is_pointed_out(client, here, services):
    unknown = estimate(client, here | {"max_cost": "0.36"})
    assert unknown.max_cost_after_s == 360
    assert (
        "max_cost (0.36 EUR) is used up after 6:00, and the job then saves and ends, where it takes"
        in unknown.notes[-1]
    )
    job_id = client.post(JOBS, json=here).json()["id"]
    ref = bring(services.store, job_id, JobStatus.COMPLETED)
    with services.store.begin() as tx:
        tx.metrics.add([MetricRecord(job_id, "tokens_per_s", 1, 100.0, NOW, ref.attempt)])
    cost = estimate(client, here).cost
    assert cost is not None
    early = estimate(client, here | {"max_cost": str(cost / 2)})
    assert early.max_cost_after_s == pytest.approx((early.time_s or 0) / 2)
    assert "the whole job takes" in early.notes[-1]
    enough = estimate(client, here | {"max_cost": str(cost * 2)})
    assert enough.max_cost_after_s is None
    assert not any("max_cost" in note for note in enough.notes)


@pytest.mark.parametrize("path", [JOBS, f"{JOBS}/estimate"])
def test_a_cap_without_a_price_is_refused(client, here, path):
    reply = client.post(path, json=here | {"max_cost": 5})
    assert (reply.status_code, reply.json()["error"]["code"]) == (422, "max_cost_without_price")
    assert reply.json()["error"]["param"] == "max_cost"
