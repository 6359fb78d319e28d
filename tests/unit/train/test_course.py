"""The way of a run through its rows: as transformers goes it, and on from there with another pace."""

import json
import math
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
import torch
from accelerate.data_loader import prepare_data_loader
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import DataLoader, RandomSampler

from ftlab.schemas import TrainingConfig
from train.course import Course, Pace, RowStream, row_order

paces = st.builds(Pace, st.integers(1, 5), st.integers(1, 4), st.integers(1, 3))


def training(pace: Pace, **options: Any) -> TrainingConfig:
    shape = {"per_device_train_batch_size": pace.batch_size, "gradient_accumulation_steps": pace.accumulation}
    return TrainingConfig.model_validate(shape | options)


def planned(num_rows: int, pace: Pace, last_step: int) -> Course:
    return Course.planned(training(pace, max_steps=last_step), num_rows, pace.workers)


def loader(num_rows: int, pace: Pace, rank: int) -> Any:
    """What transformers trains from."""
    rows = list(range(num_rows))
    shuffled = DataLoader(rows, batch_size=pace.batch_size, sampler=RandomSampler(rows))
    return prepare_data_loader(
        shuffled, num_processes=pace.workers, process_index=rank, use_seedable_sampler=True, data_seed=7
    )


@given(st.integers(1, 30), paces, st.integers(1, 3))
def test_steps_and_rows_are_those_of_the_loaders(num_rows: int, pace: Pace, epochs: int):
    """Except that a loader gives every worker a full batch, and begins again with the epoch's first rows for it."""
    course = Course.planned(training(pace, num_train_epochs=epochs), num_rows, pace.workers)
    loaders = [loader(num_rows, pace, rank) for rank in range(pace.workers)]
    step = 0
    for epoch in range(epochs):
        passes = [[] for _ in range(len(loaders[0]))]
        for each in loaders:
            each.set_epoch(epoch)
            for rows, batch in zip(passes, each, strict=True):
                rows += batch.tolist()
        consumed: list[int] = []
        for first in range(0, len(passes), pace.accumulation):
            consumed += [row for rows in passes[first : first + pace.accumulation] for row in rows]
            step += 1
            assert course.rows_at(step) == epoch * num_rows + min(len(consumed), num_rows)
        start = epoch * num_rows
        assert consumed[:num_rows] == list(row_order(7, num_rows, start, start + num_rows))
    assert course.last_step == step
    assert course.end_rows == epochs * num_rows


@pytest.mark.parametrize(
    ("options", "last_step"),
    [({"num_train_epochs": 1.5}, 6), ({"num_train_epochs": 0.1}, 1), ({"num_train_epochs": 2, "max_steps": 3}, 3)],
)
def test_the_last_step_follows_from_the_config(options: dict[str, Any], last_step: int):
    """16 rows, 4 a step."""
    assert Course.planned(training(Pace(2, 2, 1), **options), 16, 1).last_step == last_step


@given(st.integers(1, 30), st.integers(0, 70), st.integers(0, 70))
def test_the_order_of_rows_does_not_depend_on_where_one_looks(num_rows: int, start: int, length: int):
    whole = list(row_order(3, num_rows, 0, start + length))
    assert list(row_order(3, num_rows, start, start + length)) == whole[start:]
    for epoch in range((start + length) // num_rows):
        assert sorted(whole[epoch * num_rows : (epoch + 1) * num_rows]) == list(range(num_rows))


@given(st.integers(1, 30), paces, st.integers(2, 40), st.data())
def test_with_other_paces_the_rest_of_the_rows_comes_once_and_the_schedule_ends_with_it(
    num_rows: int, pace: Pace, last_step: int, data: st.DataObject
):
    course = planned(num_rows, pace, last_step)
    rows_seen = schedule_seen = 0.0
    step = 0
    for _ in range(data.draw(st.integers(1, 3), label="changes")):
        change = data.draw(st.integers(step + 1, course.last_step), label="step of the change")
        if change >= course.last_step:
            break
        before, course = course, course.changed(change, data.draw(paces))
        step = change
        assert course.is_stream
        assert course.rows_at(step) == before.rows_at(step)
        assert course.schedule_at(step) == before.schedule_at(step)
        assert (course.end_rows, course.schedule_steps) == (before.end_rows, before.schedule_steps)
        assert len(RowStream(course, 7)) == course.end_rows - course.rows_at(step)
        steps = range(step, course.last_step + 1)
        rows, places = [course.rows_at(s) for s in steps], [course.schedule_at(s) for s in steps]
        assert all(1 <= b - a <= course.pace.rows_per_step for a, b in pairwise(rows))
        assert all(b > a for a, b in pairwise(places))
        assert rows[0] >= rows_seen
        assert places[0] >= schedule_seen
        assert (rows[-1], places[-1]) == (course.end_rows, last_step)
        assert course.last_step - step == math.ceil(course.num_passes / course.pace.accumulation)
        rows_seen, schedule_seen = rows[0], places[0]


def test_the_schedule_moves_with_the_rows():
    course = planned(100, Pace(2, 1, 1), 50).changed(10, Pace(8, 1, 1))
    assert (course.start_rows, course.last_step) == (20, 20)
    assert [course.schedule_at(step) for step in (10, 11, 15, 20)] == [10.0, 14.0, 30.0, 50.0]


def test_a_course_survives_its_checkpoint():
    course = planned(7, Pace(2, 3, 1), 9).changed(4, Pace(1, 1, 2))
    assert Course.from_document(json.loads(json.dumps(course.to_document()))) == course
    assert replace(course, num_rows=8) != course


def test_a_stream_gives_its_rows_in_order():
    course = planned(5, Pace(2, 1, 1), 6).changed(2, Pace(1, 1, 1))
    expected = [
        *torch.randperm(5, generator=torch.Generator().manual_seed(9)).tolist()[4:],
        *torch.randperm(5, generator=torch.Generator().manual_seed(10)).tolist(),
    ]
    assert list(RowStream(course, 9)) == expected
