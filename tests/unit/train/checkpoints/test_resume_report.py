"""What a resume tells of itself, and how a run goes on with another batch size or number of workers."""

import json
import re
from collections.abc import Callable
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import pytest

from ftlab.schemas import EventKind
from tests.unit.train.ranks import Task, train
from tests.unit.train.runs import Job, Link, write_rows
from tests.unit.train.traces import Rows, Trace, assert_equal, record_rows
from train.checkpoints import checkpoint_files
from train.checkpoints.checkpoint_files import MANIFEST
from train.plan import StopKind
from train.row_order import row_order

NUM_ROWS = 11
SEED = 7
SMALL: dict[str, Any] = {"max_steps": 15, "save_steps": 4, "lr_scheduler_type": "linear"}
"""2 rows a step; 6 steps an epoch, the last one of 1 row; 28 rows altogether."""
LARGE = SMALL | {"per_device_train_batch_size": 3, "gradient_accumulation_steps": 2}
BATCH_CHANGES = [
    "training.gradient_accumulation_steps changed from 1 to 2",
    "training.per_device_train_batch_size changed from 2 to 3",
]


@pytest.fixture
def job(job: Job, tmp_path: Path) -> Job:
    job.rows = write_rows(tmp_path / "rows.arrow", NUM_ROWS)
    return job


def edit_manifest(job: Job, edit: Callable[[dict[str, Any]], object]) -> None:
    _, folder = checkpoint_files.committed(job.folder / "checkpoints")[-1]
    document = json.loads((folder / MANIFEST).read_text())
    edit(document)
    (folder / MANIFEST).write_text(json.dumps(document))


def test_a_receipt_tells_where_the_run_goes_on_and_with_what(job: Job):
    first, second = Link(stop_at={5: StopKind.PAUSE}), Link()
    job.train(first, training=SMALL)
    manifest = checkpoint_files.verify(job.folder / "checkpoints" / "step-00000005")
    job.train(second, training=SMALL)
    receipt = second.receipt()
    assert (receipt["step"], receipt["samples"]) == (5, 10)
    assert (receipt["loss_before"], receipt["loss_after"]) == (first.series("loss")[5], second.series("loss")[6])
    assert receipt["learning_rate_before"] == first.series("learning_rate")[5]
    assert receipt["learning_rate_after"] == second.series("learning_rate")[6]
    for name in ("rng_sha256", "data_sha256"):
        assert receipt[f"{name}_before"] == receipt[f"{name}_after"] == manifest.conditions[name]
        assert re.fullmatch("[0-9a-f]{64}", manifest.conditions[name])
    assert receipt["versions_before"] == receipt["versions_after"] == manifest.versions
    assert (receipt["bit_exact"], receipt["why_not"]) == (True, [])
    before, after = f"{first.series('loss')[5]:.4g}", f"{second.series('loss')[6]:.4g}"
    assert receipt["message"] == (
        f"Resumed from step 5 (10 rows, loss {before} before, loss {after} after); "
        "bit for bit as without the interruption."
    )


def test_the_receipt_comes_with_the_first_loss_after_the_resume_and_once(job: Job):
    training = SMALL | {"logging_steps": 4}
    link = Link()
    job.train(Link(stop_at={5: StopKind.PAUSE}), training=training)
    job.train(link, training=training)
    receipt, first = link.receipt(), next(data for data in link.told(EventKind.METRICS) if "loss" in data["values"])
    assert link.events.index((EventKind.NOTICE, receipt)) == link.events.index((EventKind.METRICS, first)) - 1
    assert (receipt["loss_after"], first["step"]) == (first["values"]["loss"], 8)
    assert (
        receipt["loss_before"]
        == json.loads((job.folder / "checkpoints" / "step-00000008" / "trainer_state.json").read_text())["log_history"][
            1
        ]["loss"]
    )


def test_a_run_that_is_stopped_again_before_its_first_loss_has_a_receipt_too(job: Job):
    training = SMALL | {"logging_steps": 10}
    link = Link(stop_at={7: StopKind.PAUSE})
    job.train(Link(stop_at={5: StopKind.PAUSE}), training=training)
    job.train(link, training=training)
    receipt = link.receipt()
    assert (receipt["loss_before"], receipt["loss_after"], receipt["bit_exact"]) == (None, None, True)


def test_the_first_attempt_has_no_receipt(job: Job):
    link = Link()
    job.train(link)
    assert link.notices("resumed") == []


@pytest.mark.parametrize(
    ("edit", "why_not"),
    [
        (lambda m: m["versions"].update(peft="0.1", trl="0.1"), r"peft changed from 0\.1 to .*"),
        (lambda m: m["conditions"]["environment"].update({"CPU threads": "64"}), "CPU threads changed from 64 to 1"),
        (lambda m: m["conditions"].update(rng_sha256="0" * 64), "the remaining random numbers are different"),
        (lambda m: m["conditions"].update(data_sha256="0" * 64), "the remaining rows are different"),
    ],
)
def test_a_receipt_says_why_it_is_not_bit_for_bit(job: Job, edit: Callable[[dict[str, Any]], object], why_not: str):
    link = Link()
    job.train(Link(stop_at={5: StopKind.PAUSE}))
    edit_manifest(job, edit)
    job.train(link)
    receipt = link.receipt()
    reason, *others = receipt["why_not"]
    assert re.fullmatch(why_not, reason)
    assert not receipt["bit_exact"]
    assert len(others) == ("peft" in why_not)
    counted = "; 1 more reason" if others else ""
    assert receipt["message"].endswith(f"; not bit for bit: {reason}{counted}.")


def test_settings_that_change_no_weight_change_no_bit(job: Job):
    link = Link()
    job.train(Link(stop_at={5: StopKind.PAUSE}))
    job.train(link, training={"logging_steps": 2, "save_steps": 2, "eval_steps": 4, "save_total_limit": 5})
    assert link.receipt()["bit_exact"]
    assert list(link.series("loss")) == [6, 8], "and they hold from then on"
    assert list(link.series("eval_loss")) == [8]


@pytest.mark.parametrize("change", [3, 6, 8])
def test_another_batch_size_goes_on_by_rows_consumed(
    job: Job, monkeypatch: pytest.MonkeyPatch, row_numbers: Callable[[Rows], dict[int, list[int]]], change: int
):
    rows = record_rows(monkeypatch.setattr)
    first, second = Link(stop_at={change: StopKind.PAUSE}), Link()
    job.train(first, training=SMALL)
    outcome = job.train(second, training=LARGE)

    taken = row_numbers(rows)
    consumed = sum(len(taken[step]) for step in range(1, change + 1))
    assert list(chain(*taken.values())) == list(row_order(SEED, NUM_ROWS, 0, 28)), "each row when its turn comes"
    assert [len(taken[step]) for step in range(change + 1, outcome.step)] == [6] * (outcome.step - change - 1)
    assert list(first.series("loss") | second.series("loss")) == list(range(1, outcome.step + 1))
    last = second.told(EventKind.METRICS)[-1]
    assert (last["step"], last["total_steps"], last["epoch"]) == (outcome.step, outcome.step, 28 / NUM_ROWS)
    assert checkpoint_files.verify(job.folder / "model").samples == 28
    receipt = second.receipt()
    assert (receipt["bit_exact"], receipt["why_not"]) == (False, BATCH_CHANGES)
    assert receipt["samples"] == consumed
    assert receipt["data_sha256_before"] == receipt["data_sha256_after"], "the next row is the same"


def test_the_schedule_goes_on_with_the_rows(job: Job, tmp_path: Path):
    """Epochs of 10 rows, so that no step has fewer rows than the others."""
    job.rows = write_rows(tmp_path / "even.arrow", 10)
    training = SMALL | {"warmup_steps": 6}
    first, second = Link(stop_at={4: StopKind.PAUSE}), Link()
    job.train(first, training=training)
    job.train(second, training=training | {"per_device_train_batch_size": 4})
    rates = first.series("learning_rate") | second.series("learning_rate")

    def rate(num_rows: int) -> float:
        """Of the step before which `num_rows` were consumed: up for 12 rows, then down to zero at 30."""
        return 0.01 * min(num_rows / 12, (30 - num_rows) / 18)

    before_steps = [0, 2, 4, 6, 8, 12, 16, 20, 24, 28]
    assert list(rates) == list(range(1, 11))
    assert list(rates.values()) == pytest.approx([rate(num_rows) for num_rows in before_steps])


def test_a_run_with_another_batch_size_is_exact_again(job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    rows = record_rows(monkeypatch.setattr)
    twin = replace(job, folder=tmp_path / "twin")
    traces = []
    for each, stops in ((job, [7]), (twin, [])):
        each.train(Link(stop_at={5: StopKind.PAUSE}), training=SMALL)
        rows.clear()
        trace = Trace(each, [Link(stop_at={step: StopKind.PAUSE}) for step in stops] + [Link()])
        for link in trace.links:
            each.train(link, training=LARGE)
        trace.rows = dict(rows)
        traces.append(trace)
    assert_equal(*traces)
    assert traces[0].links[-1].receipt()["bit_exact"]


def test_the_batch_size_can_change_back(job: Job):
    job.train(Link(stop_at={5: StopKind.PAUSE}), training=SMALL)
    job.train(Link(stop_at={6: StopKind.PAUSE}), training=LARGE)
    link = Link()
    outcome = job.train(link, training=SMALL)
    assert (link.receipt()["samples"], outcome.step) == (16, 12)
    assert checkpoint_files.verify(job.folder / "model").samples == 28


@pytest.mark.parametrize("batch_size", [1, 4])
def test_a_run_that_was_over_stays_over(job: Job, batch_size: int):
    """Its last step is in the middle of an epoch, and an epoch has another number of steps now."""
    job.train(Link(stop_at={4: StopKind.PAUSE}), training={"max_steps": 4})
    link = Link()
    outcome = job.train(link, training={"max_steps": 4, "per_device_train_batch_size": batch_size})
    assert (outcome.step, outcome.delivered_step, link.series("loss")) == (4, 4, {})
    assert job.train(training={"max_steps": 4}).step == 4


def test_another_number_of_workers_goes_on_by_rows_consumed(
    job: Job,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    row_numbers: Callable[[Rows], dict[int, list[int]]],
):
    """One worker, then two, then one."""
    rows = record_rows(monkeypatch.setattr)
    first, last = Link(stop_at={5: StopKind.PAUSE}), Link()
    job.train(first, training=SMALL)
    task = Task(job, {8: StopKind.PAUSE}, {"training": SMALL})
    [middle] = train(tmp_path / "ranks", [task], workers=2)
    job.train(last, training=SMALL)

    shared = {step: [batch for rank in ranks for batch in rank] for step, ranks in middle.rows.items()}
    taken = row_numbers(rows | shared)
    assert list(chain(*(taken[step] for step in sorted(taken)))) == list(row_order(SEED, NUM_ROWS, 0, 28))
    assert [len(taken[step]) for step in (5, 6, 7, 8, 9)] == [2, 4, 4, 4, 2]
    losses = [step for link in (first, middle.link, last) for step in link.series("loss")]
    assert losses == list(range(1, max(taken) + 1))
    assert middle.link.receipt()["why_not"] == [
        "resources.num_workers changed from 1 to 2",
        "the remaining random numbers are different",
    ]
    assert [(outcome["step"], outcome["stop"]) for outcome in middle.outcomes] == [(8, StopKind.PAUSE)] * 2
    assert "resources.num_workers changed from 2 to 1" in last.receipt()["why_not"]


@pytest.mark.parametrize(
    ("training", "why_not"),
    [({}, []), ({"adam_beta1": 0.8}, ["training.adam_beta1 changed from 0.9 to 0.8"])],
)
def test_a_setting_that_the_checkpoint_does_not_know_had_its_default(
    job: Job, training: dict[str, Any], why_not: list[str]
) -> None:
    """The checkpoint of an older release, which lacked the setting."""
    job.train(Link(stop_at={2: StopKind.PAUSE}), training=SMALL | training)
    edit_manifest(job, lambda manifest: manifest["conditions"]["settings"].pop("training.adam_beta1"))
    link = Link()
    job.train(link, training=SMALL | training)
    assert link.receipt()["why_not"] == why_not
