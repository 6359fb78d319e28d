"""What a submit refuses, reports and fills in for the sake of the base model."""

import json

import pytest

from tests.support.model_folders import CONFIG, weights, write_model
from tests.unit.serve.tuned_adapters import add_tuned_adapter

JOBS = "/api/training/jobs"
SHAPES = {"model.embed_tokens.weight": [32, 4], "model.layers.0.self_attn.q_proj.weight": [4, 4]}
ADAPTER = {"r": 4, "lora_alpha": 8, "target_modules": ["q_proj"]}


@pytest.fixture
def here(settings, config) -> dict[str, object]:
    """A body that names a model in the models folder."""
    folder = write_model(settings.home / "models" / "org--here", config=CONFIG | {"tie_word_embeddings": True})
    (folder / "model.safetensors").write_bytes(weights(SHAPES))
    return config | {"model": "org/here"}


@pytest.fixture
def adapter(services, here) -> dict[str, object]:
    """A body that names a tuned adapter of `org/here`."""
    add_tuned_adapter(services, "org/here", **ADAPTER)
    return here | {"model": "model:mdl-1"}


def notices(client, job: dict) -> dict[str, str]:
    events = client.get(f"{JOBS}/{job['id']}/events").json()["data"]
    return {event["data"]["code"]: event["data"]["message"] for event in events if event["kind"] == "notice"}


@pytest.mark.parametrize(
    ("more", "param"),
    [
        ({"lora": {"target_modules": ["query"]}}, "lora.target_modules"),
        ({"lora": {"target_modules": ["lm_head"]}}, "lora.target_modules"),
        ({"lora": {"modules_to_save": ["(?P<x"]}}, "lora.modules_to_save"),
        ({"lora": {"modules_to_save": ["lm_head"]}}, "lora.modules_to_save"),
        ({"training": {"fp16": True}, "resources": {"gpus_per_worker": 0}}, "training.fp16"),
        ({"training": {"optim": "paged_adamw_8bit"}, "resources": {"gpus_per_worker": 0}}, "training.optim"),
    ],
)
def test_settings_that_cannot_work_are_refused(client, here, more, param):
    reply = client.post(JOBS, json=here | more)
    assert reply.status_code == 422, reply.text
    error = reply.json()["error"]
    assert (error["code"], error["param"]) == ("invalid_config", param)
    assert client.get(JOBS).json()["data"] == []


def test_a_warm_up_longer_than_the_run_is_refused_with_both_numbers(client, config):
    reply = client.post(JOBS, json=config | {"training": {"max_steps": 2, "warmup_steps": 100}})
    assert reply.status_code == 422
    message = reply.json()["error"]["message"]
    assert "(100)" in message
    assert "(2)" in message


def test_a_setting_without_effect_is_a_notice(client, here):
    job = client.post(JOBS, json=here | {"tuning": "full", "lora": {"r": 8}}).json()
    assert "lora is not used" in notices(client, job)["setting_unused"]


def test_full_fine_tuning_of_16_bit_weights_is_told_that_small_updates_are_lost(client, here):
    dtypes = ("auto", "float32", "bfloat16")
    jobs = [client.post(JOBS, json=here | {"tuning": "full", "training": {"dtype": dtype}}).json() for dtype in dtypes]
    adapter = client.post(JOBS, json=here | {"training": {"dtype": "bfloat16"}}).json()
    *others, rounded = [notices(client, job).get("updates_rounded") for job in (*jobs[:2], adapter, jobs[2])]
    assert others == [None] * 3
    assert "smaller than about 0.4 % of its weight" in rounded


def test_a_job_on_an_adapter_has_the_settings_of_the_adapter(client, adapter):
    job = client.post(JOBS, json=adapter).json()
    for config in (job["config"], job["resolved_config"]):
        assert (config["lora"]["r"], config["lora"]["lora_alpha"]) == (4, 8)
        assert config["lora"]["target_modules"] == ["q_proj"]


def test_other_settings_are_refused_with_both_values(client, adapter):
    reply = client.post(JOBS, json=adapter | {"lora": {"r": 32}})
    assert reply.status_code == 422
    error = reply.json()["error"]
    assert (error["code"], error["param"]) == ("invalid_config", "lora.r")
    assert "32" in error["message"]
    assert "4" in error["message"]
    assert client.post(JOBS, json=adapter | {"lora": {"r": 4, "target_modules": "all-linear"}}).status_code == 201


def test_full_fine_tuning_merges_the_adapter_and_says_so(client, adapter):
    job = client.post(JOBS, json=adapter | {"tuning": "full"}).json()
    assert "(r 4)" in notices(client, job)["adapter_merged"]


def test_a_model_check_names_the_target_modules(client, here):
    found = client.post("/api/models/check", json={"model": "org/here"}).json()
    assert found["target_modules"] == ["q_proj"]


PAIR = {"prompt": "Where?", "chosen": "Here.", "rejected": "No."}


def reward_on(client, **fields) -> dict[str, object]:
    """Settings of a job that trains a reward model on a pair with more fields."""
    content = json.dumps(PAIR | fields) + "\n"
    reply = client.post("/api/datasets", content=content, headers={"x-filename": "pairs.jsonl"})
    assert reply.status_code in (200, 201), reply.text
    return {"dataset": reply.json()["id"], "method": {"type": "reward"}}


def test_a_reward_model_is_trained_on_pairs(client, here):
    more = {"method": {"type": "reward", "center_rewards_coefficient": 0.01}}
    job = client.post(JOBS, json=here | reward_on(client) | more).json()
    assert job["resolved_config"]["method"]["center_rewards_coefficient"] == 0.01
    assert job["resolved_config"]["training"]["learning_rate"] == 1e-4
    for name in ("lm_head", "score"):
        refused = client.post(JOBS, json=here | reward_on(client) | {"lora": {"target_modules": [name]}})
        assert (refused.status_code, refused.json()["error"]["param"]) == (422, "lora.target_modules")
    whole = {"lora": {"modules_to_save": ["embed_tokens"]}}  # tied to a head that the model no longer has
    assert client.post(JOBS, json=here | reward_on(client) | whole).status_code == 201


def test_pairs_with_a_margin_are_refused_by_a_reward_model_only(client, here):
    pairs = reward_on(client, margin=0.5, source="web")
    refused = client.post(JOBS, json=here | pairs)
    error = refused.json()["error"]
    assert (refused.status_code, error["code"], error["param"]) == (422, "dataset_kind_mismatch", "dataset")
    assert "the field 'margin', which method 'reward' does not read" in error["message"]
    assert client.post(JOBS, json=here | pairs | {"method": {"type": "dpo"}}).status_code == 201


def test_a_model_type_without_a_head_for_scores_is_refused(client, services, here):
    file = services.settings.home / "models" / "org--here" / "config.json"
    config = {"model_type": "bloom", "architectures": ["BloomForCausalLM"]}
    file.write_text(json.dumps(json.loads(file.read_text()) | config))
    assert client.post(JOBS, json=here | reward_on(client)).status_code == 201
    config = {"model_type": "codegen", "architectures": ["CodeGenForCausalLM"]}
    file.write_text(json.dumps(json.loads(file.read_text()) | config))
    refused = client.post(JOBS, json=here | reward_on(client))
    assert (refused.status_code, refused.json()["error"]["param"]) == (422, "method")
    assert "CodeGenForCausalLM is not of one" in refused.json()["error"]["message"]


@pytest.mark.parametrize("tuning", ["lora", "full"])
def test_a_reward_model_is_trained_further_as_one_only(client, services, adapter, tuning):
    folder = services.settings.home / "jobs" / "job-1" / "model"
    saved = json.loads((folder / "adapter_config.json").read_text()) | {
        "task_type": "SEQ_CLS",
        "modules_to_save": ["classifier", "score"],
    }
    (folder / "adapter_config.json").write_text(json.dumps(saved))
    for method in ({"type": "sft"}, {"type": "dpo"}):
        reply = client.post(JOBS, json=adapter | {"tuning": tuning, "method": method})
        error = reply.json()["error"]
        assert (reply.status_code, error["code"], error["param"]) == (422, "invalid_config", "method")
        assert "has no language-model head" in error["message"]
    job = client.post(JOBS, json=adapter | reward_on(client) | {"tuning": tuning}).json()
    assert job["status"] == "queued"
    assert job["resolved_config"]["lora"]["modules_to_save"] is None  # the head is trained in any case


@pytest.mark.parametrize("method", ["sft", "dpo"])
def test_a_whole_reward_model_is_refused_for_other_methods(client, services, here, method):
    file = services.settings.home / "models" / "org--here" / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"architectures": ["LlamaForSequenceClassification"]}))
    reply = client.post(JOBS, json=here | {"method": {"type": method}})
    assert reply.status_code == 422
    assert "LlamaForSequenceClassification is a reward model" in reply.json()["error"]["message"]
