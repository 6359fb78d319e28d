"""The schedule of a run over its rows: as transformers does it, then with another step size and with more files."""

import json
from dataclasses import replace
from itertools import pairwise, zip_longest
from typing import Any

import pytest
import torch
from accelerate.data_loader import prepare_data_loader
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import DataLoader, RandomSampler
from trl.trainer.utils import RepeatSampler

from ftlab.schemas import GrpoMethod, TrainingConfig
from train.row_order import DealtBatches, GenerationSampler, SegmentSampler, file_order, row_order
from train.row_schedule import Position, RowSchedule, Segment, StepSize

step_sizes = st.builds(StepSize, st.integers(1, 5), st.integers(1, 4), st.integers(1, 3))


def training(step_size: StepSize, **options: Any) -> TrainingConfig:
    shape = {"per_device_train_batch_size": step_size.batch_size, "gradient_accumulation_steps": step_size.accumulation}
    return TrainingConfig.model_validate(shape | options)


def planned(num_rows: int, step_size: StepSize, last_step: int) -> RowSchedule:
    return RowSchedule.planned(training(step_size, max_steps=last_step), [num_rows], step_size.workers)


def loader(num_rows: int, step_size: StepSize, rank: int) -> Any:
    """What transformers trains from."""
    rows = list(range(num_rows))
    shuffled = DataLoader(rows, batch_size=step_size.batch_size, sampler=RandomSampler(rows))
    return prepare_data_loader(
        shuffled, num_processes=step_size.workers, process_index=rank, use_seedable_sampler=True, data_seed=7
    )


@given(st.integers(1, 30), step_sizes, st.integers(1, 3))
def test_steps_and_rows_are_those_of_the_loaders(num_rows: int, step_size: StepSize, epochs: int):
    """Except that a loader gives every worker a full batch, and begins again with the epoch's first rows for it."""
    schedule = RowSchedule.planned(training(step_size, num_train_epochs=epochs), [num_rows], step_size.workers)
    loaders = [loader(num_rows, step_size, rank) for rank in range(step_size.workers)]
    step = 0
    for epoch in range(epochs):
        passes = [[] for _ in range(len(loaders[0]))]
        for each in loaders:
            each.set_epoch(epoch)
            for rows, batch in zip(passes, each, strict=True):
                rows += batch.tolist()
        consumed: list[int] = []
        for first in range(0, len(passes), step_size.accumulation):
            consumed += [row for rows in passes[first : first + step_size.accumulation] for row in rows]
            step += 1
            assert schedule.rows_at(step) == epoch * num_rows + min(len(consumed), num_rows)
        start = epoch * num_rows
        assert consumed[:num_rows] == list(row_order(7, num_rows, start, start + num_rows))
    assert schedule.last_step == step
    assert schedule.end_rows == epochs * num_rows


@pytest.mark.parametrize(
    ("options", "last_step"),
    [({"num_train_epochs": 1.5}, 6), ({"num_train_epochs": 0.1}, 1), ({"num_train_epochs": 2, "max_steps": 3}, 3)],
)
def test_the_last_step_follows_from_the_config(options: dict[str, Any], last_step: int):
    """16 rows, 4 a step."""
    assert RowSchedule.planned(training(StepSize(2, 2, 1), **options), [16], 1).last_step == last_step


@given(st.integers(1, 30), st.integers(0, 70), st.integers(0, 70))
def test_the_order_of_rows_does_not_depend_on_where_one_looks(num_rows: int, start: int, length: int):
    whole = list(row_order(3, num_rows, 0, start + length))
    assert list(row_order(3, num_rows, start, start + length)) == whole[start:]
    for epoch in range((start + length) // num_rows):
        assert sorted(whole[epoch * num_rows : (epoch + 1) * num_rows]) == list(range(num_rows))


@given(st.integers(1, 30), step_sizes, st.integers(2, 40), st.data())
def test_with_other_step_sizes_the_rest_of_the_rows_comes_once_and_the_learning_rate_ends_with_it(
    num_rows: int, step_size: StepSize, last_step: int, data: st.DataObject
):
    schedule = planned(num_rows, step_size, last_step)
    rows_seen = schedule_seen = 0.0
    step = 0
    for _ in range(data.draw(st.integers(1, 3), label="changes")):
        change = data.draw(st.integers(step + 1, schedule.last_step), label="step of the change")
        if change >= schedule.last_step:
            break
        before, schedule = schedule, schedule.with_step_size(change, data.draw(step_sizes))
        step = change
        assert schedule.start_place > 0
        assert schedule.rows_at(step) == before.rows_at(step)
        assert schedule.lr_position(step) == before.lr_position(step)
        assert (schedule.end_rows, schedule.lr_steps) == (before.end_rows, before.lr_steps)
        segments, passes = schedule.segments_from(step)
        [segment] = segments
        assert (len(SegmentSampler(schedule, segment, 7)), passes) == (schedule.end_rows - schedule.rows_at(step), 0)
        steps = range(step, schedule.last_step + 1)
        rows, places = [schedule.rows_at(s) for s in steps], [schedule.lr_position(s) for s in steps]
        assert all(1 <= b - a <= schedule.step_size.rows_per_step for a, b in pairwise(rows))
        assert all(b > a for a, b in pairwise(places))
        assert rows[0] >= rows_seen
        assert places[0] >= schedule_seen
        assert (rows[-1], places[-1]) == (schedule.end_rows, last_step)
        assert schedule.last_step - step == schedule.step_size.steps(segment.num_rows)
        rows_seen, schedule_seen = rows[0], places[0]


@given(st.integers(1, 30), step_sizes, st.integers(2, 40), st.data())
def test_steps_that_take_the_same_rows_in_other_passes_continue_as_planned(
    num_rows: int, step_size: StepSize, last_step: int, data: st.DataObject
):
    schedule = planned(num_rows, step_size, last_step)
    if data.draw(st.booleans(), label="changed before"):
        schedule = schedule.with_step_size(1, StepSize(step_size.batch_size + 1, step_size.accumulation, 1))
    now = replace(schedule.step_size, batch_size=1, workers=1, accumulation=schedule.step_size.rows_per_step)
    step = data.draw(st.integers(1, schedule.last_step))
    continued = schedule.continued(step, planned(num_rows, now, last_step), training(now))
    assert continued == replace(schedule, step_size=now)
    steps = range(step, schedule.last_step + 1)
    assert [continued.next_at(s) for s in steps] == [schedule.next_at(s) for s in steps]
    assert [continued.lr_position(s) for s in steps] == [schedule.lr_position(s) for s in steps]


@given(st.integers(1, 30), st.integers(1, 30), step_sizes, step_sizes, st.data())
def test_with_other_rows_a_run_continues_after_as_many_rows(
    num_rows: int, rows_now: int, step_size: StepSize, other: StepSize, data: st.DataObject
):
    before = RowSchedule.planned(training(step_size), [num_rows], step_size.workers)
    now = RowSchedule.planned(training(other), [num_rows + rows_now], other.workers)
    step = data.draw(st.integers(1, before.last_step))
    continued = before.continued(step, now, training(other))
    assert continued.ends == now.ends
    assert continued.rows_at(step) == before.rows_at(step)
    assert sum(segment.num_rows for segment in continued.segments_from(step)[0]) == now.end_rows - before.rows_at(step)
    assert continued.lr_position(step) == before.lr_position(step)
    assert continued.lr_position(continued.last_step) == before.lr_steps


def test_a_run_that_has_consumed_more_rows_than_are_left_ends():
    before = RowSchedule.planned(training(StepSize(2, 1, 1)), [10], 1)
    now = RowSchedule.planned(training(StepSize(2, 1, 1)), [4], 1)
    continued = before.continued(8, now, training(StepSize(2, 1, 1)))
    assert (continued.rows_at(8), continued.last_step) == (12, 8)
    assert list(continued.segments_from(8)[0]) == []


def test_the_learning_rate_moves_with_the_rows():
    schedule = planned(100, StepSize(2, 1, 1), 50).with_step_size(10, StepSize(8, 1, 1))
    assert (schedule.rows_at(10), schedule.last_step) == (20, 20)
    assert [schedule.lr_position(step) for step in (10, 11, 15, 20)] == [10.0, 14.0, 30.0, 50.0]


def test_a_schedule_survives_its_checkpoint():
    schedule = planned(7, StepSize(2, 3, 1), 9).with_step_size(4, StepSize(1, 1, 2))
    document = json.loads(json.dumps(schedule.to_document()))
    assert RowSchedule.from_document(document) == schedule
    assert replace(schedule, rows=(8,)) != schedule


def test_a_stream_gives_its_rows_in_order():
    schedule = planned(5, StepSize(2, 1, 1), 6).with_step_size(2, StepSize(1, 1, 1))
    expected = [
        *torch.randperm(5, generator=torch.Generator().manual_seed(9)).tolist()[4:],
        *torch.randperm(5, generator=torch.Generator().manual_seed(10)).tolist(),
    ]
    [segment] = schedule.segments_from(2)[0]
    assert list(SegmentSampler(schedule, segment, 9)) == expected


# Several files

FIVE = (5, 8, 3, 9, 4)


def five(step_size: StepSize, **options: Any) -> RowSchedule:
    return RowSchedule.planned(training(step_size, num_train_epochs=2, **options), FIVE, step_size.workers)


def walk(schedule: RowSchedule, step: int = 0) -> list[tuple[int, int, int]]:
    """File, rows and step of every step to come, as the segments give them."""
    segments, passes_done = schedule.segments_from(step)
    taken = []
    for segment in segments:
        passes = [schedule.step_size.rows_per_pass] * schedule.step_size.passes(segment.num_rows)
        passes[-1] -= sum(passes) - segment.num_rows
        for first in range(passes_done, len(passes), schedule.step_size.accumulation):
            step += 1
            taken.append((segment.file, sum(passes[first : first + schedule.step_size.accumulation]), step))
        passes_done = 0
    return taken


@given(st.lists(st.integers(1, 12), min_size=1, max_size=5), step_sizes, st.sampled_from([0.4, 1, 1.5, 2]))
def test_files_come_one_after_another_and_no_step_takes_rows_of_two(
    rows: list[int], step_size: StepSize, epochs: float
):
    schedule = RowSchedule.planned(training(step_size, num_train_epochs=epochs), rows, step_size.workers)
    alone = [
        RowSchedule.planned(training(step_size, num_train_epochs=epochs), [num_rows], step_size.workers)
        for num_rows in rows
    ]
    assert schedule.last_step == sum(each.last_step for each in alone)
    assert schedule.ends == tuple(each.end_rows for each in alone)
    whole = walk(schedule)
    assert [step for _, _, step in whole] == list(range(1, schedule.last_step + 1))
    assert [(file, taken) for file, taken, _ in whole] == [
        (file, taken) for file, each in enumerate(alone) for _, taken, _ in walk(each)
    ]
    consumed = 0
    for step in range(schedule.last_step + 1):
        assert schedule.rows_at(step) == consumed
        assert walk(schedule, step) == whole[step:]
        if step < schedule.last_step:
            assert schedule.next_at(step).file == whole[step][0]
            assert schedule.done_at(step + 1).file == whole[step][0]
            consumed += whole[step][1]
    assert consumed == schedule.end_rows


@pytest.mark.parametrize(
    ("max_steps", "ends"), [(3, (9, 0, 0, 0, 0)), (8, (10, 16, 0, 0, 0)), (99, (10, 16, 6, 18, 8))]
)
def test_max_steps_bounds_all_files_together(max_steps: int, ends: tuple[int, ...]):
    """2 steps an epoch of the first two files, 1, 3 and 1 of the others."""
    schedule = five(StepSize(2, 2, 1), max_steps=max_steps)
    assert schedule.ends == ends
    assert schedule.last_step == min(max_steps, 18) == len(walk(schedule))
    file = max(file for file, end in enumerate(ends) if end)
    assert schedule.done_at(schedule.last_step) == schedule.next_at(schedule.last_step) == Position(file, ends[file])


def test_every_file_is_shuffled_in_a_way_of_its_own():
    schedule = RowSchedule.planned(training(StepSize(2, 1, 1)), [20, 20], 1)
    orders = [list(file_order(schedule, 7, file, 0, 20)) for file in (0, 1)]
    assert [sorted(order) for order in orders] == [list(range(20))] * 2
    assert orders[0] != orders[1]
    segments, _ = schedule.segments_from(30)
    assert list(SegmentSampler(schedule, next(segments), 7)) == [20 + row for row in orders[1]]


@given(step_sizes, step_sizes, st.data())
def test_with_another_step_size_only_the_file_that_is_begun_becomes_a_stream(
    step_size: StepSize, other: StepSize, data: st.DataObject
):
    schedule = five(step_size)
    step = data.draw(st.integers(1, schedule.last_step - 1))
    position, changed = schedule.next_at(step), schedule.with_step_size(step, other)
    taken = walk(changed, step)
    assert sum(rows for _, rows, _ in taken) == schedule.end_rows - schedule.rows_at(step)
    later = [(file, rows) for file, rows, _ in taken if file > position.file]
    alone = RowSchedule.planned(training(other, num_train_epochs=2), FIVE, other.workers)
    assert later == [(file, rows) for file, rows, _ in walk(alone) if file > position.file]
    assert changed.rows_at(step) == schedule.rows_at(step)
    assert changed.lr_position(step) == schedule.lr_position(step)
    assert changed.last_step == taken[-1][2]


@given(step_sizes, st.integers(1, 5), st.data())
def test_an_appended_file_changes_nothing_of_what_was_there_and_rescales_the_learning_rate(
    step_size: StepSize, num_files: int, data: st.DataObject
):
    options = training(step_size, num_train_epochs=2)
    before = RowSchedule.planned(options, FIVE[:num_files], step_size.workers)
    step = data.draw(st.integers(1, before.last_step - 1) if before.last_step > 1 else st.just(1))
    after = before.with_files(step, (*FIVE[:num_files], 6, 7), options)
    direct = RowSchedule.planned(options, (*FIVE[:num_files], 6, 7), step_size.workers)
    assert (walk(after), after.ends, after.last_step) == (walk(direct), direct.ends, direct.last_step)
    places = [after.lr_position(s) for s in range(step, after.last_step + 1)]
    assert all(b > a for a, b in pairwise(places))
    assert places[-1] == before.last_step
    assert places[0] == (step if step < before.last_step else 0.0)
    assert RowSchedule.from_document(json.loads(json.dumps(after.to_document()))) == after


def test_after_its_end_a_run_goes_back_to_the_peak_of_its_schedule():
    options = training(StepSize(2, 1, 1), num_train_epochs=1, warmup_steps=3)
    ended = RowSchedule.planned(options, [20], 1)
    longer = ended.with_files(10, [20, 14], options)
    assert (longer.last_step, longer.lr_position(10), longer.lr_position(17)) == (17, 3.0, 10.0)
    warming = training(StepSize(2, 1, 1), num_train_epochs=1, warmup_steps=30)
    assert RowSchedule.planned(warming, [20], 1).with_files(10, [20, 14], warming).lr_position(10) == 9.0


def test_after_its_end_a_run_goes_back_to_the_end_of_a_warm_up_that_is_a_share():
    options = training(StepSize(2, 1, 1), num_train_epochs=1, warmup_ratio=0.25)
    longer = RowSchedule.planned(options, [20], 1).with_files(10, [20, 14], options)
    assert (longer.lr_position(10), longer.lr_position(17)) == (3.0, 10.0)


def generating(step_size: StepSize, num_rows: int, **options: Any) -> RowSchedule:
    method = GrpoMethod.model_validate(
        {
            "rewards": [{"type": "json_schema"}],
            "num_generations": step_size.answers_per_row,
            "num_iterations": step_size.steps_per_answer,
        }
    )
    return RowSchedule.planned(training(step_size, **options), [num_rows], step_size.workers, method)


GENERATING = [StepSize(4, 1, 1, 2), StepSize(2, 3, 2, 4, 1), StepSize(2, 2, 1, 4, 3), StepSize(6, 2, 1, 3, 2)]


@pytest.mark.parametrize("step_size", GENERATING)
def test_prompts_come_in_the_order_of_trl(step_size: StepSize) -> None:
    num_rows = 5 * step_size.rows_per_step
    schedule = generating(step_size, num_rows, num_train_epochs=1)
    theirs = RepeatSampler(
        list(range(num_rows)),
        mini_repeat_count=step_size.answers_per_row,
        batch_size=step_size.rows_per_step,
        repeat_count=step_size.steps_per_answer * step_size.accumulation,
        seed=7,
    )
    sampler = GenerationSampler(schedule, next(schedule.segments_from(0)[0]), 7)
    assert list(sampler) == list(theirs)
    batch = step_size.batch_size * step_size.accumulation * step_size.workers
    assert len(sampler) == len(theirs) == schedule.step_size.passes(num_rows) * batch
    assert schedule.last_step == 5 * step_size.steps_per_answer


@pytest.mark.parametrize("num_rows", [1, 3, 9])
@pytest.mark.parametrize("step_size", GENERATING)
def test_the_last_step_of_an_epoch_is_filled_with_prompts_and_leaves_none_out(
    step_size: StepSize, num_rows: int
) -> None:
    schedule = generating(step_size, num_rows, num_train_epochs=2)
    segments = list(schedule.segments_from(0)[0])
    assert [segment.num_rows for segment in segments] == [num_rows, num_rows]
    for segment in segments:
        prompts = list(GenerationSampler(schedule, segment, 7))
        assert {*prompts} == {*range(num_rows)}
        assert len(prompts) == schedule.last_step // 2 * step_size.rows_per_step * (
            step_size.answers_per_row * step_size.accumulation
        )


@pytest.mark.parametrize("step_size", GENERATING)
def test_a_resume_between_steps_that_train_the_same_answers_finds_its_place(step_size: StepSize) -> None:
    schedule = generating(step_size, 7, num_train_epochs=2)
    passes = step_size.accumulation
    per_epoch = schedule.step_size.steps(7)
    for step in range(schedule.last_step):
        segments, done = schedule.segments_from(step)
        assert next(segments).start == step // per_epoch * 7
        assert done == step % per_epoch * passes
    assert schedule.rows_at(schedule.last_step) == 14


def test_prompts_continue_by_rows_consumed_with_another_number_of_workers() -> None:
    schedule = generating(StepSize(4, 1, 2, 2, 2), 12, num_train_epochs=1)
    assert schedule.last_step == 6
    # Step 3 is the first of two that train the same answers: they are generated once more.
    continued = schedule.with_step_size(3, StepSize(4, 1, 1, 2, 2))
    assert continued.start_place == 4
    assert continued.last_step == 3 + 8
    [segment] = continued.segments_from(3)[0]
    assert (segment.start, segment.end) == (4, 12)
    consumed = [*GenerationSampler(schedule, next(schedule.segments_from(0)[0]), 7)][:16]
    assert {*consumed}.isdisjoint({*GenerationSampler(continued, segment, 7)})


@given(st.integers(1, 40), step_sizes)
def test_the_rows_of_a_pass_are_dealt_to_the_workers_once(num_rows: int, step_size: StepSize) -> None:
    schedule = planned(num_rows, step_size, last_step=1)
    sampler = SegmentSampler(schedule, Segment(0, 0, num_rows), seed=7)
    ranks = range(step_size.workers)
    dealt = [DealtBatches(sampler, step_size.batch_size, rank, step_size.workers) for rank in ranks]
    batches = [list(each) for each in dealt]
    assert [len(each) for each in dealt] == [len(each) for each in batches]
    passes = [[row for batch in each for row in batch] for each in zip_longest(*batches, fillvalue=[])]
    assert [row for rows in passes for row in rows] == list(sampler)
    assert {len(rows) for rows in passes[:-1]} <= {step_size.rows_per_pass}
    assert len(passes) == step_size.passes(num_rows)
    for rank in ranks:
        preceded = DealtBatches(sampler, step_size.batch_size, rank, step_size.workers, has_row_before=True)
        for rows, batch, longer in zip(passes, batches[rank], preceded, strict=False):
            assert longer == [rows[rows.index(batch[0]) - 1], *batch]
