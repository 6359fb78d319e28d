"""A run that resumes with other settings: they are in force from its first step on, and the receipt names them.

`Link` refuses the notice about settings that are not in force.
"""

import re
from itertools import chain
from typing import Any

import pytest

from ftlab.schemas.events import EVALUATION_CHANGED
from tests.unit.train.runs import MODEL, Job, Link
from tests.unit.train.traces import Rows, record_rows
from train.model.base_model import find_model
from train.model.tokenizer import load_tokenizer
from train.plan import StopKind

PLAIN: dict[str, Any] = {"max_steps": 8, "save_steps": 3, "lr_scheduler_type": "linear"}
"""2 rows of 16 a step."""
CUTTING = 26
"""A length that cuts evaluation rows, and leaves them trained tokens."""


def numbers_of(job: Job, rows: Rows) -> dict[int, list[int]]:
    """The rows of the file that each step took, sorted."""
    tokenizer = load_tokenizer(find_model(MODEL, job.models))
    texts = {step: "".join(tokenizer.batch_decode(list(chain(*passes)))) for step, passes in rows.items()}
    return {step: sorted(int(number) for number in re.findall(r"Answer (\d+)", text)) for step, text in texts.items()}


def paused(job: Job, **training: Any) -> Link:
    link = Link(stop_at={4: StopKind.PAUSE})
    job.train(link, training=PLAIN | training)
    return link


def resumed(job: Job, training: dict[str, Any], **config: Any) -> Link:
    link = Link()
    outcome = job.train(link, training=PLAIN | training, **config)
    assert outcome.step == 8
    return link


def test_another_learning_rate_is_in_force_from_the_first_step_on(job: Job):
    before = paused(job)
    after = resumed(job, {"learning_rate": 0.002})
    assert before.series("learning_rate")[4] == pytest.approx(0.01 * 5 / 8)
    assert after.series("learning_rate") == {step: pytest.approx(0.002 * (9 - step) / 8) for step in range(5, 9)}
    assert after.receipt()["why_not"] == ["training.learning_rate changed from 0.01 to 0.002"]


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        (
            {
                "adam_beta1": 0.8,
                "adam_epsilon": 1e-6,
                "bf16": True,
                "gradient_checkpointing": True,
                "lr_scheduler_type": "constant_with_warmup",
                "max_grad_norm": 0.1,
                "weight_decay": 0.1,
            },
            [
                "training.adam_beta1 changed from 0.9 to 0.8",
                "training.adam_epsilon changed from 1e-08 to 1e-06",
                "training.bf16 changed from False to True",
                "training.gradient_checkpointing changed from False to True",
                "training.lr_scheduler_type changed from linear to constant_with_warmup",
                "training.max_grad_norm changed from 1.0 to 0.1",
                "training.weight_decay changed from 0.0 to 0.1",
            ],
        ),
        (
            {"optim": "adamw_8bit"},
            [
                "training.optim changed from adamw_torch to adamw_8bit",
                "the new optimizer starts without the state of the other one",
            ],
        ),
        ({"per_device_eval_batch_size": 1, "logging_steps": 2, "save_total_limit": 1}, []),
    ],
    ids=["several", "another optimizer", "without effect"],
)
def test_settings_are_in_force_after_the_resume(job: Job, changed: dict[str, Any], why: list[str]):
    paused(job)
    receipt = resumed(job, changed).receipt()
    assert receipt["why_not"] == why
    assert receipt["bit_exact"] is not bool(why)


def test_a_longer_warmup_lowers_the_rate_from_the_first_step_on(job: Job):
    paused(job)
    assert resumed(job, {"warmup_steps": 6}).series("learning_rate")[5] == pytest.approx(0.01 * 4 / 6)


def test_quantised_base_weights_continue_with_the_adapter(job: Job):
    paused(job)
    receipt = resumed(job, {}, load_in_4bit=True).receipt()
    assert receipt["why_not"] == ["load_in_4bit changed from False to True"]


def test_half_the_rows_of_a_pass_and_twice_the_passes_take_the_same_rows(job: Job, monkeypatch: pytest.MonkeyPatch):
    rows = record_rows(monkeypatch.setattr)
    whole, unchanged = Job(job.folder.with_name("whole"), job.models, job.rows, job.eval_rows), Link()
    whole.train(unchanged, training=PLAIN)
    expected = numbers_of(job, rows)
    paused(job)
    rows.clear()
    changed = resumed(job, {"per_device_train_batch_size": 1, "gradient_accumulation_steps": 2})
    assert all(len(passes) == 2 for passes in rows.values())
    assert numbers_of(job, rows) == {step: found for step, found in expected.items() if step > 4}
    for name, tolerance in (("loss", 1e-4), ("learning_rate", 0)):
        later = {step: value for step, value in unchanged.series(name).items() if step > 4}
        assert changed.series(name) == pytest.approx(later, rel=tolerance)
    assert changed.receipt()["bit_exact"] is False


@pytest.mark.parametrize("batch", [{}, {"per_device_train_batch_size": 1}], ids=["same steps", "shorter steps"])
def test_shorter_rows_continue_after_the_rows_that_are_consumed(job: Job, batch: dict[str, Any]):
    """Half of the rows have no token to train on with 20 tokens."""
    training = {"num_train_epochs": 2, "max_steps": None}
    paused(job, **training)
    link = Link()
    job.train(link, training=PLAIN | training | batch, method={"type": "sft", "max_length": 20})
    receipt = link.receipt()
    assert receipt["why_not"][0] == "method.max_length changed from 64 to 20"
    assert any(why.startswith("8 rows are trained instead of 16") for why in receipt["why_not"])
    # 8 rows were consumed, and 2 epochs of 8 rows are 16: 8 are left.
    assert (receipt["samples"], receipt["file_samples"]) == (8, 8)
    assert max(link.series("loss")) == (12 if batch else 8)


def cut_at(max_length: int) -> dict[str, Any]:
    return {"type": "sft", "max_length": max_length}


def test_evaluations_of_rows_that_are_cut_otherwise_do_not_choose_the_best_checkpoint(job: Job):
    """Nothing is learned, so that only the rows decide on the loss: the longer ones have the higher one."""
    training = PLAIN | {"eval_steps": 2, "learning_rate": 1e-12, "save_total_limit": 10}
    before, after, again = Link(stop_at={5: StopKind.PAUSE}), Link(stop_at={7: StopKind.PAUSE}), Link()
    job.train(before, training=training, method=cut_at(CUTTING))
    job.train(after, training=training, method=cut_at(64))
    assert max(before.series("eval_loss").values()) < min(after.series("eval_loss").values())
    [message] = after.notices(EVALUATION_CHANGED)
    assert message.startswith(
        "Eval losses from step 5 on cannot be compared with earlier ones: method.max_length changed"
    )
    assert sorted(after.series("eval_loss")) == [5, 6]
    outcome = job.train(again, training=training, method=cut_at(64))
    assert again.notices(EVALUATION_CHANGED) == []
    losses = after.series("eval_loss") | again.series("eval_loss")
    assert outcome.delivered_step == min(losses, key=lambda step: (losses[step], step)) >= 5
    assert again.notices("eval_never_improved") == []


def test_evaluations_of_the_same_rows_are_compared_though_a_limit_changes(job: Job):
    training = PLAIN | {"eval_steps": 2}
    job.train(Link(stop_at={5: StopKind.PAUSE}), training=training, method=cut_at(64))
    link = Link()
    job.train(link, training=training, method=cut_at(63))
    assert link.notices(EVALUATION_CHANGED) == []
    assert sorted(link.series("eval_loss")) == [6, 8]
