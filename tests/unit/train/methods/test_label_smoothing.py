"""Label smoothing is torch's: one model at a time, and in whole runs."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn.functional import cross_entropy
from transformers import (
    AutoModelForCausalLM,
    Gemma2Config,
    Gemma2ForCausalLM,
    OPTConfig,
    OPTForCausalLM,
    PreTrainedModel,
    Trainer,
)
from trl.trainer.utils import add_fused_lm_head

from ftlab.errors import InvalidRequestError
from tests.unit.train.ranks import Task, train
from tests.unit.train.runs import Job, Link
from train.data.tokens.encode import IGNORE
from train.loop.label_smoothing import LabelSmoothing, smoothing_in_force
from train.loop.run_state import rng_sha256

FACTOR = 0.2
ONE_STEP = {"max_steps": 1, "save_steps": 1, "per_device_train_batch_size": 4}
SMOOTHED = {"type": "sft", "max_length": 64, "label_smoothing_factor": FACTOR}


@pytest.fixture
def model(models: Path) -> PreTrainedModel:
    loaded: PreTrainedModel = AutoModelForCausalLM.from_pretrained(models / "org--tiny", dtype=torch.float32)
    add_fused_lm_head(loaded)
    return loaded.train()


def loss_sum(model: PreTrainedModel, batch: dict[str, Any]) -> torch.Tensor:
    """The smoothed loss by torch, summed over the trained tokens."""
    labels = batch["labels"][:, 1:].flatten()
    inputs = {name: batch[name] for name in ("input_ids", "attention_mask", "position_ids") if name in batch}
    logits = model(**inputs, use_cache=False).logits[:, :-1].flatten(0, 1)
    return cross_entropy(logits, labels, ignore_index=IGNORE, label_smoothing=FACTOR, reduction="sum")


def test_loss_and_gradients_equal_those_of_torch(model: PreTrainedModel) -> None:
    before = rng_sha256()
    smoothing = LabelSmoothing(model, FACTOR)
    assert rng_sha256() == before
    assert smoothing_in_force(model) == FACTOR
    ids = torch.randint(3, 500, (3, 12), generator=torch.Generator().manual_seed(1))
    labels = ids.masked_fill(ids % 3 == 0, IGNORE)

    expected = loss_sum(model, {"input_ids": ids, "labels": labels})
    expected.backward()
    gradients = [weight.grad.clone() for weight in model.parameters()]
    model.zero_grad()
    outputs = model(input_ids=ids, labels=labels, use_cache=False, fused_lm_head=True)
    found = -outputs.log_probs.sum() + smoothing.excess(labels)
    found.backward()

    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    for weight, gradient in zip(model.parameters(), gradients, strict=True):
        torch.testing.assert_close(weight.grad, gradient, rtol=1e-4, atol=1e-5)


def test_a_batch_without_trained_tokens_adds_nothing(model: PreTrainedModel) -> None:
    smoothing = LabelSmoothing(model, FACTOR)
    ids = torch.arange(8)[None]
    model(input_ids=ids, use_cache=False)
    assert smoothing.excess(torch.full_like(ids, IGNORE)).item() == 0.0


def test_a_model_that_caps_its_logits_is_refused() -> None:
    shape = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "head_dim": 4, "vocab_size": 64}
    config = Gemma2Config(**shape, num_attention_heads=4, num_key_value_heads=4, final_logit_softcapping=1.0)
    capped = Gemma2ForCausalLM(config)
    with torch.no_grad():
        capped.get_input_embeddings().weight.mul_(100)
    with pytest.raises(InvalidRequestError, match=r"method\.label_smoothing_factor"):
        LabelSmoothing(capped, FACTOR)


def test_a_model_that_keeps_its_hidden_states_from_hooks_is_refused() -> None:
    shape = {"hidden_size": 16, "ffn_dim": 16, "num_hidden_layers": 1, "num_attention_heads": 4, "vocab_size": 64}
    with pytest.raises(InvalidRequestError, match=r"\(opt\) does not pass on its last hidden states"):
        LabelSmoothing(OPTForCausalLM(OPTConfig(**shape, word_embed_proj_dim=16)), FACTOR)


@pytest.mark.parametrize(
    "options",
    [
        pytest.param({}, id="one pass"),
        pytest.param(
            {"training": {"per_device_train_batch_size": 1, "gradient_accumulation_steps": 4}}, id="four passes"
        ),
        pytest.param({"tuning": "full"}, id="full"),
        pytest.param({"method": SMOOTHED | {"packing": True, "max_length": 48}}, id="packing"),
        pytest.param({"training": {"gradient_checkpointing": True}}, id="recomputed"),
    ],
)
def test_the_loss_of_a_run_is_the_mean_over_the_trained_tokens_of_its_step(
    job: Job, model: PreTrainedModel, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any]
) -> None:
    batches: list[dict[str, Any]] = []
    step = Trainer.training_step

    def training_step(self: Trainer, model: Any, inputs: dict[str, Any], *others: Any) -> torch.Tensor:
        batches.append(dict(inputs))
        return step(self, model, inputs, *others)

    monkeypatch.setattr(Trainer, "training_step", training_step)
    link = Link()
    training = ONE_STEP | options.get("training", {})
    job.train(link, **{"method": SMOOTHED} | options | {"training": training})
    with torch.no_grad():
        total = sum(loss_sum(model.eval(), batch).item() for batch in batches)
    num_trained = sum((batch["labels"][:, 1:] != IGNORE).sum().item() for batch in batches)
    assert link.series("loss")[1] == pytest.approx(total / num_trained, rel=1e-5)


@pytest.mark.slow
def test_two_workers_have_the_loss_of_one_and_eval_loss_stays_plain(job: Job, tmp_path: Path) -> None:
    twin, plain = (Job(tmp_path / name, job.models, job.rows, job.eval_rows) for name in ("twin", "plain"))
    single, unsmoothed = Link(), Link()
    job.train(single, training=ONE_STEP | {"max_steps": 2}, method=SMOOTHED)
    plain.train(unsmoothed, training=ONE_STEP | {"max_steps": 2})
    shared = ONE_STEP | {"max_steps": 2, "per_device_train_batch_size": 2}
    [trained] = train(tmp_path / "ranks", [Task(twin, config={"training": shared, "method": SMOOTHED})], workers=2)
    assert trained.link.series("loss") == pytest.approx(single.series("loss"), rel=1e-5)
    assert trained.link.series("eval_loss") == pytest.approx(single.series("eval_loss"), rel=1e-4)
    assert single.series("loss")[1] != unsmoothed.series("loss")[1]
    assert single.series("eval_loss")[0] == unsmoothed.series("eval_loss")[0]
