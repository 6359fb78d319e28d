"""Documents that share a row learn what they would learn alone, and never see each other."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from transformers import AutoModelForCausalLM, PreTrainedModel

from ftlab.errors import InvalidRequestError
from tests.support.tiny_models import make_tiny_model
from tests.unit.train.ranks import Task, train
from tests.unit.train.runs import Job, Link
from train.data.tokens.encode import IGNORE
from train.loop.run_state import rng_sha256
from train.methods.collator import NUM_TOKENS, RowCollator, refuse_contamination

Document = tuple[list[int], list[int]]
"""Token ids and labels."""

PAD = 0
ARCHITECTURES = ("llama", "qwen3")
ATTENTIONS = ("sdpa", "eager")


@pytest.fixture(scope="module", params=ARCHITECTURES)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    architecture: Literal["llama", "qwen3"] = request.param
    return make_tiny_model(tmp_path_factory.mktemp(architecture), architecture=architecture)


@pytest.fixture(params=ATTENTIONS)
def model(folder: Path, request: pytest.FixtureRequest) -> PreTrainedModel:
    loaded: PreTrainedModel = AutoModelForCausalLM.from_pretrained(folder, attn_implementation=request.param)
    return loaded.train()


def document(length: int, seed: int) -> Document:
    """Its first half is a prompt."""
    ids = torch.randint(3, 500, (length,), generator=torch.Generator().manual_seed(seed)).tolist()
    return ids, [IGNORE] * (length // 2) + ids[length // 2 :]


def packed(*documents: Document) -> dict[str, list[int]]:
    return {
        "input_ids": [token for ids, _ in documents for token in ids],
        "labels": [label for _, labels in documents for label in [IGNORE, *labels[1:]]],
        "seq_lengths": [len(ids) for ids, _ in documents],
    }


def loss_sum(model: PreTrainedModel, batch: dict[str, Any]) -> torch.Tensor:
    """Over the learned tokens, from the logits themselves."""
    labels = batch.pop("labels")
    batch.pop(NUM_TOKENS, None)
    logits = model(**batch, use_cache=False).logits
    return torch.nn.functional.cross_entropy(
        logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten(), ignore_index=IGNORE, reduction="sum"
    )


def gradients(model: PreTrainedModel, *batches: dict[str, Any]) -> tuple[float, list[torch.Tensor]]:
    model.zero_grad()
    losses = [loss_sum(model, batch) for batch in batches]
    torch.stack(losses).sum().backward()
    return sum(loss.item() for loss in losses), [weight.grad.clone() for weight in model.parameters()]


def test_packed_rows_have_the_loss_and_the_gradients_of_the_same_rows_alone(model: PreTrainedModel):
    documents = [document(length, seed) for seed, length in enumerate((9, 1, 14, 30, 2, 25))]
    collator = RowCollator.for_model(model, PAD)
    rows = [packed(*documents[:3]), packed(*documents[3:5]), packed(documents[5])]
    alone = [{"input_ids": torch.tensor([ids]), "labels": torch.tensor([labels])} for ids, labels in documents]

    loss, found = gradients(model, collator(rows))
    expected_loss, expected = gradients(model, *alone)

    assert loss == pytest.approx(expected_loss, rel=1e-5)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_another_document_in_the_row_changes_nothing_at_all(model: PreTrainedModel):
    first, edited, second, third = document(9, 1), document(9, 2), document(14, 3), document(5, 4)
    collator = RowCollator.for_model(model, PAD)
    logits = []
    for row in (packed(first, second, third), packed(edited, second, third)):
        batch = collator([row, packed(third)])
        del batch["labels"], batch[NUM_TOKENS]
        logits.append(model(**batch, use_cache=False).logits)
    assert not torch.equal(logits[0][0, :9], logits[1][0, :9])
    assert torch.equal(logits[0][0, 9:], logits[1][0, 9:])
    assert torch.equal(logits[0][1], logits[1][1])


def test_without_positions_the_documents_would_mix(model: PreTrainedModel):
    """So the two tests above can fail."""
    second = document(14, 3)
    rows = [packed(document(9, seed), second) for seed in (1, 2)]
    logits = [model(input_ids=torch.tensor([row["input_ids"]])).logits[0, 9:] for row in rows]
    assert not torch.allclose(*logits, atol=1e-3)


def test_the_batch_of_packed_rows():
    batch = RowCollator(PAD, uses_flash_attention=False)(
        [packed(([1, 2, 3], [1, 2, 3]), ([4, 5], [4, 5])), packed(([6], [6]))]
    )
    assert batch["input_ids"].tolist() == [[1, 2, 3, 4, 5], [6, PAD, PAD, PAD, PAD]]
    assert batch["labels"].tolist() == [[IGNORE, 2, 3, IGNORE, 5], [IGNORE] * 5]
    assert batch["position_ids"].tolist() == [[0, 1, 2, 0, 1], [0, 0, 0, 0, 0]]
    assert batch[NUM_TOKENS].item() == 6
    assert "attention_mask" not in batch


def test_for_flash_attention_the_rows_are_one_with_its_boundaries():
    batch = RowCollator(PAD, uses_flash_attention=True)(
        [packed(([1, 2, 3], [1, 2, 3]), ([4, 5], [4, 5])), packed(([6, 7], [6, 7]))]
    )
    assert batch["input_ids"].tolist() == [[1, 2, 3, 4, 5, 6, 7]]
    assert batch["position_ids"].tolist() == [[0, 1, 2, 0, 1, 0, 1]]
    assert batch["labels"].tolist() == [[IGNORE, 2, 3, IGNORE, 5, IGNORE, 7]]
    assert batch["cu_seq_lens_q"].tolist() == batch["cu_seq_lens_k"].tolist() == [0, 3, 5, 7]
    assert batch[NUM_TOKENS].item() == 7


def test_rows_that_are_not_packed_are_padded_as_ever():
    rows = [{"input_ids": [1, 2, 3], "labels": [1, 2, 3]}, {"input_ids": [4], "labels": [4]}]
    batch = RowCollator(PAD, uses_flash_attention=False)(rows)
    assert batch["attention_mask"].tolist() == [[1, 1, 1], [1, 0, 0]]
    assert batch["labels"].tolist() == [[1, 2, 3], [4, IGNORE, IGNORE]]
    assert batch[NUM_TOKENS].item() == 4
    assert set(batch) == {"input_ids", "labels", "attention_mask", NUM_TOKENS}


def test_a_batch_without_rows_trains_nothing_and_counts_no_token():
    collator = RowCollator(PAD, uses_flash_attention=False)
    for row in ({"input_ids": [1, 2, 3], "labels": [1, 2, 3]}, packed(([1, 2, 3], [1, 2, 3]))):
        batch = collator.without_rows(row)
        assert batch["input_ids"].tolist() == [[1, 2]]
        assert batch["labels"].tolist() == [[IGNORE, IGNORE]]
        assert batch[NUM_TOKENS].item() == 0
        assert set(batch) == set(collator([row]))


def test_a_model_that_keeps_documents_apart_passes_and_stays_as_it_was(model: PreTrainedModel):
    before = rng_sha256()
    refuse_contamination(model, RowCollator.for_model(model, PAD))
    assert rng_sha256() == before
    assert model.training
    assert all(weight.grad is None for weight in model.parameters())


def test_a_model_whose_attention_does_not_is_refused(model: PreTrainedModel, monkeypatch: pytest.MonkeyPatch):
    forward = type(model).forward

    def without_positions(self: Any, *args: Any, position_ids: Any = None, **options: Any) -> Any:
        return forward(self, *args, **options)

    monkeypatch.setattr(type(model), "forward", without_positions)
    with pytest.raises(
        InvalidRequestError, match=r"does not separate documents that share a row\. Set method\.packing"
    ) as caught:
        refuse_contamination(model, RowCollator.for_model(model, PAD))
    assert (caught.value.code, caught.value.param) == ("packing_unsupported", "method.packing")
    assert model.training


PACKING = {"type": "sft", "max_length": 64, "packing": True}


def test_a_run_with_packing_trains_on_fewer_rows_and_counts_their_tokens(job: Job):
    plain, packing = Link(), Link()
    once = {"max_steps": None, "num_train_epochs": 1, "save_steps": 50}
    steps = job.train(plain, training=once).step
    job.folder = job.folder.with_name("packed")
    outcome = job.train(packing, training=once, method=PACKING)
    assert outcome.step < steps
    assert packing.series("num_tokens")[outcome.step] == plain.series("num_tokens")[steps]
    # Rows to evaluate on are not packed: both measure the same.
    assert packing.series("eval_loss")[0] == plain.series("eval_loss")[0]


def test_a_step_over_all_rows_is_the_same_packed_or_not(job: Job):
    """Through the whole trainer: the mean over the learned tokens, and the gradient."""
    plain, packing = Link(), Link()
    one_step = {"max_steps": 1, "per_device_train_batch_size": 16}
    job.train(plain, training=one_step)
    job.folder = job.folder.with_name("packed")
    job.train(packing, training=one_step, method=PACKING)
    for name in ("loss", "grad_norm", "num_tokens", "entropy", "mean_token_accuracy"):
        assert packing.series(name)[1] == pytest.approx(plain.series(name)[1], rel=1e-4), name


@pytest.mark.slow
def test_two_workers_prepare_once_and_agree_with_one(job: Job, tmp_path: Path):
    """16 rows packed into fewer; one step takes them all, whoever trains them."""
    training = {"max_steps": 1, "gradient_accumulation_steps": 4}
    alone = Link()
    job.train(alone, training=training | {"per_device_train_batch_size": 2}, method=PACKING)
    others = replace(job, folder=job.folder.with_name("two"), attempts=0)
    config = {"training": training | {"per_device_train_batch_size": 1}, "method": PACKING}
    shutil.rmtree(job.plan().cache_folder)
    [trained] = train(tmp_path / "ranks", [Task(others, {}, config)], workers=2)
    entries = [path for path in (others.plan().cache_folder / "prepared").iterdir() if path.is_dir()]
    assert len(entries) == 2, "the rows to train on, and those to evaluate on"
    for name in ("loss", "grad_norm", "num_tokens"):
        assert trained.link.series(name)[1] == pytest.approx(alone.series(name)[1], rel=1e-4), name
