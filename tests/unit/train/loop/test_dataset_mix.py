"""Runs on datasets mixed by weight: the rows, and the same bits through a pause and with another batch size."""

import re
from collections.abc import Callable
from itertools import chain, count
from pathlib import Path
from typing import Any

import pytest

from tests.unit.train.ranks import Task, train
from tests.unit.train.runs import MODEL, Job, Link, write_rows
from tests.unit.train.traces import Rows, Trace, assert_equal, attempt, record_rows
from train.dataset_mix import Mix
from train.model.base_model import find_model
from train.model.tokenizer import load_tokenizer
from train.plan import StopKind
from train.row_order import mixed_order

MIX = Mix((3, 6), (6, 3))
ROWS = [0, 1, 2, 10, 11, 12, 13, 14, 15]
"""The numbers in the rows of both datasets."""
TRAINING: dict[str, Any] = {"max_steps": None, "num_train_epochs": 2, "save_steps": 2, "logging_steps": 1}
CONFIG: dict[str, Any] = {
    "dataset": ["ds-1", "ds-2"],
    "dataset_weights": [2, 1],
    "training": TRAINING,
    "lora": {"r": 4, "lora_alpha": 8, "lora_dropout": 0.3},
}
LAST = 10
"""Steps of 2 rows, 9 rows an epoch: the last step of an epoch takes one."""

NewJob = Callable[[], Job]
Numbers = Callable[[Rows], list[int]]


@pytest.fixture(autouse=True)
def rows(monkeypatch: pytest.MonkeyPatch) -> Rows:
    return record_rows(monkeypatch.setattr)


@pytest.fixture
def new_job(models: Path, tmp_path: Path) -> NewJob:
    files = [write_rows(tmp_path / "one.arrow", 3), write_rows(tmp_path / "two.arrow", 6, offset=10)]
    numbers = count()
    return lambda: Job(tmp_path / f"job-{next(numbers)}", models, files)


@pytest.fixture
def numbers(models: Path) -> Numbers:
    """The rows that were trained, by the number in their text."""
    tokenizer = load_tokenizer(find_model(MODEL, models))

    def read(rows: Rows) -> list[int]:
        texts = tokenizer.batch_decode(list(chain(*chain(*rows.values()))))
        return [int(number) for text in texts for number in re.findall(r"Answer (\d+)", text)]

    return read


def test_rows_come_in_the_order_of_the_mix_and_a_pause_changes_no_bit(new_job: NewJob, rows: Rows, numbers: Numbers):
    whole, paused = Trace(new_job()), Trace(new_job())
    link = attempt(whole, rows, **CONFIG)
    assert max(whole.rows) == LAST
    assert numbers(whole.rows) == [ROWS[row] for row in mixed_order(MIX, 7, 0, 18)]
    assert link.notices("datasets_mixed") == [MIX.describe(["ds-1", "ds-2"])]
    attempt(paused, rows, Link(stop_at={3: StopKind.PAUSE}), **CONFIG)
    attempt(paused, rows, Link(stop_at={7: StopKind.PAUSE}), **CONFIG)
    link = attempt(paused, rows, **CONFIG)
    assert_equal(paused, whole)
    assert (link.receipt()["bit_exact"], link.receipt()["why_not"]) == (True, [])


def test_another_batch_size_continues_after_the_rows_consumed(new_job: NewJob, rows: Rows, numbers: Numbers):
    trace = Trace(new_job())
    attempt(trace, rows, Link(stop_at={3: StopKind.PAUSE}), **CONFIG)
    link = attempt(trace, rows, **(CONFIG | {"training": TRAINING | {"per_device_train_batch_size": 3}}))
    assert numbers(trace.rows) == [ROWS[row] for row in mixed_order(MIX, 7, 0, 18)]
    assert link.receipt()["why_not"] == ["training.per_device_train_batch_size changed from 2 to 3"]


def test_other_weights_are_named_in_the_receipt(new_job: NewJob, rows: Rows):
    trace = Trace(new_job())
    attempt(trace, rows, Link(stop_at={3: StopKind.PAUSE}), **CONFIG)
    link = attempt(trace, rows, **(CONFIG | {"dataset_weights": [1, 1]}))
    assert link.receipt()["why_not"][0] == "dataset_weights changed from [2.0, 1.0] to [1.0, 1.0]"


def test_two_workers_take_the_rows_of_one_with_the_double_batch(
    new_job: NewJob, rows: Rows, numbers: Numbers, tmp_path: Path
):
    one, two = Trace(new_job()), new_job()
    attempt(one, rows, **(CONFIG | {"training": TRAINING | {"per_device_train_batch_size": 4}}))
    [trained] = train(tmp_path / "ranks", [Task(two, {}, CONFIG)], workers=2)
    steps = {step: sorted(numbers({step: passes})) for step, passes in one.rows.items()}
    whole = [step for step, taken in steps.items() if len(taken) == 4]  # a shorter one is filled up for two workers
    assert len(whole) >= 4
    for step in whole:
        assert sorted(numbers({step: list(chain(*trained.rows[step]))})) == steps[step]
