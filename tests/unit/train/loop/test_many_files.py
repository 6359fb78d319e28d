"""Several files in one run: one after another, exact through a pause and a crash inside one, appended on the way."""

import math
from collections.abc import Callable
from dataclasses import replace
from itertools import chain, count
from pathlib import Path
from typing import Any

import pytest

from ftlab.schemas import EventKind
from tests.unit.train.ranks import Task, train
from tests.unit.train.runs import CrashError, Job, Link, write_rows
from tests.unit.train.traces import Rows, Trace, assert_equal, attempt, record_rows
from train.checkpoints import checkpoint_files
from train.plan import StopKind
from train.row_order import row_order

SIZES = (3, 5, 4, 2, 3)
STARTS = (0, 10, 20, 30, 40)
"""The number in the first row of each file."""
EPOCHS = 2
TRAINING: dict[str, Any] = {
    "max_steps": None,
    "num_train_epochs": EPOCHS,
    "save_steps": 3,
    "logging_steps": 1,
    "lr_scheduler_type": "linear",
}
"""2 rows a step: 4, 6, 4, 2 and 4 steps for the files."""
ACCUMULATED = TRAINING | {"per_device_train_batch_size": 1, "gradient_accumulation_steps": 2}
DROPOUT: dict[str, Any] = {"lora": {"r": 4, "lora_alpha": 8, "lora_dropout": 0.3}}
LAST = 20
THIRD = 12
"""A step in the middle of the third file."""

NewJob = Callable[..., Job]


@pytest.fixture(autouse=True)
def rows(monkeypatch: pytest.MonkeyPatch) -> Rows:
    return record_rows(monkeypatch.setattr)


@pytest.fixture(scope="module")
def new_job(models: Path, tmp_path_factory: pytest.TempPathFactory) -> NewJob:
    """Jobs with the first so many of five files."""
    folder = tmp_path_factory.mktemp("batches")
    files = [
        write_rows(folder / f"rows-{number}.arrow", size, offset=start)
        for number, (size, start) in enumerate(zip(SIZES, STARTS, strict=True))
    ]
    numbers = count()
    return lambda num_files=5: Job(folder / f"job-{next(numbers)}", models, files[:num_files])


def test_files_come_in_order_each_for_its_epochs_and_shuffled_inside(
    whole: Callable[..., Trace], row_numbers: Callable[[Rows], dict[int, list[int]]]
):
    trace = whole(training=TRAINING)
    expected = [
        start + row
        for file, (size, start) in enumerate(zip(SIZES, STARTS, strict=True))
        for row in row_order(7 + file, size, 0, EPOCHS * size)
    ]
    taken = row_numbers(trace.rows)
    assert list(chain(*taken.values())) == expected
    assert list(taken) == list(range(1, LAST + 1))
    assert all(len({number // 10 for number in numbers}) == 1 for numbers in taken.values()), "a step mixes two files"
    rates = trace.series()["learning_rate"]
    assert list(rates.values()) == pytest.approx([0.01 * (1 - step / LAST) for step in range(LAST)])


def test_progress_tells_the_file_and_all_files(whole: Callable[..., Trace]):
    [link] = whole(training=TRAINING).links
    told = [data for data in link.told(EventKind.METRICS) if "loss" in data["values"]]
    files = [(data["file"], data["num_files"], data["file_progress"]) for data in told]
    assert files[:5] == [(1, 5, 2 / 6), (1, 5, 3 / 6), (1, 5, 5 / 6), (1, 5, 1.0), (2, 5, 2 / 10)]
    assert files[-1] == (5, 5, 1.0)
    assert [(data["step"], data["total_steps"]) for data in told] == [(step, LAST) for step in range(1, LAST + 1)]
    assert [data["epoch"] for data in told[3:5]] == [2.0, 2 / 5]


CASES = [
    pytest.param(THIRD, {"training": TRAINING}, id="plain"),
    pytest.param(THIRD, {"training": ACCUMULATED} | DROPOUT, id="accumulation and dropout"),
    pytest.param(10, {"training": TRAINING}, id="at the end of the second"),
]


@pytest.mark.parametrize(("k", "config"), CASES)
def test_a_pause_and_a_resume_change_no_bit(
    new_job: NewJob, rows: Rows, whole: Callable[..., Trace], k: int, config: dict[str, Any]
):
    trace = Trace(new_job())
    attempt(trace, rows, Link(stop_at={k: StopKind.PAUSE}), **config)
    assert max(trace.rows) == k
    receipt = attempt(trace, rows, **config).receipt()
    assert_equal(trace, whole(**config))
    assert (receipt["bit_exact"], receipt["why_not"]) == (True, [])


def test_steps_that_are_repeated_after_a_crash_are_the_same(new_job: NewJob, rows: Rows, whole: Callable[..., Trace]):
    """The process dies in the third file, two steps after the checkpoint, and again in the fourth."""
    config = {"training": ACCUMULATED} | DROPOUT
    trace = Trace(new_job())
    for step in (14, 16):
        with pytest.raises(CrashError):
            attempt(trace, rows, Link(crash_at=step), **config)
    attempt(trace, rows, **config)
    assert_equal(trace, whole(**config))
    first, second, third = (link.series("loss") for link in trace.links)
    assert [min(series) for series in (first, second, third)] == [1, 13, 16]
    assert all(first[step] == second[step] for step in (13, 14))


@pytest.mark.slow
def test_two_workers(new_job: NewJob, tmp_path: Path):
    """One row a pass and worker, 2 passes a step; only one rank knows of the stop, in the third file."""
    config = {"training": ACCUMULATED} | DROPOUT
    whole, resumed = Trace(new_job()), Trace(new_job())
    tasks = [Task(whole.job, {}, config), Task(resumed.job, {7: StopKind.PAUSE}, config), Task(resumed.job, {}, config)]
    results = train(tmp_path / "ranks", tasks, workers=2)
    for trace, trained in zip([whole, resumed, resumed], results, strict=True):
        trace.links.append(trained.link)
        trace.rows |= trained.rows
    assert_equal(resumed, whole)
    receipt = results[2].link.receipt()
    assert (receipt["bit_exact"], receipt["file"], receipt["num_files"], receipt["file_samples"]) == (True, 3, 5, 4)
    assert max(whole.rows) == results[0].outcomes[0]["step"] == sum(EPOCHS * math.ceil(size / 4) for size in SIZES)


def test_a_receipt_says_which_file_and_where(new_job: NewJob):
    job = new_job()
    link = Link()
    job.train(Link(stop_at={THIRD: StopKind.PAUSE}), training=TRAINING)
    job.train(link, training=TRAINING)
    receipt = link.receipt()
    assert (receipt["file"], receipt["num_files"], receipt["file_samples"], receipt["samples"]) == (3, 5, 4, 20)
    assert receipt["message"].startswith("Resumed from step 12 (row 4 of file 3 of 5, 20 rows, loss ")
    assert receipt["message"].endswith("; bit for bit as without the interruption.")


def test_checkpoints_are_kept_over_all_files(whole: Callable[..., Trace]):
    trace = whole(training=TRAINING)
    assert trace.job.checkpoints == [f"step-{step:08d}" for step in (15, 18, 20)]
    assert checkpoint_files.verify(trace.job.folder / "model").samples == EPOCHS * sum(SIZES)


@pytest.mark.parametrize("k", [7, 10])
def test_files_that_are_appended_on_the_way_stretch_the_schedule(
    new_job: NewJob, rows: Rows, row_numbers: Callable[[Rows], dict[int, list[int]]], k: int
):
    """After step `k` of 10, two more files: the rows are those of a run that had all four from the start."""
    trace = Trace(new_job(2))
    attempt(trace, rows, Link(stop_at={k: StopKind.EXTEND}), training=TRAINING)
    trace.job = replace(trace.job, rows=new_job(4).rows)
    link = attempt(trace, rows, training=TRAINING)
    direct = Trace(new_job(4))
    attempt(direct, rows, training=TRAINING)
    assert row_numbers(trace.rows) == row_numbers(direct.rows)
    rates = list(trace.series()["learning_rate"].values())
    assert rates[:k] == pytest.approx([0.01 * (1 - step / 10) for step in range(k)])
    assert rates[k] == pytest.approx(0.01 * (1 - k / 10) if k < 10 else 0.01)
    assert all(before > after for before, after in zip(rates[k:], rates[k + 1 :], strict=False))
    receipt = link.receipt()
    assert receipt["why_not"][0] == "2 more files are trained"
    assert not receipt["bit_exact"]
    assert (receipt["learning_rate_before"], receipt["learning_rate_after"]) == (rates[k - 1], rates[k])


def test_a_longer_run_is_as_exact_as_any(new_job: NewJob, rows: Rows):
    """Appended at step 5; then paused, and in the twin killed before and after its first checkpoint."""
    traces = [Trace(new_job(2)), Trace(new_job(2))]
    config = {"training": ACCUMULATED} | DROPOUT
    for trace, ends in zip(traces, ([8, 12], ["6", "11"]), strict=True):
        attempt(trace, rows, Link(stop_at={5: StopKind.EXTEND}), **config)
        trace.job = replace(trace.job, rows=new_job(4).rows)
        for end in ends:
            if isinstance(end, int):
                attempt(trace, rows, Link(stop_at={end: StopKind.PAUSE}), **config)
                continue
            with pytest.raises(CrashError):
                attempt(trace, rows, Link(crash_at=int(end)), **config)
        attempt(trace, rows, **config)
    assert_equal(*traces)
    assert traces[0].links[-1].receipt()["bit_exact"]


def test_a_finished_run_goes_on_with_more_files_and_delivers_again(new_job: NewJob, rows: Rows):
    trace = Trace(new_job(1))
    attempt(trace, rows, training=TRAINING)
    first = trace.weights()
    trace.job = replace(trace.job, rows=new_job(3).rows)
    link = attempt(trace, rows, training=TRAINING)
    assert list(link.series("loss")) == list(range(5, 15))
    assert link.series("learning_rate")[5] == pytest.approx(0.01)
    assert checkpoint_files.verify(trace.job.folder / "model").step == 14
    assert trace.weights() != first


def test_another_batch_size_and_another_file_at_once(
    new_job: NewJob, rows: Rows, row_numbers: Callable[[Rows], dict[int, list[int]]]
):
    trace = Trace(new_job(2))
    attempt(trace, rows, Link(stop_at={6: StopKind.PAUSE}), training=TRAINING)
    trace.job = replace(trace.job, rows=new_job(3).rows)
    link = attempt(trace, rows, training=TRAINING | {"per_device_train_batch_size": 4})
    expected = [
        start + row
        for file, (size, start) in enumerate(zip(SIZES[:3], STARTS, strict=False))
        for row in row_order(7 + file, size, 0, EPOCHS * size)
    ]
    taken = row_numbers(trace.rows)
    assert list(chain(*taken.values())) == expected
    assert [len(numbers) for numbers in taken.values()][6:] == [4, 2, 4, 4]
    assert link.receipt()["why_not"][:2] == [
        "one more file is trained",
        "training.per_device_train_batch_size changed from 2 to 4",
    ]
