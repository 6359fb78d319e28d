"""Every kind of adapter: trained as PEFT and TRL train it, resumed bit for bit, and delivered as it was trained."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from peft import LoraConfig as PeftLoraConfig
from peft import PeftModel, get_peft_model, get_peft_model_state_dict
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, BitsAndBytesConfig, set_seed
from trl import SFTConfig, SFTTrainer

from ftlab.errors import InvalidRequestError
from ftlab.schemas.lora import LoraConfig
from tests.support.tiny_models import make_tiny_model
from tests.unit.train.ranks import Task, train
from tests.unit.train.runs import QUESTIONS, TRAINING, CrashError, Job, Link, Trained
from train.delivery import FLOAT32_TOLERANCE, LOW_PRECISION_TOLERANCE
from train.model.adapter_files import check_adapter
from train.model.base_model import find_model
from train.model.folder import facts_of
from train.model.load import load_model
from train.model.preflight import adapter_settings

LORA: dict[str, Any] = {"r": 4, "lora_alpha": 8}
WHOLE: dict[str, Any] = {"modules_to_save": ["embed_tokens", "lm_head", "model.norm"]}
KINDS = [
    pytest.param({"lora": LORA | {"use_rslora": True}}, id="rslora"),
    pytest.param({"lora": LORA | {"use_dora": True}}, id="dora"),
    pytest.param({"load_in_8bit": True}, id="8-bit"),
    pytest.param({"lora": LORA | WHOLE}, id="whole modules"),
    pytest.param({"lora": LORA | WHOLE | {"use_dora": True}}, id="whole modules dora"),
    pytest.param({"load_in_4bit": True, "lora": LORA | WHOLE}, id="whole modules 4-bit"),
    pytest.param({"lora": LORA | {"init_lora_weights": "pissa", "lora_dropout": 0.2}}, id="pissa"),
    pytest.param({"lora": LORA | {"init_lora_weights": "pissa_niter_4"}}, id="fast pissa"),
    pytest.param({"lora": LORA | {"init_lora_weights": "olora"}}, id="olora"),
    pytest.param({"lora": LORA | WHOLE | {"init_lora_weights": "pissa"}}, id="whole modules pissa"),
]
KINDS_OF_16_BITS = [
    pytest.param({"lora": LORA | WHOLE, "training": {"dtype": "bfloat16"}}, id="whole modules bfloat16"),
    pytest.param({"lora": LORA | WHOLE, "training": {"dtype": "bfloat16", "bf16": True}}, id="whole modules autocast"),
]


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base model whose output layer has weights of its own."""
    folder = tmp_path_factory.mktemp("models")
    make_tiny_model(folder / "org--tiny", scale=3.0, tied=False)
    return folder


@pytest.fixture
def whole(config: dict[str, Any], train_once: Callable[..., Trained]) -> Trained:
    """A job of the config that was trained without interruption."""
    return train_once(**config)


@pytest.mark.parametrize("config", KINDS + KINDS_OF_16_BITS)
def test_the_delivered_files_have_the_loss_that_was_measured(whole: Trained, config: dict[str, Any]):
    link, outcome = whole.link, whole.outcome
    for code in ("final_eval_differs", "final_eval_failed", "final_eval_skipped"):
        assert link.notices(code) == []
    assert outcome.delivered_step is not None
    measured, [final] = link.series("eval_loss"), link.series("final_eval_loss").values()
    is_rounded = whole.job.plan(**config).config.quantised_by is not None or "training" in config
    tolerance = LOW_PRECISION_TOLERANCE if is_rounded else FLOAT32_TOLERANCE
    assert final == pytest.approx(measured[outcome.delivered_step], rel=tolerance, abs=tolerance)
    assert measured[0] > final + 0.1, "the base model alone would differ"


@pytest.mark.parametrize("config", KINDS + KINDS_OF_16_BITS)
def test_a_run_that_was_interrupted_ends_bit_for_bit_as_one_that_was_not(
    job: Job, whole: Trained, config: dict[str, Any]
):
    crashed, resumed = Link(crash_at=5), Link()
    with pytest.raises(CrashError):
        job.train(crashed, **config)
    job.train(resumed, **config)
    assert resumed.notices("resuming") == ["Resuming from step 3."]
    assert crashed.series("loss") | resumed.series("loss") == whole.link.series("loss")
    assert resumed.series("eval_loss")[8] == whole.link.series("eval_loss")[8]
    assert job.weights_sha256 == whole.job.weights_sha256


@pytest.mark.parametrize("options", [{"dtype": "bfloat16"}, {"dtype": "bfloat16", "bf16": True}])
def test_small_updates_of_whole_modules_are_not_lost_in_the_rounding_of_the_base_model(job: Job, options: dict):
    job.train(lora=LORA | WHOLE, training=options | {"learning_rate": 1e-6})
    base, tuned = load_file(job.models / "org--tiny" / "model.safetensors"), adapter_weights(job)
    for name in ("lm_head.weight", "model.norm.weight"):
        changed = tuned[f"base_model.model.{name}"] != base[name].bfloat16().float()
        assert changed.float().mean() > 0.9, "bfloat16 would have lost all of them"


def test_a_continued_adapter_keeps_its_whole_modules_to_the_last_bit(job: Job):
    config = {"lora": LORA | WHOLE, "training": {"dtype": "bfloat16"}}
    job.train(**config)
    base = find_model(str(job.folder / "model"), job.models)
    model = load_model(base, job.plan(**config).config, use_cuda=False)
    state = get_peft_model_state_dict(model)
    assert all(torch.equal(state[name], weight) for name, weight in adapter_weights(job).items())


def adapter_weights(job: Job) -> dict[str, torch.Tensor]:
    return load_file(job.folder / "model" / "adapter_model.safetensors")


def plain_trl(job: Job, config: dict[str, Any], adapter: Path | None = None) -> dict[int, float]:
    """The losses of TRL's own trainer with PEFT's own settings, or with an adapter to continue, on the same rows."""
    options: dict[str, Any] = {"dtype": torch.float32}
    if bits := [name for name in config if name.startswith("load_in_")]:
        options["quantization_config"] = BitsAndBytesConfig(
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=torch.bfloat16,
            **dict.fromkeys(bits, True),
        )
        options["device_map"] = {"": "cpu"}
    rows = [
        {"role": "user", "content": QUESTIONS[number % len(QUESTIONS)]}
        | {"answer": {"role": "assistant", "content": f"Answer {number}."}}
        for number in range(16)
    ]
    messages = [[{"role": row["role"], "content": row["content"]}, row["answer"]] for row in rows]
    torch.set_num_threads(1)
    set_seed(TRAINING["seed"])
    model = AutoModelForCausalLM.from_pretrained(job.models / "org--tiny", **options)
    new = PeftLoraConfig(task_type="CAUSAL_LM", target_modules="all-linear", **config.get("lora", LORA))
    trainer = SFTTrainer(
        PeftModel.from_pretrained(model, adapter, is_trainable=True) if adapter else model,
        args=SFTConfig(
            **TRAINING,
            output_dir=str(job.folder / "plain"),
            lr_scheduler_type="cosine",
            logging_steps=1,
            max_length=64,
            bf16=False,
            gradient_checkpointing=False,
            use_cpu=True,
            report_to="none",
        ),
        train_dataset=Dataset.from_list([{"messages": row} for row in messages]),
        peft_config=None if adapter else new,
    )
    trainer.train()
    return {entry["step"]: entry["loss"] for entry in trainer.state.log_history if "loss" in entry}


@pytest.mark.parametrize("config", KINDS)
def test_a_job_trains_as_peft_and_trl_do(job: Job, config: dict[str, Any]):
    method = {"type": "sft", "max_length": 64, "assistant_only_loss": False}
    link = Link()
    job.train(link, **config, method=method)
    ours, plain = link.series("loss"), plain_trl(job, config)
    # TRL trains what is beside quantised weights in bfloat16. The fast decomposition draws random numbers.
    is_exact = job.plan(**config).config.quantised_by is None and "niter" not in str(config)
    assert ours == pytest.approx(plain, rel=1e-4 if is_exact else 5e-2)
    assert ours[1] == pytest.approx(plain[1], rel=1e-4 if is_exact else 5e-3)


@pytest.mark.parametrize(
    "lora",
    [
        {"r": 3, "lora_alpha": 5, "target_modules": ["q_proj", "down_proj"]},
        {"r": 2, "lora_alpha": 8, "target_modules": ["q_proj"], "use_rslora": True, "use_dora": True},
        {"r": 2, "lora_alpha": 8, "target_modules": ["q_proj"], "modules_to_save": ["lm_head"]},
    ],
    ids=["two layers", "rslora dora", "whole module"],
)
def test_an_adapter_of_plain_peft_is_continued_as_trl_does(job: Job, tmp_path: Path, lora: dict[str, Any]):
    adapter = tmp_path / "plain-adapter"
    base = AutoModelForCausalLM.from_pretrained(job.models / "org--tiny", dtype=torch.float32)
    model = get_peft_model(base, PeftLoraConfig(task_type="CAUSAL_LM", **lora))
    set_seed(1)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if ".lora_B." in name:
                weight.normal_(std=0.2)
    model.save_pretrained(adapter)
    named = json.loads((adapter / "adapter_config.json").read_text()) | {"base_model_name_or_path": "org/tiny"}
    (adapter / "adapter_config.json").write_text(json.dumps(named))
    settings = adapter_settings(adapter)
    assert settings is not None
    check_adapter(adapter, facts_of(job.models / "org--tiny"))

    link, steps = Link(), {"max_steps": 2, "save_steps": 2}
    job.model = str(adapter)
    method = {"type": "sft", "max_length": 64, "assistant_only_loss": False}
    outcome = job.train(link, lora=settings.model_dump(), method=method, training=steps)
    plain = plain_trl(job, {}, adapter)
    assert link.series("loss")[1] == pytest.approx(plain[1], rel=1e-6)
    assert outcome.base_model == "org/tiny"
    delivered = json.loads((job.folder / "model" / "adapter_config.json").read_text())
    assert (delivered["base_model_name_or_path"], delivered["r"]) == ("org/tiny", lora["r"])
    assert "base_model: org/tiny" in (job.folder / "model" / "README.md").read_text()


@pytest.mark.parametrize("config", KINDS)
def test_a_job_continues_the_adapter_with_its_own_settings(job: Job, whole: Trained, config: dict[str, Any]):
    adapter = whole.job.folder / "model"
    settings = adapter_settings(adapter)
    assert settings is not None
    follower, after = replace(job, model=str(adapter)), Link()
    quantised = {name: value for name, value in config.items() if name.startswith("load_in_")}
    follower.train(after, **quantised, lora=settings.model_dump(), training={"max_steps": 1})
    assert after.notices("final_eval_differs") == []
    tolerance = LOW_PRECISION_TOLERANCE if quantised else FLOAT32_TOLERANCE
    [delivered] = whole.link.series("final_eval_loss").values()
    assert after.series("eval_loss")[0] == pytest.approx(delivered, rel=tolerance)


@pytest.mark.parametrize("init", ["pissa", "olora"])
def test_an_adapter_that_was_cut_from_the_base_is_delivered_for_the_whole_base(job: Job, init: str):
    """As a plain adapter of twice the rank; the second half takes out what the first began with."""
    job.train(lora=LORA | {"init_lora_weights": init})
    assert adapter_settings(job.folder / "model") == LoraConfig(
        r=8, lora_alpha=16, target_modules=adapter_settings(job.folder / "model").target_modules
    )
    base = AutoModelForCausalLM.from_pretrained(job.models / "org--tiny")
    names = [name for name, _ in base.named_parameters()]
    loaded = PeftModel.from_pretrained(base, job.folder / "model").merge_and_unload()
    assert [name for name, _ in loaded.named_parameters()] == names


def test_whole_modules_are_trained_delivered_and_merged(job: Job):
    job.train(lora=LORA | WHOLE)
    stored = load_file(job.folder / "model" / "adapter_model.safetensors")
    base = load_file(job.models / "org--tiny" / "model.safetensors")
    for name in ("model.embed_tokens.weight", "lm_head.weight", "model.norm.weight"):
        assert not torch.equal(stored[f"base_model.model.{name}"], base[name])
    assert not [name for name in stored if "lm_head.lora" in name or "embed_tokens.lora" in name]
    model = job.folder / "model"
    merged = load_model(find_model(str(model), job.models), job.plan(tuning="full").config, use_cuda=False)
    assert torch.equal(merged.get_output_embeddings().weight, stored["base_model.model.lm_head.weight"])


def test_whole_modules_of_quantised_models_begin_as_they_are_in_the_base(job: Job):
    """TRL casts them to bfloat16."""
    first = Link()
    job.train(first, load_in_4bit=True, lora=LORA | WHOLE, training={"max_steps": 1})
    plain = Link()
    Job(job.folder.with_name("other"), job.models, job.rows, job.eval_rows).train(
        plain, load_in_4bit=True, training={"max_steps": 1}
    )
    assert first.series("eval_loss")[0] == plain.series("eval_loss")[0]


@pytest.mark.slow
@pytest.mark.parametrize(
    "lora",
    [
        pytest.param({"init_lora_weights": "pissa"}, id="pissa"),
        pytest.param(WHOLE, id="whole modules", marks=pytest.mark.slow),
    ],
)
def test_two_workers_deliver_what_they_trained(job: Job, tmp_path: Path, lora: dict[str, Any]):
    config = {"training": {"max_steps": 3}, "lora": LORA | lora}
    [trained] = train(tmp_path / "ranks", [Task(job, {}, config)], workers=2)
    assert trained.link.notices("final_eval_differs") == []
    [delivered] = trained.link.series("final_eval_loss").values()
    assert delivered == pytest.approx(trained.link.series("eval_loss")[3], rel=FLOAT32_TOLERANCE)


def test_a_rank_that_a_layer_does_not_have_is_refused(job: Job):
    """The rows of the key projection are the smallest number in the model."""
    with pytest.raises(InvalidRequestError, match=r"k_proj has 32 rows .* at most 32") as caught:
        job.train(lora={"r": 40, "init_lora_weights": "pissa"})
    assert (caught.value.code, caught.value.param) == ("invalid_config", "lora.r")


def test_only_linear_layers_can_be_cut(job: Job):
    with pytest.raises(InvalidRequestError, match=r"linear layers only, and model.embed_tokens") as caught:
        job.train(lora=LORA | {"target_modules": ["q_proj", "embed_tokens"], "init_lora_weights": "olora"})
    assert caught.value.param == "lora.init_lora_weights"


def test_an_adapter_that_needs_a_changed_base_is_not_continued(job: Job):
    job.train()
    file = job.folder / "model" / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"init_lora_weights": "pissa"}))
    with pytest.raises(InvalidRequestError, match="changes the base model") as caught:
        adapter_settings(job.folder / "model")
    assert caught.value.code == "model_invalid"
