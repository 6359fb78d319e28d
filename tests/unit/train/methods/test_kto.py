"""Kahneman-Tversky optimisation: it is what TRL does in the same batches, with one model in memory."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from datasets import Dataset
from peft import LoraConfig, PeftModel
from safetensors import safe_open
from transformers import AutoTokenizer
from trl import KTOConfig, KTOTrainer
from trl.trainer.kto_trainer import DataCollatorForUnpairedPreference

from ftlab.schemas.methods import KtoMethod
from tests.unit.train.methods.plain_trl import (
    TOLERANCE,
    arguments,
    assert_close,
    base_model,
    begin,
    conversations,
    series_of,
)
from tests.unit.train.ranks import assert_same_numbers, two_and_one
from tests.unit.train.runs import Job, Link, write_rated, write_rows
from tests.unit.train.traces import record_rows
from train.data.rows.canonical import CanonicalFile
from train.data.rows.errors import DatasetInvalidError
from train.methods.kto import row_losses
from train.methods.rated_batches import RatedCollator, pairs_of
from train.plan import StopKind
from train.row_order import SegmentSampler
from train.row_schedule import RowSchedule, StepSize

KTO: dict[str, Any] = {"type": "kto", "max_length": 64, "beta": 0.1}
STEPS = {"max_steps": 5, "num_train_epochs": 2.0, "learning_rate": 0.002, "per_device_train_batch_size": 3}
EVALUATED = (
    "eval_loss",
    "eval_kl",
    "eval_rewards/chosen",
    "eval_rewards/rejected",
    "eval_rewards/margins",
    "eval_logps/chosen",
    "eval_entropy",
)


@pytest.fixture
def rated(job: Job, tmp_path: Path) -> Job:
    job.rows, job.eval_rows = write_rated(tmp_path / "rated.arrow", 12), write_rated(tmp_path / "e.arrow", 5, offset=4)
    return job


def trained_order(job: Job, **training: Any) -> list[int]:
    """Numbers of the rows in the order in which a job trains them."""
    config = job.plan(training=STEPS | training, method=KTO).config.training
    schedule = RowSchedule.planned(config, [12], 1)
    segments, _ = schedule.segments_from(0)
    return [row for segment in segments for row in SegmentSampler(schedule, segment, config.seed)]


def plain_trl(
    job: Job, model: Any, *, tuning: str = "lora", adapted: bool = False, **method: Any
) -> dict[str, dict[int, float]]:
    """The series of the script that a user of TRL writes. TRL does not shuffle the rows, so they come in our order."""
    folder = job.models / "org--tiny"
    begin()
    with CanonicalFile.open(Path(str(job.rows))) as file:
        labels = [row["label"] for _, row in file.rows()]
    texts = conversations(Path(str(job.rows)), ("prompt", "completion"))
    messages = [row | {"label": label} for row, label in zip(texts, labels, strict=True)]
    trainer = KTOTrainer(
        model=model,
        args=KTOConfig(
            **arguments(job, STEPS),
            gradient_checkpointing=False,
            **{"beta": KTO["beta"], "max_length": KTO["max_length"]} | method,
        ),
        train_dataset=Dataset.from_list([messages[number] for number in trained_order(job)]),
        processing_class=AutoTokenizer.from_pretrained(folder),
        peft_config=LoraConfig(task_type="CAUSAL_LM", r=4, lora_alpha=8, target_modules="all-linear")
        if tuning == "lora" and not adapted
        else None,
    )
    trainer.train()
    return series_of(trainer)


def assert_same_series(link: Link, theirs: dict[str, dict[int, float]], tolerance: float = TOLERANCE) -> None:
    assert_close(link.series("loss"), theirs["loss"], tolerance)
    for name in ("rewards/chosen", "rewards/rejected", "rewards/margins", "logits/chosen", "entropy"):
        assert_close(link.series(name), theirs[name], 10 * tolerance)


@pytest.mark.parametrize(
    "method",
    [
        {"loss_type": "kto"},
        {"loss_type": "kto", "desirable_weight": 1.5, "undesirable_weight": 0.5},
        {"loss_type": "apo_zero_unpaired"},
    ],
    ids=["kto", "weighted", "apo_zero_unpaired"],
)
def test_the_loss_series_is_that_of_plain_trl(rated: Job, method: dict[str, Any]) -> None:
    link = Link()
    rated.train(link, training=STEPS, method=KTO | method)
    theirs = plain_trl(rated, base_model(rated), **method)
    assert_same_series(link, theirs)
    assert link.series("kl") == pytest.approx(theirs["kl"], abs=1e-4)
    assert (max(link.series("kl").values()) > 0) is (method["loss_type"] == "kto")
    assert not link.notices("final_eval_differs")
    assert link.series("final_eval_loss")


def test_full_fine_tuning_compares_with_the_model_before_training(rated: Job) -> None:
    """Plain TRL holds a second model for it; here its log-probabilities are computed ahead, in the same batches."""
    link = Link()
    rated.train(link, training=STEPS, method=KTO, tuning="full")
    assert_same_series(link, plain_trl(rated, str(rated.models / "org--tiny"), tuning="full"), 1e-5)
    assert not link.notices("final_eval_differs")
    assert link.series("eval_loss")[0] == pytest.approx(0.5, abs=1e-6)
    names = sorted(file.name.rsplit("-", 1)[0] for file in (rated.folder / "reference").glob("*.npy"))
    assert names == ["eval", "eval-kl", "train", "train-kl"]


def test_an_adapter_that_is_trained_further_is_its_own_reference(rated: Job, tmp_path: Path) -> None:
    first = Job(tmp_path / "first", rated.models, write_rows(tmp_path / "rows.arrow", 16))
    first.train(training={"max_steps": 4})
    rated.model = str(first.folder / "model")
    link = Link()
    rated.train(link, training=STEPS, method=KTO)
    adapted = PeftModel.from_pretrained(base_model(rated), first.folder / "model", is_trainable=True)
    assert_close(link.series("loss"), plain_trl(rated, adapted, adapted=True)["loss"], 1e-5)
    assert link.series("loss")[1] == pytest.approx(0.5, abs=1e-6)
    assert not link.notices("final_eval_differs")
    # TRL's copy of the adapter is not delivered.
    assert not (rated.folder / "model" / "ref").exists()
    with safe_open(rated.folder / "model" / "adapter_model.safetensors", "pt") as file:
        assert not [name for name in file.keys() if "ref" in name]  # noqa: SIM118


def test_the_reference_is_computed_once_for_all_attempts(rated: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    rated.train(Link(stop_at={2: StopKind.PAUSE}), training=STEPS, method=KTO, tuning="full")
    monkeypatch.setattr("train.methods.kto.KtoRunTrainer._reference_logps", lambda *_: pytest.fail("computed again"))
    rated.train(training=STEPS, method=KTO, tuning="full")


def test_a_resume_with_another_batch_size_finds_the_reference_of_its_batches(rated: Job) -> None:
    rated.train(Link(stop_at={2: StopKind.PAUSE}), training=STEPS, method=KTO, tuning="full")
    link = Link()
    rated.train(link, training=STEPS | {"per_device_train_batch_size": 2}, method=KTO, tuning="full")
    assert min(link.series("loss")) == 3
    assert max(link.series("kl").values()) > 0


@pytest.mark.parametrize("tuning", ["lora", "full"])
def test_an_evaluation_depends_on_nothing_but_model_and_rows(rated: Job, tmp_path: Path, tuning: str) -> None:
    values = []
    for size in (1, 2, 5):
        link = Link()
        job = Job(tmp_path / f"job-{size}", rated.models, rated.rows, rated.eval_rows)
        training = STEPS | {"per_device_eval_batch_size": size}
        job.train(link, training=training, method=KTO, tuning=tuning)
        assert not link.notices("final_eval_differs")
        values.append([link.series(name)[5] for name in EVALUATED])
    for others in values[1:]:
        assert others == pytest.approx(values[0], rel=1e-5, abs=1e-6)
    assert values[0][1] > 0, "the KL term matters"


def test_rows_to_evaluate_on_may_all_be_good(rated: Job, tmp_path: Path) -> None:
    rated.eval_rows = write_rated(tmp_path / "good.arrow", 1)
    link = Link()
    rated.train(link, training=STEPS | {"max_steps": 1}, method=KTO)
    assert link.series("eval_rewards/chosen")
    assert not link.series("eval_rewards/rejected")
    assert not link.series("eval_rewards/margins")


def test_each_good_answer_counts_the_same_whatever_pass_it_is_in(rated: Job) -> None:
    """The two passes of a step have other shares of good answers; the logged means are those over all answers."""
    one, parts = Link(), Link()
    order = [number % 2 == 0 for number in trained_order(rated)]
    assert sum(order[:3]) != sum(order[3:6])
    rated.train(one, training=STEPS | {"max_steps": 1, "per_device_train_batch_size": 6}, method=KTO)
    other = Job(rated.folder.with_name("other"), rated.models, rated.rows)
    other.train(parts, training=STEPS | {"max_steps": 1, "gradient_accumulation_steps": 2}, method=KTO)
    for name in ("loss", "logps/chosen", "logps/rejected", "entropy", "logits/chosen", "logits/rejected"):
        assert parts.series(name)[1] == pytest.approx(one.series(name)[1], rel=1e-5), name


@pytest.mark.parametrize(("tuning", "sizes"), [("full", [2, 4]), ("lora", [2])])
def test_two_workers_learn_what_one_with_twice_the_batch_learns(
    rated: Job, tmp_path: Path, tuning: str, sizes: list[int]
) -> None:
    """Of 11 rows, each is trained once in an epoch; for the last ones, a worker has fewer than the other or none."""
    rated.rows = write_rated(tmp_path / "odd.arrow", 11)
    shapes = [{"per_device_train_batch_size": size} for size in sizes]
    training = STEPS | {"max_steps": 4, "learning_rate": 5e-4}
    for two, one in two_and_one(rated, tmp_path, shapes, method=KTO, tuning=tuning, training=training):
        assert_same_numbers(two.link, one)
        assert max(one.series("kl").values()) > 0
        assert not two.link.notices("final_eval_differs")


@pytest.mark.parametrize("workers", [1, 2])
def test_the_pairs_of_a_run_are_those_of_its_passes(workers: int) -> None:
    schedule = RowSchedule(StepSize(2, 1, workers), (5,), (10,))
    pairs = pairs_of(schedule, seed=3)
    expected = set()
    for segment in schedule.segments_from(0)[0]:
        order = list(SegmentSampler(schedule, segment, 3))
        passes = [order[:2], order[2:4], order[4:]] if workers == 1 else [order[:4], order[4:]]
        expected |= {(rows[place], rows[place - 1]) for rows in passes for place in range(len(rows))}
    assert {(row, partner) for row, partner in pairs.tolist()} == expected


def test_a_batch_is_that_of_trl() -> None:
    prompts, answers, labels = [[1, 2, 3], [7, 8], [5]], [[4, 5], [9], [6, 6, 6]], [True, False, True]
    theirs = DataCollatorForUnpairedPreference(pad_token_id=0, max_length=5)(
        [
            {"prompt_ids": prompt, "completion_ids": own, "KL_completion_ids": other, "label": label}
            for prompt, own, other, label in zip(prompts, answers, [answers[-1], *answers], labels, strict=False)
        ]
    )
    rows = [
        {
            "input_ids": prompt + answer,
            "labels": [-100] * len(prompt) + answer,
            "is_desirable": [int(label)],
        }
        for prompt, answer, label in zip(prompts, answers, labels, strict=True)
    ]
    ours = RatedCollator(pad_token_id=0, max_length=5)(rows)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_the_loss_prefers_more_likely_good_answers_and_less_likely_bad_ones() -> None:
    is_chosen = torch.tensor([True, False])
    method = KtoMethod(desirable_weight=2.0)
    better, worse = (
        row_losses(torch.tensor(ratios), is_chosen, method, kl=0.5) for ratios in ([3.0, -3.0], [-3.0, 3.0])
    )
    assert (better < worse).all()
    assert row_losses(torch.tensor([0.5, 0.5]), is_chosen, method, kl=0.5).tolist() == [1.0, 0.5]


def test_answers_of_one_label_are_refused(rated: Job, tmp_path: Path) -> None:
    rated.rows = write_rated(tmp_path / "good.arrow", 1)
    with pytest.raises(DatasetInvalidError, match="Dataset ds-1: All 1 answers to train on are rated good"):
        rated.train(method=KTO)


def test_other_rows_are_refused(rated: Job, tmp_path: Path) -> None:
    rated.rows = write_rows(tmp_path / "rows.arrow", 4)
    with pytest.raises(DatasetInvalidError, match="kind 'messages', and the method trains on unpaired"):
        rated.train(method=KTO)


def test_rows_are_the_same_in_the_batches_of_all_losses(rated: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    for number, loss_type in enumerate(("kto", "apo_zero_unpaired")):
        job = Job(rated.folder.with_name(f"job-{number}"), rated.models, rated.rows)
        with monkeypatch.context() as patched:
            rows = record_rows(patched.setattr)
            job.train(training=STEPS | {"max_steps": 2}, method=KTO | {"loss_type": loss_type})
        seen.append(rows)
    assert seen[0] == seen[1]
    assert np.shape(seen[0][1])[1] == 3
