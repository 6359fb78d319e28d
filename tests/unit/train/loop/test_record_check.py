"""What a job's record says is compared with what its trainer does."""

import json
import shutil
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import train.methods.trainer_inputs
import train.run
from tests.unit.train.runs import Job, Link
from train.loop.exact_resume import ExactResume
from train.loop.record_check import RECORD_DIFFERS

ONE_STEP = {"max_steps": 1, "save_steps": 1}


class NoticeLink(Link):
    """Keeps notices of differences, which are an error in every other test."""

    def emit(self, payload: Any) -> None:
        if getattr(payload, "code", "") == RECORD_DIFFERS:
            self.found = payload.message
        else:
            super().emit(payload)

    found = ""


@pytest.mark.parametrize(
    "config",
    [
        {"training": {"optim": "adamw_torch_fused", "weight_decay": 0.1, "warmup_steps": 1, "bf16": True}},
        {"training": {"optim": "adafactor", "lr_scheduler_type": "polynomial", "max_grad_norm": 0.0}},
        {"training": {"lr_scheduler_type": "polynomial", "warmup_steps": 1}},
        {"training": {"optim": "sgd", "lr_scheduler_type": "constant_with_warmup", "gradient_checkpointing": True}},
        {"training": {"adam_beta1": 0.8, "adam_beta2": 0.95, "adam_epsilon": 1e-6, "warmup_ratio": 0.3}},
        {"training": {"neftune_noise_alpha": 5.0}, "method": {"max_length": 64, "label_smoothing_factor": 0.1}},
        {"training": {"dataloader_num_workers": 1, "dataloader_prefetch_factor": 3}},
        {"training": {"dtype": "bfloat16", "gradient_accumulation_steps": 2}},
        {"training": {"max_steps": None, "num_train_epochs": 0.25, "learning_rate": None}},
        {"tuning": "full", "training": {"weight_decay": 0.1, "eval_steps": 1}},
        {"tuning": "full", "training": {"dtype": "bfloat16"}},
        {"tuning": "full", "training": {"optim": "adamw_8bit", "adam_beta2": 0.95}},
        {
            "lora": {
                "r": 2,
                "lora_dropout": 0.1,
                "use_rslora": True,
                "target_modules": ["q_proj", "layers.0.mlp.up_proj"],
            }
        },
        {"lora": {"use_dora": True, "target_modules": ["v_proj", "k_proj"]}},
        {"method": {"packing": True, "max_length": 48}},
        {"load_in_4bit": True},
        {"load_in_8bit": True},
        {"lora": {"modules_to_save": ["model.norm", "up_proj"], "lora_alpha": 4}},
        {"lora": {"target_modules": "auto"}},
    ],
    ids=str,
)
def test_a_run_does_what_its_record_says(job: Job, config: dict[str, Any]) -> None:
    options = {**config, "training": ONE_STEP | config.get("training", {})}
    job.train(**options)
    recorded = job.plan(**options).config
    if recorded.tuning == "lora":
        delivered = json.loads((job.folder / "model" / "adapter_config.json").read_text())
        same = ("r", "lora_alpha", "lora_dropout", "use_rslora", "use_dora")
        assert {name: delivered[name] for name in same} == recorded.lora.model_dump(include=set(same))


TRAININGS = st.fixed_dictionaries(
    {
        "per_device_train_batch_size": st.integers(1, 3),
        "gradient_accumulation_steps": st.integers(1, 2),
        "learning_rate": st.none() | st.floats(1e-5, 0.01),
        "lr_scheduler_type": st.sampled_from(["linear", "cosine", "constant", "constant_with_warmup", "polynomial"]),
        "warmup_ratio": st.floats(0, 1),
        "weight_decay": st.floats(0, 1),
        "max_grad_norm": st.floats(0, 10),
        "optim": st.sampled_from(["adamw_torch", "adamw_torch_fused", "adafactor", "sgd"]),
        "gradient_checkpointing": st.booleans(),
        "dtype": st.sampled_from(["auto", "float32", "bfloat16"]),
        "bf16": st.booleans(),
        "seed": st.integers(0, 2**32 - 1),
    }
)
ADAPTERS = st.fixed_dictionaries(
    {
        "r": st.integers(1, 8),
        "lora_alpha": st.integers(1, 32),
        "lora_dropout": st.floats(0, 0.5),
        "use_rslora": st.booleans(),
        "use_dora": st.booleans(),
        "target_modules": st.just("all-linear")
        | st.lists(st.sampled_from(["q_proj", "v_proj", "down_proj", "layers.0.mlp.up_proj"]), min_size=1, unique=True),
    }
)


def test_a_run_does_what_any_record_says(job: Job) -> None:
    @settings(max_examples=8, deadline=None)
    @given(TRAININGS, ADAPTERS, st.sampled_from(["lora", "full"]), st.booleans())
    def check(training: dict[str, Any], lora: dict[str, Any], tuning: str, packing: bool) -> None:
        shutil.rmtree(job.folder, ignore_errors=True)
        fresh = Job(job.folder, job.models, job.rows)
        method = {"type": "sft", "max_length": 64, "packing": packing}
        fresh.train(training=ONE_STEP | training, lora=lora, tuning=tuning, method=method)

    check()


def halve_rate(trainer: ExactResume) -> None:
    trainer.args.learning_rate /= 2


def decay(trainer: ExactResume) -> None:
    trainer.args.weight_decay = 0.5


def other_betas(trainer: ExactResume) -> None:
    trainer.args.adam_beta2 = 0.5


def no_warmup(trainer: ExactResume) -> None:
    trainer.args.warmup_steps = 0


def other_optimizer(trainer: ExactResume) -> None:
    trainer.create_optimizer()
    trainer.optimizer = torch.optim.SGD(trainer.optimizer.param_groups, lr=0.01)


def silence(trainer: ExactResume) -> None:
    trainer.neftune_noise_alpha = None


def freeze(trainer: ExactResume) -> None:
    next(weight for weight in trainer.model.parameters() if weight.requires_grad).requires_grad_(False)


def train_a_base_weight(trainer: ExactResume) -> None:
    trainer.model.get_base_model().get_input_embeddings().weight.requires_grad_(True)


def cast(trainer: ExactResume) -> None:
    trainer.model.get_base_model().get_input_embeddings().half()


@pytest.mark.parametrize(
    ("change", "clause"),
    [
        (halve_rate, "training.learning_rate is 0.005 instead of 0.01"),
        (decay, "training.weight_decay is 0.5 instead of 0.0"),
        (other_betas, "training.adam_beta2 is 0.5 instead of 0.999"),
        (no_warmup, "training.warmup_ratio (in steps) is 0 instead of 1"),
        (other_optimizer, "training.optim is 'sgd' instead of 'adamw_torch'"),
        (silence, "training.neftune_noise_alpha is None instead of 5.0"),
        (freeze, "tuning is '27 of 28 weights and 0 others' instead of 'lora'"),
        (train_a_base_weight, "tuning is '28 of 28 weights and 1 others' instead of 'lora'"),
        (cast, "training.dtype is 'float16 and float32' instead of 'float32'"),
    ],
)
def test_a_trainer_that_does_something_else_is_reported(
    job: Job, monkeypatch: pytest.MonkeyPatch, change: Callable[[ExactResume], None], clause: str
) -> None:
    make = train.run.make_trainer

    def made(inputs: Any) -> ExactResume:
        trainer = make(inputs)
        change(trainer)
        return trainer

    monkeypatch.setattr(train.run, "make_trainer", made)
    link = NoticeLink()
    job.train(
        link,
        training=ONE_STEP | {"dtype": "float32", "warmup_ratio": 0.5, "neftune_noise_alpha": 5.0},
        eval_dataset=None,
    )
    assert clause in link.found
    assert link.found.count("instead of") == 1


@pytest.mark.parametrize(
    ("recorded", "clauses"),
    [
        ({"r": 4}, ["lora.r is 2 instead of 4"]),
        ({"target_modules": ["q_proj", "v_proj"]}, ["lora.target_modules is ['model.layers.0.", "lora.r is 2"]),
        ({"modules_to_save": ["model.norm"]}, ["lora.modules_to_save is [] instead of ['model.norm']"]),
        ({"init_lora_weights": "pissa"}, ["lora.init_lora_weights is True instead of 'pissa'"]),
        ({"use_dora": True, "lora_alpha": 9}, ["lora.use_dora is False", "lora.lora_alpha is 8 instead of 9"]),
    ],
)
def test_an_adapter_that_is_not_the_recorded_one_is_reported(
    job: Job, monkeypatch: pytest.MonkeyPatch, recorded: dict[str, Any], clauses: list[str]
) -> None:
    made = train.methods.trainer_inputs.lora_config(job.plan(lora={"r": 2, "lora_alpha": 8}).config)
    monkeypatch.setattr(train.methods.trainer_inputs, "lora_config", lambda _: made)
    link = NoticeLink()
    job.train(link, training=ONE_STEP, lora=recorded)
    for clause in clauses:
        assert clause in link.found
