"""Submits and estimates of the method grpo: what is accepted, and what is refused with which field."""

import hashlib
import json

import pytest

from tests.unit.serve.tuned_adapters import add_tuned_adapter

JOBS = "/api/training/jobs"
GRPO = {"type": "grpo", "rewards": [{"type": "exact_match"}, {"type": "length", "max_length": 50, "weight": 0.1}]}


def refusal(client, body: dict) -> dict:
    reply = client.post(JOBS, json=body)
    assert reply.status_code == 422, reply.text
    assert client.post(f"{JOBS}/estimate", json=body).json()["error"]["message"] == reply.json()["error"]["message"]
    assert client.get(JOBS).json()["data"] == []
    return reply.json()["error"]


def test_a_job_keeps_its_rewards_with_their_defaults(client, config):
    job = client.post(JOBS, json=config | {"method": GRPO}).json()
    method = job["resolved_config"]["method"]
    assert method["rewards"][0] == {"type": "exact_match", "weight": 1.0, "strip": True, "ignore_case": False}
    assert method["rewards"][1]["unit"] == "tokens"
    assert (method["num_generations"], method["beta"]) == (4, 0.0)
    assert job["resolved_config"]["training"]["learning_rate"] == 1e-5


@pytest.mark.parametrize(
    ("method", "field"),
    [
        ({"rewards": []}, "method.rewards"),
        ({"rewards": [{"type": "exact"}]}, "method.rewards.0.type"),
        ({"rewards": [{"type": "regex"}]}, "method.rewards.0.pattern"),
        ({"rewards": [{"type": "regex", "pattern": "("}]}, "method.rewards.0.pattern"),
        ({"rewards": [{"type": "regex", "pattern": "a" * 1001}]}, "method.rewards.0.pattern"),
        ({"rewards": [{"type": "json_schema", "definition": {"type": "strnig"}}]}, "method.rewards.0.definition"),
        ({"rewards": [{"type": "length", "min_length": 9, "max_length": 8}]}, "method.rewards.0"),
        ({"max_length": 64, "max_completion_length": 64}, "method"),
        ({"rewards": [{"type": "json_schema", "definition": "{}"}]}, "method.rewards.0.definition"),
        (
            {"rewards": [{"type": "json_schema", "definition": {"type": [*range(5000), *map(str, range(5000))]}}]},
            "method.rewards.0.definition",
        ),
        ({"rewards": [{"type": "json_schema", "definition": {"title": "x" * 70_000}}]}, "method.rewards.0.definition"),
        ({"rewards": [{"type": "json_schema", "definiton": {}}]}, "method.rewards.0.definiton"),
        ({"num_generations": 1}, "method.num_generations"),
        ({"temperature": 0}, "method.temperature"),
    ],
)
def test_what_cannot_work_is_refused_with_its_field(client, config, method, field):
    error = refusal(client, config | {"method": GRPO | method})
    assert error["param"] == field, error
    assert error["code"] in ("invalid_config", "unknown_field")


def test_rewards_are_required(client, config):
    error = refusal(client, config | {"method": {"type": "grpo"}})
    assert error["param"] == "method.rewards"


def test_the_answers_of_a_step_must_be_whole_groups(client, config):
    message = refusal(client, config | {"method": GRPO | {"num_generations": 6}})["message"]
    assert "must divide the answers of a step (4)" in message
    assert "set training.gradient_accumulation_steps to 3" in message
    training = config.get("training", {}) | {"gradient_accumulation_steps": 3}
    body = config | {"method": GRPO | {"num_generations": 6}, "training": training}
    assert client.post(JOBS, json=body).status_code == 201


def test_steps_that_train_the_same_answers_are_not_cut_short(client, config):
    training = config.get("training", {}) | {"max_steps": 5}
    message = refusal(client, config | {"method": GRPO | {"num_iterations": 2}, "training": training})["message"]
    assert "training.max_steps (5) must be a multiple of method.num_iterations (2)" in message
    assert "set it to 6" in message


@pytest.mark.parametrize("more", [{"tuning": "full"}, {"lora": {"init_lora_weights": "pissa"}}])
def test_a_divergence_needs_the_base_model_below_an_adapter(client, config, more):
    assert "method.beta above 0" in refusal(client, config | more | {"method": GRPO | {"beta": 0.1}})["message"]


def test_a_divergence_from_an_adapter_that_is_trained_further_is_refused(client, config, services):
    add_tuned_adapter(services, "org/here", r=4, lora_alpha=8, target_modules=["q_proj"])
    body = config | {"model": "model:mdl-1", "method": GRPO | {"beta": 0.1}}
    reply = client.post(JOBS, json=body)
    assert (reply.status_code, reply.json()["error"]["param"]) == (422, "method.beta")
    assert client.post(JOBS, json=body | {"method": GRPO}).status_code == 201


def test_rows_of_another_kind_are_refused(client, config):
    row = {"prompt": "One?", "chosen": "Two.", "rejected": "Three."}
    headers = {"x-filename": "pairs.jsonl"}
    pairs = client.post("/api/datasets", content=json.dumps(row), headers=headers).json()["id"]
    error = refusal(client, config | {"dataset": pairs, "method": GRPO})
    assert (error["code"], error["param"]) == ("dataset_kind_mismatch", "dataset")


def test_a_python_file_is_a_reward_only_where_the_settings_allow_it(client, config, settings, tmp_path):
    file = tmp_path / "rewards.py"
    file.write_text("def reward(completions, references):\n    return [1.0] * len(completions)\n")
    body = config | {"method": {"type": "grpo", "rewards": [{"type": "python_file", "path": str(file)}]}}
    error = refusal(client, body)
    assert (error["code"], error["param"]) == ("invalid_config", "method.rewards.0.path")
    assert "the setting reward_files lists the allowed files and folders" in error["message"]
    settings.__dict__["reward_files"] = (tmp_path,)
    job = client.post(JOBS, json=body).json()
    [reward] = job["resolved_config"]["method"]["rewards"]
    assert reward["sha256"] == hashlib.sha256(file.read_bytes()).hexdigest()
    assert (reward["function"], reward["timeout_s"]) == ("reward", 60.0)
    file.write_text(file.read_text().replace("1.0", "0.5"))
    again = client.post(JOBS, json=job["config"])  # as an exported config is submitted
    assert (again.status_code, again.json()["error"]["param"]) == (422, "method.rewards.0.path")


@pytest.mark.parametrize("path", ["rewards.py", "", "/srv/\n.py"])
def test_the_path_of_a_python_file_is_absolute(client, config, path):
    body = config | {"method": {"type": "grpo", "rewards": [{"type": "python_file", "path": path}]}}
    assert refusal(client, body)["param"] == "method.rewards.0.path"


def test_prompts_without_answers_are_trained_on_by_grpo_alone(client, config):
    rows = b'{"prompt": "Where?"}\n{"prompt": [{"role": "user", "content": "And when?"}]}\n'
    dataset = client.post("/api/datasets", content=rows, headers={"x-filename": "prompts.jsonl"}).json()
    assert (dataset["shape"], dataset["kind"], dataset["num_rows"]) == ("prompt", "prompts", 2)
    preview = client.get(f"/api/datasets/{dataset['id']}/preview").json()
    assert [row["problem"] for row in preview["rows"]] == [None, None]
    length = {"type": "grpo", "rewards": [{"type": "length", "max_length": 50}]}
    for method in ({"type": "sft"}, {"type": "dpo"}, {"type": "kto"}, {"type": "reward"}):
        error = refusal(client, config | {"dataset": dataset["id"], "method": method})
        assert error["code"] == "dataset_kind_mismatch"
        assert "has rows of the kind 'prompts'" in error["message"]
        assert "set method.type to 'grpo', which learns from prompts" in error["message"]
    for field in ("dataset", "eval_dataset"):
        body = config | {"method": GRPO, field: dataset["id"]}
        error = refusal(client, body)
        assert (error["code"], error["param"]) == ("dataset_kind_mismatch", field)
        assert error["message"].startswith(
            f"{field} has prompts without reference answers, and 'exact_match' in method.rewards compares with them."
        )
    assert client.post(JOBS, json=config | {"dataset": dataset["id"], "method": length}).status_code == 201
    path = f"/api/datasets/{dataset['id']}/check?model=org/tiny-model"
    checked = client.post(path)
    assert (checked.status_code, checked.json()["error"]["code"]) == (422, "dataset_kind_mismatch")
