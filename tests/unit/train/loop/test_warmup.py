"""A warm-up that is a share of the run's steps: through a resume, several files, and steps of another size."""

from pathlib import Path
from typing import Any

import pytest

from tests.unit.train.runs import Job, Link, write_rows
from train.plan import StopKind

RATIO: dict[str, Any] = {"warmup_ratio": 0.3, "lr_scheduler_type": "constant_with_warmup"}
EPOCHS = RATIO | {"max_steps": None, "num_train_epochs": 1}
PEAK = 0.01


@pytest.fixture
def two_files(job: Job, tmp_path: Path) -> Job:
    job.eval_rows = None
    job.rows = [write_rows(tmp_path / f"{number}.arrow", 10, offset=number) for number in range(2)]
    return job


def rates(job: Job, *attempts: tuple[int | None, dict[str, Any]]) -> dict[int, float]:
    """The learning rate of every step of a job whose attempts end at a step."""
    series: dict[int, float] = {}
    for stop, training in attempts:
        link = Link(stop_at={stop: StopKind.PAUSE} if stop else {})
        job.train(link, training=training)
        series |= link.series("learning_rate")
    return series


def test_a_share_is_rounded_up_to_whole_steps(job: Job) -> None:
    """3 of 8 steps: 0.3 * 8 is 2.4."""
    assert list(rates(job, (None, RATIO)).values()) == pytest.approx([0, PEAK / 3, 2 * PEAK / 3, *[PEAK] * 5])


def test_the_share_is_of_all_files_together_and_a_resume_keeps_it(two_files: Job) -> None:
    """10 steps, 3 of them warm-up. The resume is in the middle of the warm-up."""
    expected = [0, PEAK / 3, 2 * PEAK / 3, *[PEAK] * 7]
    assert list(rates(two_files, (2, EPOCHS), (None, EPOCHS)).values()) == pytest.approx(expected)


def test_steps_of_another_size_reach_the_peak_after_as_many_rows(two_files: Job) -> None:
    """The warm-up takes 3 steps of 2 rows. After the first, steps of 1 row follow: 4 of them are left of it."""
    smaller = EPOCHS | {"per_device_train_batch_size": 1}
    found = rates(two_files, (1, EPOCHS), (7, smaller))
    assert list(found.values()) == pytest.approx([0, *(PEAK * (1 + part / 2) / 3 for part in range(4)), PEAK, PEAK])


def test_files_appended_in_the_warm_up_do_not_lengthen_it(two_files: Job) -> None:
    """5 steps, 2 of them warm-up; with the second file, the rest of the schedule is stretched over twice the rows."""
    both = list(two_files.rows)
    two_files.rows = both[:1]
    first = rates(two_files, (1, EPOCHS))
    two_files.rows = both
    found = first | rates(two_files, (None, EPOCHS))
    # The 4 steps that were left of the schedule are spread over 9 steps.
    places = [0.0, *(1 + 4 * part / 9 for part in range(9))]
    assert list(found.values()) == pytest.approx([PEAK * min(1.0, place / 2) for place in places])
