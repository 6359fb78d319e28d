"""The way of a run through its rows: as transformers goes it, and on from there with another pace."""

import json
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
from train.row_schedule import Course, LapSampler, Pace, Position, file_order, row_order

paces = st.builds(Pace, st.integers(1, 5), st.integers(1, 4), st.integers(1, 3))


def training(pace: Pace, **options: Any) -> TrainingConfig:
    shape = {"per_device_train_batch_size": pace.batch_size, "gradient_accumulation_steps": pace.accumulation}
    return TrainingConfig.model_validate(shape | options)


def planned(num_rows: int, pace: Pace, last_step: int) -> Course:
    return Course.planned(training(pace, max_steps=last_step), [num_rows], pace.workers)


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
    course = Course.planned(training(pace, num_train_epochs=epochs), [num_rows], pace.workers)
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
    assert Course.planned(training(Pace(2, 2, 1), **options), [16], 1).last_step == last_step


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
        assert course.start_place > 0
        assert course.rows_at(step) == before.rows_at(step)
        assert course.schedule_at(step) == before.schedule_at(step)
        assert (course.end_rows, course.schedule_steps) == (before.end_rows, before.schedule_steps)
        laps, passes = course.laps_from(step)
        [lap] = laps
        assert (len(LapSampler(course, lap, 7)), passes) == (course.end_rows - course.rows_at(step), 0)
        steps = range(step, course.last_step + 1)
        rows, places = [course.rows_at(s) for s in steps], [course.schedule_at(s) for s in steps]
        assert all(1 <= b - a <= course.pace.rows_per_step for a, b in pairwise(rows))
        assert all(b > a for a, b in pairwise(places))
        assert rows[0] >= rows_seen
        assert places[0] >= schedule_seen
        assert (rows[-1], places[-1]) == (course.end_rows, last_step)
        assert course.last_step - step == course.pace.steps(lap.num_rows)
        rows_seen, schedule_seen = rows[0], places[0]


def test_the_schedule_moves_with_the_rows():
    course = planned(100, Pace(2, 1, 1), 50).changed(10, Pace(8, 1, 1))
    assert (course.rows_at(10), course.last_step) == (20, 20)
    assert [course.schedule_at(step) for step in (10, 11, 15, 20)] == [10.0, 14.0, 30.0, 50.0]


def test_a_course_survives_its_checkpoint():
    course = planned(7, Pace(2, 3, 1), 9).changed(4, Pace(1, 1, 2))
    assert Course.from_document(json.loads(json.dumps(course.to_document()))) == course
    assert replace(course, rows=(8,)) != course


def test_a_stream_gives_its_rows_in_order():
    course = planned(5, Pace(2, 1, 1), 6).changed(2, Pace(1, 1, 1))
    expected = [
        *torch.randperm(5, generator=torch.Generator().manual_seed(9)).tolist()[4:],
        *torch.randperm(5, generator=torch.Generator().manual_seed(10)).tolist(),
    ]
    [lap] = course.laps_from(2)[0]
    assert list(LapSampler(course, lap, 9)) == expected


# Several files

FIVE = (5, 8, 3, 9, 4)


def five(pace: Pace, **options: Any) -> Course:
    return Course.planned(training(pace, num_train_epochs=2, **options), FIVE, pace.workers)


def walk(course: Course, step: int = 0) -> list[tuple[int, int, int]]:
    """File, rows and step of every step to come, as the laps give them."""
    laps, passes_done = course.laps_from(step)
    taken = []
    for lap in laps:
        passes = [course.pace.rows_per_pass] * course.pace.passes(lap.num_rows)
        passes[-1] -= sum(passes) - lap.num_rows
        for first in range(passes_done, len(passes), course.pace.accumulation):
            step += 1
            taken.append((lap.file, sum(passes[first : first + course.pace.accumulation]), step))
        passes_done = 0
    return taken


@given(st.lists(st.integers(1, 12), min_size=1, max_size=5), paces, st.sampled_from([0.4, 1, 1.5, 2]))
def test_files_come_one_after_another_and_no_step_takes_rows_of_two(rows: list[int], pace: Pace, epochs: float):
    course = Course.planned(training(pace, num_train_epochs=epochs), rows, pace.workers)
    alone = [Course.planned(training(pace, num_train_epochs=epochs), [num_rows], pace.workers) for num_rows in rows]
    assert course.last_step == sum(each.last_step for each in alone)
    assert course.ends == tuple(each.end_rows for each in alone)
    whole = walk(course)
    assert [step for _, _, step in whole] == list(range(1, course.last_step + 1))
    assert [(file, taken) for file, taken, _ in whole] == [
        (file, taken) for file, each in enumerate(alone) for _, taken, _ in walk(each)
    ]
    consumed = 0
    for step in range(course.last_step + 1):
        assert course.rows_at(step) == consumed
        assert walk(course, step) == whole[step:]
        if step < course.last_step:
            assert course.next_at(step).file == whole[step][0]
            assert course.done_at(step + 1).file == whole[step][0]
            consumed += whole[step][1]
    assert consumed == course.end_rows


@pytest.mark.parametrize(
    ("max_steps", "ends"), [(3, (9, 0, 0, 0, 0)), (8, (10, 16, 0, 0, 0)), (99, (10, 16, 6, 18, 8))]
)
def test_max_steps_bounds_all_files_together(max_steps: int, ends: tuple[int, ...]):
    """2 steps an epoch of the first two files, 1, 3 and 1 of the others."""
    course = five(Pace(2, 2, 1), max_steps=max_steps)
    assert course.ends == ends
    assert course.last_step == min(max_steps, 18) == len(walk(course))
    file = max(file for file, end in enumerate(ends) if end)
    assert course.done_at(course.last_step) == course.next_at(course.last_step) == Position(file, ends[file])


def test_every_file_is_shuffled_in_a_way_of_its_own():
    course = Course.planned(training(Pace(2, 1, 1)), [20, 20], 1)
    orders = [list(file_order(course, 7, file, 0, 20)) for file in (0, 1)]
    assert [sorted(order) for order in orders] == [list(range(20))] * 2
    assert orders[0] != orders[1]
    laps, _ = course.laps_from(30)
    assert list(LapSampler(course, next(laps), 7)) == [20 + row for row in orders[1]]


@given(paces, paces, st.data())
def test_with_another_pace_only_the_file_that_is_begun_becomes_a_stream(pace: Pace, other: Pace, data: st.DataObject):
    course = five(pace)
    step = data.draw(st.integers(1, course.last_step - 1))
    position, changed = course.next_at(step), course.changed(step, other)
    taken = walk(changed, step)
    assert sum(rows for _, rows, _ in taken) == course.end_rows - course.rows_at(step)
    later = [(file, rows) for file, rows, _ in taken if file > position.file]
    alone = Course.planned(training(other, num_train_epochs=2), FIVE, other.workers)
    assert later == [(file, rows) for file, rows, _ in walk(alone) if file > position.file]
    assert changed.rows_at(step) == course.rows_at(step)
    assert changed.schedule_at(step) == course.schedule_at(step)
    assert changed.last_step == taken[-1][2]


@given(paces, st.integers(1, 5), st.data())
def test_an_appended_file_changes_nothing_of_what_was_there_and_stretches_the_schedule(
    pace: Pace, num_files: int, data: st.DataObject
):
    options = training(pace, num_train_epochs=2)
    before = Course.planned(options, FIVE[:num_files], pace.workers)
    step = data.draw(st.integers(1, before.last_step - 1) if before.last_step > 1 else st.just(1))
    after = before.extended(step, (*FIVE[:num_files], 6, 7), options)
    direct = Course.planned(options, (*FIVE[:num_files], 6, 7), pace.workers)
    assert (walk(after), after.ends, after.last_step) == (walk(direct), direct.ends, direct.last_step)
    places = [after.schedule_at(s) for s in range(step, after.last_step + 1)]
    assert all(b > a for a, b in pairwise(places))
    assert places[-1] == before.last_step
    assert places[0] == (step if step < before.last_step else 0.0)
    assert Course.from_document(json.loads(json.dumps(after.to_document()))) == after


def test_after_its_end_a_run_goes_back_to_the_peak_of_its_schedule():
    options = training(Pace(2, 1, 1), num_train_epochs=1, warmup_steps=3)
    ended = Course.planned(options, [20], 1)
    longer = ended.extended(10, [20, 14], options)
    assert (longer.last_step, longer.schedule_at(10), longer.schedule_at(17)) == (17, 3.0, 10.0)
    warming = training(Pace(2, 1, 1), num_train_epochs=1, warmup_steps=30)
    assert Course.planned(warming, [20], 1).extended(10, [20, 14], warming).schedule_at(10) == 9.0
