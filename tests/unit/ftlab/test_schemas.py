"""Wire types: strict in, lenient back, and a config that survives YAML and JSON."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from ftlab.errors import InvalidRequestError
from ftlab.schemas import Job, JobConfig, TrainingConfig
from ftlab.schemas.job_file import parse_job_config, read_yaml, write_yaml

MINIMAL = {"model": "org/name", "dataset": "ds-1"}

names = st.text(st.characters(exclude_categories=("Cs", "Cc", "Cf", "Zl", "Zp")), min_size=1, max_size=200)
counts = st.integers(1, 4096)
training = st.fixed_dictionaries(
    {},
    optional={
        "per_device_train_batch_size": counts,
        "num_train_epochs": st.floats(0, 1000, exclude_min=True),
        "learning_rate": st.none() | st.floats(0, 1, exclude_min=True),
        "lr_scheduler_type": st.sampled_from(["linear", "cosine", "constant"]),
        "weight_decay": st.floats(0, 10),
        "save_steps": st.integers(1, 10_000_000),
        "eval_steps": st.none() | st.integers(1, 1000),
        "bf16": st.booleans(),
        "seed": st.integers(0, 2**32 - 1),
    },
)
lora = st.fixed_dictionaries(
    {},
    optional={
        "r": st.integers(1, 1024),
        "lora_dropout": st.floats(0, 1, exclude_max=True),
        "target_modules": st.just("all-linear") | st.lists(names, min_size=1, max_size=3),
    },
)
configs = st.fixed_dictionaries(
    {
        "model": st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=50),
        "dataset": names.map(lambda name: name[:100]),
    },
    optional={
        "name": st.none() | names,
        "tuning": st.sampled_from(["lora", "full"]),
        "training": training,
        "lora": lora,
        "max_retries": st.integers(0, 100),
    },
)


@given(configs)
def test_a_valid_config_survives_json(document):
    config = JobConfig.model_validate(document)
    assert JobConfig.model_validate_json(config.model_dump_json()) == config


@given(configs)
def test_a_valid_config_survives_yaml(document):
    config = parse_job_config(document)
    assert parse_job_config(read_yaml(write_yaml(config.model_dump(mode="json", exclude_none=True)), "x")) == config


@given(
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers()
        | st.floats(allow_nan=False)
        | st.text(st.characters(exclude_categories=("Cs",))),
        lambda inner: st.lists(inner) | st.dictionaries(names, inner),
        max_leaves=8,
    )
)
def test_plain_data_survives_yaml(value):
    assert read_yaml(write_yaml(value), "x") == value


@pytest.mark.parametrize(
    ("section", "field", "low", "high"),
    [
        ("training", "learning_rate", 0, 1.1),
        ("training", "per_device_train_batch_size", 0, 4097),
        ("training", "num_train_epochs", 0, 1001),
        ("training", "seed", -1, 2**32),
        ("training", "save_steps", 0, 10_000_001),
        ("method", "max_length", 7, 1_048_577),
        ("lora", "r", 0, 1025),
        ("lora", "lora_dropout", -0.1, 1.0),
        ("resources", "num_workers", 0, 1025),
        ("resources", "gpus_per_worker", -1, 2),
        ("resources", "gpus_per_worker", 0.3, 0.75),
        (None, "priority", -1, 101),
        (None, "time_limit_s", 59, 31_536_001),
        (None, "stuck_timeout_s", 9, 31_536_001),
        (None, "first_step_timeout_s", 29, 31_536_001),
    ],
)
def test_bounds(section, field, low, high):
    for value in (low, high):
        with pytest.raises(ValidationError):
            JobConfig.model_validate(MINIMAL | ({section: {field: value}} if section else {field: value}))


@pytest.mark.parametrize("share", [0, 0.25, 0.5, 1, 1.0, None])
def test_a_worker_has_a_gpu_or_a_share_of_one(share):
    config = JobConfig.model_validate(MINIMAL | {"resources": {"gpus_per_worker": share}})
    assert config.resources.gpus_per_worker == share
    assert JobConfig.model_validate(config.model_dump(mode="json")) == config


@pytest.mark.parametrize("share", [True, "0.5"])
def test_a_share_is_a_number(share):
    with pytest.raises(ValidationError):
        JobConfig.model_validate(MINIMAL | {"resources": {"gpus_per_worker": share}})


def test_a_share_is_for_one_worker():
    JobConfig.model_validate(MINIMAL | {"resources": {"gpus_per_worker": 1, "num_workers": 2}})
    with pytest.raises(ValidationError, match=r"must be 0 or 1 when resources.num_workers is above 1"):
        JobConfig.model_validate(MINIMAL | {"resources": {"gpus_per_worker": 0.5, "num_workers": 2}})


@pytest.mark.parametrize("value", [True, "3", 3.5, None, float("nan"), float("inf")])
def test_whole_numbers_are_whole_numbers(value):
    with pytest.raises(ValidationError):
        JobConfig.model_validate(MINIMAL | {"max_retries": value})


@pytest.mark.parametrize(
    "document",
    [
        {"training": {"bf16": True, "fp16": True}},
        {"training": {"warmup_steps": 11, "max_steps": 10}},
        {"training": {"warmup_steps": 1, "warmup_ratio": 0.1}},
        {"training": {"dataloader_prefetch_factor": 2}},
        {"training": {"neftune_noise_alpha": 5.0}, "method": {"type": "dpo"}},
        {"training": {"sample_prompts": ["Hi"]}, "method": {"type": "reward"}},
        {"method": {"type": "dpo", "label_smoothing_factor": 0.1}},
        {"training": {"early_stopping_patience": 2}, "eval_dataset": "ds-2"},
        {"training": {"early_stopping_patience": 2, "eval_steps": 1}},
        {"training": {"early_stopping_threshold": 0.1, "eval_steps": 1}, "eval_dataset": "ds-2"},
        {"training": {"learning_rate": 1e-7, "lr_scheduler_type": "polynomial"}},
        {"tuning": "full", "load_in_4bit": True},
        {"tuning": "full", "load_in_8bit": True},
        {"load_in_4bit": True, "load_in_8bit": True},
        {"load_in_8bit": True, "lora": {"use_dora": True}},
        {"load_in_4bit": True, "lora": {"init_lora_weights": "pissa"}},
        {"load_in_8bit": True, "lora": {"init_lora_weights": "olora"}},
        {"lora": {"init_lora_weights": "pissa", "use_dora": True}},
        {"lora": {"init_lora_weights": "olora", "use_rslora": True}},
        {"lora": {"init_lora_weights": "pissa", "r": 513}},
        {"lora": {"init_lora_weights": "pissa", "lora_alpha": 4097}},
        {"lora": {"init_lora_weights": "eva"}},
        {"lora": {"init_lora_weights": "pissa_niter_0"}},
        {"lora": {"init_lora_weights": False}},
        {"lora": {"modules_to_save": []}},
        {"lora": {"modules_to_save": "lm_head"}},
        {"name": "a\nb"},
        {"name": ""},
        {"name": "x" * 201},
        {"model": ""},
        {"learning_rate": 1e-4},
    ],
)
def test_refused(document):
    with pytest.raises(ValidationError):
        JobConfig.model_validate(MINIMAL | document)


def test_rewards_that_all_count_for_nothing_are_refused():
    rewards = [{"type": "length", "max_length": 9, "weight": weight} for weight in (0, 0)]
    method = {"type": "grpo", "rewards": rewards}
    with pytest.raises(ValidationError, match="all have the weight 0"):
        JobConfig.model_validate(MINIMAL | {"method": method})
    rewards[1] |= {"weight": -1}
    JobConfig.model_validate(MINIMAL | {"method": method})


DIVIDED = {"resources": {"num_workers": 2, "sharding": "fsdp"}}


@pytest.mark.parametrize(
    ("document", "remedy"),
    [
        ({"method": {"type": "kto"}}, "method 'kto': use one of 'sft', 'dpo', 'reward'"),
        ({"method": {"type": "dpo"}, "tuning": "full"}, "tuning 'full' and method 'dpo', .*: use tuning 'lora'"),
        ({"load_in_4bit": True}, "load_in_4bit: quantised weights cannot be divided; leave it out"),
        ({"training": {"optim": "adafactor"}}, "training.optim 'adafactor': use one of 'adamw_torch', .*'sgd'"),
        ({"training": {"fp16": True}}, "training.fp16: use training.bf16, or no mixed precision"),
        ({"training": {"sample_prompts": ["Hi"]}}, "training.sample_prompts: one worker answers them"),
    ],
)
def test_weights_that_cannot_be_divided_are_refused_with_the_remedy(document, remedy):
    with pytest.raises(ValidationError, match=f"resources.sharding 'fsdp' cannot be combined with {remedy}"):
        JobConfig.model_validate(MINIMAL | document | DIVIDED)
    for whole in ({"num_workers": 2}, {"num_workers": 2, "sharding": "none"}, {"sharding": "fsdp"}):
        JobConfig.model_validate(MINIMAL | document | {"resources": whole})


def test_learning_rate_defaults_by_tuning():
    assert JobConfig.model_validate(MINIMAL).learning_rate == 2e-4
    assert JobConfig.model_validate(MINIMAL | {"tuning": "full"}).learning_rate == 2e-5


def test_a_config_is_frozen():
    with pytest.raises(ValidationError):
        JobConfig.model_validate(MINIMAL).model = "other/name"


def test_replies_keep_what_a_later_service_adds():
    reply = {
        "id": "j",
        "owner": "o",
        "name": "n",
        "status": "running",
        "message": "m",
        "config": {},
        "created_at": "2026-01-01T00:00:00Z",
    }
    job = Job.model_validate_json(json.dumps(reply | {"carbon_g": 3, "step": 5, "total_steps": 10}))
    assert job.model_dump()["carbon_g"] == 3
    assert job.progress == 0.5


@pytest.mark.parametrize(
    ("fields", "learning_rate"),
    [({}, 2e-4), ({"tuning": "full"}, 2e-5), ({"training": {"learning_rate": 0.5}}, 0.5)],
)
def test_a_resolved_config_differs_in_its_defaults_only(fields, learning_rate):
    given = JobConfig.model_validate(MINIMAL | fields)
    resolved = given.resolved()
    assert resolved.training.learning_rate == resolved.learning_rate == given.learning_rate == learning_rate
    filled_in = given.training.model_copy(update={"learning_rate": learning_rate})
    assert resolved == given.model_copy(update={"training": filled_in}) == resolved.resolved()


@pytest.mark.parametrize(
    ("build", "message", "field"),
    [
        (
            lambda: TrainingConfig(learning_rate=5),
            "TrainingConfig: learning_rate must be at most 1.0, not 5.",
            "learning_rate",
        ),
        (lambda: TrainingConfig(learning_rte=1e-4), "Did you mean 'learning_rate'?", "learning_rte"),
        (lambda: JobConfig(model="org/name"), "JobConfig: dataset is required.", "dataset"),
        (lambda: JobConfig(model="m", dataset="d", load_in_4bit=True, tuning="full"), "4-bit weights cannot", None),
    ],
)
def test_a_model_built_in_python_raises_an_error_of_this_package(build, message, field):
    with pytest.raises(InvalidRequestError) as caught:
        build()
    assert message in caught.value.message
    assert (caught.value.code, caught.value.param) == ("invalid_config", field)
    assert "pydantic" not in caught.value.message


def test_auto_is_the_same_as_no_target_modules():
    lora = JobConfig.model_validate(MINIMAL | {"lora": {"target_modules": "auto", "r": 8}}).lora
    assert lora.target_modules == "all-linear"
    assert lora.model_fields_set == {"r"}


@pytest.mark.parametrize("init", [True, "pissa", "pissa_niter_16", "olora"])
def test_ways_to_begin_an_adapter(init):
    lora = JobConfig.model_validate(
        MINIMAL | {"lora": {"init_lora_weights": init, "modules_to_save": ["lm_head"]}}
    ).lora
    assert (lora.init_lora_weights, lora.is_cut_from_base) == (init, init is not True)
