"""Direct preference optimisation: it is what TRL does, with one model in memory."""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from peft import LoraConfig, PeftModel
from safetensors import safe_open
from transformers import AutoTokenizer
from trl import DPOConfig, DPOTrainer
from trl.trainer.dpo_trainer import DataCollatorForPreference

from ftlab.schemas import DpoMethod, JobConfig
from ftlab.schemas.job_file import short_document
from tests.support.tiny_models import make_tiny_model
from tests.unit.train.methods.plain_trl import arguments, assert_close, base_model, begin, conversations, series_of
from tests.unit.train.ranks import UNEVEN, assert_same_numbers, two_and_one
from tests.unit.train.runs import Job, Link, write_pairs, write_rows
from train.data.rows.canonical import Kind, write_canonical
from train.data.rows.errors import DatasetInvalidError
from train.methods.dpo import PairCollator, pair_losses

DPO: dict[str, Any] = {"type": "dpo", "max_length": 64, "beta": 0.1}
STEPS = {"max_steps": 6, "num_train_epochs": 2.0, "learning_rate": 0.002}
EVALUATED = ("eval_loss", "eval_rewards/margins", "eval_rewards/accuracies", "eval_logps/chosen", "eval_entropy")


@pytest.fixture
def pairs(job: Job, tmp_path: Path) -> Job:
    job.rows, job.eval_rows = write_pairs(tmp_path / "pairs.arrow", 11), write_pairs(tmp_path / "e.arrow", 5, offset=4)
    return job


def plain_trl(
    job: Job,
    model: Any,
    *,
    tuning: str = "lora",
    adapted: bool = False,
    whole: Sequence[str] | None = None,
    ahead: bool = False,
    **method: Any,
) -> dict[int, float]:
    """The loss series of the script that a user of TRL writes."""
    folder = job.models / "org--tiny"
    begin()
    trainer = DPOTrainer(
        model=model,
        args=DPOConfig(
            **arguments(job, STEPS),
            precompute_ref_log_probs=ahead,
            **{"beta": DPO["beta"], "max_length": DPO["max_length"]} | method,
        ),
        train_dataset=Dataset.from_list(conversations(Path(str(job.rows)), ("prompt", "chosen", "rejected"))),
        processing_class=AutoTokenizer.from_pretrained(folder),
        peft_config=LoraConfig(
            task_type="CAUSAL_LM", r=4, lora_alpha=8, target_modules="all-linear", modules_to_save=whole
        )
        if tuning == "lora" and not adapted
        else None,
    )
    trainer.train()
    return series_of(trainer)["loss"]


@pytest.mark.parametrize(
    "loss",
    [
        {"loss_type": "sigmoid"},
        {"loss_type": "hinge"},
        {"loss_type": "ipo"},
        {"loss_type": "robust", "label_smoothing": 0.2},
    ],
    ids=lambda loss: loss["loss_type"],
)
def test_the_loss_series_is_that_of_plain_trl(pairs: Job, loss: dict[str, Any]) -> None:
    link = Link()
    pairs.train(link, training=STEPS, method=DPO | loss)
    assert_close(link.series("loss"), plain_trl(pairs, base_model(pairs), **loss))
    assert not link.notices("final_eval_differs")
    assert link.series("final_eval_loss")


def test_a_head_that_is_trained_as_a_whole_is_not_in_the_reference(pairs: Job, tmp_path: Path) -> None:
    pairs.models = tmp_path / "models"
    make_tiny_model(pairs.models / "org--tiny", tied=False)
    along = Link()
    lora = {"r": 4, "lora_alpha": 8, "modules_to_save": ["lm_head"]}
    pairs.train(along, training=STEPS, method=DPO, lora=lora)
    assert_close(along.series("loss"), plain_trl(pairs, base_model(pairs), whole=["lm_head"]))
    assert_close(along.series("loss"), plain_trl(pairs, base_model(pairs), whole=["lm_head"], ahead=True), 1e-5)


@pytest.mark.parametrize("method", [DPO, {"type": "reward", "max_length": 64}], ids=["dpo", "reward"])
@pytest.mark.parametrize("tuning", ["lora", "full"])
def test_dropout_that_a_module_applies_by_a_number_is_off(
    pairs: Job, tmp_path: Path, tuning: str, method: dict[str, Any]
) -> None:
    pairs.models = tmp_path / "models"
    file = make_tiny_model(pairs.models / "org--tiny", scale=3.0) / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"attention_dropout": 0.5}))
    along = Link()
    frozen = {"max_steps": 3, "save_steps": 3, "learning_rate": 1e-12, "per_device_train_batch_size": 11}
    pairs.train(along, training=STEPS | frozen, method=method, tuning=tuning)
    first, *others = along.series("loss").values()
    assert others == pytest.approx([first] * 2, abs=1e-6), "the same batch, and weights that do not change"
    if method is DPO:
        assert first == pytest.approx(math.log(2), abs=1e-6)


def test_full_fine_tuning_compares_with_the_model_before_training(pairs: Job) -> None:
    """Plain TRL holds a second model for it; here its log-probabilities are computed ahead."""
    link = Link()
    pairs.train(link, training=STEPS, method=DPO, tuning="full")
    assert_close(link.series("loss"), plain_trl(pairs, str(pairs.models / "org--tiny"), tuning="full"), 1e-5)
    assert not link.notices("final_eval_differs")
    assert link.series("eval_loss")[0] == pytest.approx(torch.log(torch.tensor(2.0)).item(), abs=1e-6)
    assert len(list((pairs.folder / "reference").glob("*.npy"))) == 2  # of the rows to train and to evaluate on


def test_an_adapter_that_is_trained_further_is_its_own_reference(pairs: Job, tmp_path: Path) -> None:
    first = Job(tmp_path / "first", pairs.models, write_rows(tmp_path / "rows.arrow", 16))
    first.train(training={"max_steps": 4})
    pairs.local_base = None
    pairs.model = str(first.folder / "model")
    link = Link()
    pairs.train(link, training=STEPS, method=DPO)
    adapted = PeftModel.from_pretrained(base_model(pairs), first.folder / "model", is_trainable=True)
    assert_close(link.series("loss"), plain_trl(pairs, adapted, adapted=True))
    assert link.series("loss")[1] == pytest.approx(torch.log(torch.tensor(2.0)).item(), abs=1e-6)
    assert not link.notices("final_eval_differs")
    # TRL's copy of the adapter is not delivered.
    assert not (pairs.folder / "model" / "ref").exists()
    with safe_open(pairs.folder / "model" / "adapter_model.safetensors", "pt") as file:
        assert not [name for name in file.keys() if "ref" in name]  # noqa: SIM118


def test_the_reference_is_computed_once_for_all_attempts(pairs: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    from train.plan import StopKind

    pairs.train(Link(stop_at={2: StopKind.PAUSE}), training=STEPS, method=DPO, tuning="full")
    monkeypatch.setattr("train.methods.dpo.DpoRunTrainer._reference_logps", lambda *_: pytest.fail("computed again"))
    pairs.train(training=STEPS, method=DPO, tuning="full")


@pytest.mark.parametrize("tuning", ["lora", "full"])
def test_an_evaluation_depends_on_nothing_but_model_and_pairs(pairs: Job, tmp_path: Path, tuning: str) -> None:
    values = []
    for size in (1, 2, 5):
        link = Link()
        job = Job(tmp_path / f"job-{size}", pairs.models, pairs.rows, pairs.eval_rows)
        job.train(
            link, training=STEPS | {"per_device_eval_batch_size": size, "max_steps": 2}, method=DPO, tuning=tuning
        )
        values.append([link.series(name)[2] for name in EVALUATED])
    for others in values[1:]:
        assert others == pytest.approx(values[0], rel=1e-5, abs=1e-6)


LEARNED = ("loss", "rewards/margins", "eval_loss", "eval_rewards/margins", "entropy", "logits/rejected")
DECIDED_BY_ROUNDING = ("rewards/accuracies", "eval_rewards/accuracies")
"""Before the first step, all rewards are 0."""
GENTLE = STEPS | {"max_steps": 4, "learning_rate": 2e-4}


def test_two_passes_teach_what_one_with_twice_the_batch_teaches(pairs: Job, tmp_path: Path) -> None:
    """Of 11 pairs, the third step has a pass of two and a pass of one."""
    whole, parts = Link(), Link()
    pairs.train(whole, training=GENTLE | {"per_device_train_batch_size": 4}, method=DPO)
    other = Job(tmp_path / "other", pairs.models, pairs.rows, pairs.eval_rows)
    other.train(parts, training=GENTLE | {"gradient_accumulation_steps": 2}, method=DPO)
    for name in LEARNED:
        assert_close(whole.series(name), parts.series(name), 1e-5)


def test_two_workers_learn_what_one_with_twice_the_batch_learns(pairs: Job, tmp_path: Path) -> None:
    """Of 11 pairs, each is trained once in an epoch; for the last ones, a worker has fewer than the other or none."""
    for two, one in two_and_one(pairs, tmp_path, UNEVEN[:2], method=DPO, tuning="full", training=GENTLE):
        assert_same_numbers(two.link, one, DECIDED_BY_ROUNDING)


def test_a_batch_is_that_of_trl() -> None:
    prompts, chosen, rejected = [[1, 2, 3], [7, 8]], [[4, 5], [9]], [[6], [10, 11]]
    theirs = DataCollatorForPreference(pad_token_id=0)(
        [
            {"prompt_ids": prompt, "chosen_ids": one, "rejected_ids": other}
            for prompt, one, other in zip(prompts, chosen, rejected, strict=True)
        ]
    )
    rows = [
        {
            "chosen_ids": prompt + one,
            "chosen_labels": [-100] * len(prompt) + one,
            "rejected_ids": prompt + other,
            "rejected_labels": [-100] * len(prompt) + other,
        }
        for prompt, one, other in zip(prompts, chosen, rejected, strict=True)
    ]
    ours = PairCollator(pad_token_id=0)(rows)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_the_method_is_in_every_document_of_a_config() -> None:
    """Without it, the job would be one of supervised fine-tuning."""
    config = JobConfig(model="org/tiny", dataset="ds-1", method=DpoMethod())
    for document in (config.model_dump(exclude_unset=True), short_document(config)):
        assert document["method"] == {"type": "dpo"}


def test_the_loss_prefers_the_chosen_answer() -> None:
    better, worse = torch.tensor([2.0, -2.0]), torch.tensor([-2.0, 2.0])
    for loss_type in ("sigmoid", "hinge", "ipo", "robust"):
        method = DpoMethod(beta=0.1, loss_type=loss_type)
        assert pair_losses(better, torch.ones(2), method) < pair_losses(worse, torch.ones(2), method)


def test_pairs_that_are_equal_once_cut_are_skipped_and_counted(pairs: Job, tmp_path: Path) -> None:
    def said(text: str) -> list[dict[str, str]]:
        return [{"role": "assistant", "content": text}]

    same = "The queue holds every job until a device is free. " * 3
    file = tmp_path / "long.arrow"
    with write_canonical(file, Kind.PREFERENCE) as out:
        prompt = [{"role": "user", "content": "What is a queue?"}]
        out.write(1, {"prompt": prompt, "chosen": said("A list."), "rejected": said("A bird.")})
        out.write(2, {"prompt": prompt, "chosen": said(same + "One."), "rejected": said(same + "Two.")})
        out.write(3, {"prompt": prompt, "chosen": said("Jobs wait."), "rejected": said("It is a song.")})
    pairs.rows = file
    link = Link()
    pairs.train(link, training={"max_steps": 2}, method=DPO | {"max_length": 40})
    [notice] = [text for text in link.notices("rows_cut") if "train rows" in text]
    assert "1 were truncated to 40" in notice
    assert "1 were skipped" in notice


def test_other_rows_are_refused(pairs: Job, tmp_path: Path) -> None:
    pairs.rows = write_rows(tmp_path / "rows.arrow", 4)
    with pytest.raises(DatasetInvalidError, match="kind 'messages', and the method trains on preference"):
        pairs.train(method=DPO)
    pairs.rows = write_pairs(tmp_path / "pairs-2.arrow", 4)
    pairs.eval_rows = None
    pairs.train(method=DPO, training={"max_steps": 1})
    with pytest.raises(DatasetInvalidError, match="kind 'preference', and the method trains on messages or text"):
        pairs.train()
