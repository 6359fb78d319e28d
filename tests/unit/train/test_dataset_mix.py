"""Datasets mixed by weight: the share of each, without replacement, and the order that every resume continues."""

from collections import Counter
from dataclasses import asdict
from fractions import Fraction
from itertools import accumulate, chain
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from ftlab.errors import InvalidRequestError
from ftlab.schemas import TrainingConfig
from ftlab.schemas.job_file import parse_job_config
from train.dataset_mix import Mix, mix_of
from train.row_order import SegmentSampler, mixed_order
from train.row_schedule import RowSchedule, Segment, StepSize

SIZES = st.lists(st.integers(1, 12), min_size=2, max_size=4)
MIXES = st.builds(lambda pairs: Mix(*map(tuple, zip(*pairs, strict=True))), st.lists(
    st.tuples(st.integers(1, 9), st.integers(1, 15)), min_size=2, max_size=4
))  # fmt: skip


@given(SIZES, st.data())
def test_every_dataset_gets_its_share_rounded(sizes: list[int], data: st.DataObject):
    weights = data.draw(st.lists(st.sampled_from([0.1, 0.3, 0.7, 1.0, 3.0]), min_size=len(sizes), max_size=len(sizes)))
    total = sum(Fraction(str(weight)) for weight in weights)
    quotas = [Fraction(str(weight)) * sum(sizes) / total for weight in weights]
    assume(min(quotas) >= 1)
    mix = Mix.of(weights, sizes, [f"ds-{number}" for number in range(len(sizes))])
    assert mix.num_rows == sum(sizes)
    assert all(abs(drawn - quota) < 1 for drawn, quota in zip(mix.draws, quotas, strict=True))


@given(MIXES, st.integers(0, 99), st.integers(1, 4))
def test_rows_are_drawn_without_replacement_across_epochs(mix: Mix, seed: int, epochs: int):
    order = list(mixed_order(mix, seed, 0, epochs * mix.num_rows))
    first = 0
    for size, drawn in zip(mix.sizes, mix.draws, strict=True):
        mine = [row - first for row in order if first <= row < first + size]
        assert len(mine) == epochs * drawn
        counts = Counter(mine)
        assert set(counts) <= set(range(size))
        assert max(counts.values()) - min(counts[row] for row in range(size)) <= 1
        first += size
    for epoch in range(epochs):
        rows = order[epoch * mix.num_rows : (epoch + 1) * mix.num_rows]
        ends = list(accumulate(mix.sizes))
        per_dataset = Counter(next(number for number, end in enumerate(ends) if row < end) for row in rows)
        assert [per_dataset[number] for number in range(len(mix.sizes))] == list(mix.draws)


@given(MIXES, st.integers(0, 99), st.data())
def test_every_part_of_the_order_is_the_same_as_in_one_go(mix: Mix, seed: int, data: st.DataObject):
    end = data.draw(st.integers(1, 3 * mix.num_rows))
    start = data.draw(st.integers(0, end))
    assert list(mixed_order(mix, seed, start, end)) == list(mixed_order(mix, seed, 0, end))[start:]


@given(MIXES, st.integers(1, 3), st.integers(1, 4), st.integers(1, 4), st.data())
def test_a_schedule_takes_the_rows_of_the_mix_with_every_step_size(
    mix: Mix, epochs: int, size: int, other: int, data: st.DataObject
):
    training = TrainingConfig(num_train_epochs=epochs, per_device_train_batch_size=size)
    schedule = RowSchedule.planned(training, mix.sizes, 1, mix=mix)
    assert (schedule.num_files, schedule.end_rows) == (1, epochs * mix.num_rows)
    step = data.draw(st.integers(0, schedule.last_step))
    planned = RowSchedule.planned(
        training.model_copy(update={"per_device_train_batch_size": other}), mix.sizes, 1, mix=mix
    )
    resumed = schedule.continued(step, planned, training)
    assert resumed.mix == mix
    done = schedule.rows_at(step)
    segments, passes = resumed.segments_from(step)
    left = list(chain.from_iterable(SegmentSampler(resumed, segment, 7) for segment in segments))
    rest = list(mixed_order(mix, 7, 0, schedule.end_rows))
    assert left[passes * resumed.step_size.rows_per_pass :] == rest[done:] or not rest[done:]


LONGER = Mix((6, 3), (5, 4))


def test_a_schedule_survives_the_manifest_and_another_mix_is_continued_after_as_many_rows():
    mix = Mix((4, 2), (3, 3))
    training = TrainingConfig(num_train_epochs=1, per_device_train_batch_size=2)
    schedule = RowSchedule.planned(training, [4, 2], 1, mix=mix)
    assert RowSchedule.from_document(schedule.to_document()) == schedule
    old = asdict(schedule)
    del old["mix"]
    assert RowSchedule.from_document(old).mix is None, "manifests of earlier versions have no mix"
    other = RowSchedule.planned(training, [4, 2], 1, mix=Mix((4, 2), (5, 1)))
    assert schedule.continued(0, other, training).mix == other.mix
    longer = RowSchedule.planned(training.model_copy(update={"per_device_train_batch_size": 1}), [6, 3], 1, mix=LONGER)
    continued = schedule.continued(2, longer, training)
    assert (continued.mix, continued.rows_at(2), continued.last_step) == (LONGER, 4, 2 + 5)
    [segment] = continued.segments_from(2)[0]
    assert list(SegmentSampler(continued, segment, 1)) == list(mixed_order(LONGER, 1, 4, 9))
    assert list(SegmentSampler(schedule, Segment(0, 0, 6), 1)) == list(mixed_order(mix, 1, 0, 6))
    assert schedule.step_size == StepSize(2, 1, 1)


def test_the_description_names_every_dataset_and_its_repeats():
    mix = Mix.of([7, 3], [100, 900], ["ds-a", "ds-b"])
    assert mix.describe(["ds-a", "ds-b"]) == (
        "Each epoch mixes 1000 rows: 700 of ds-a (7.00 times its 100 rows), 300 of ds-b (0.33 times its 900 rows)."
    )


def test_a_dataset_without_a_row_is_refused_with_its_name():
    with pytest.raises(InvalidRequestError, match=r"With weight 1 of 1001, none of the 20 rows .* dataset ds-b"):
        Mix.of([1000, 1], [10, 10], ["ds-a", "ds-b"])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dataset": "ds-1", "dataset_weights": [1, 2]}, "it has 2, and the number of datasets is 1"),
        ({"dataset_weights": [1, 2, 3]}, "it has 3, and the number of datasets is 2"),
        ({"dataset_weights": [1, 0]}, "dataset_weights"),
        ({"dataset_weights": [1]}, "dataset_weights"),
    ],
)
def test_weights_that_do_not_fit_are_refused(changes: dict[str, Any], message: str):
    with pytest.raises(InvalidRequestError, match=message):
        parse_job_config({"model": "org/x", "dataset": ["ds-1", "ds-2"]} | changes)


def test_only_a_job_with_weights_has_a_mix():
    config = parse_job_config({"model": "org/x", "dataset": ["ds-1", "ds-2"]})
    assert mix_of(config, [4, 4]) is None
    assert mix_of(config.model_copy(update={"dataset_weights": [1.0, 3.0]}), [4, 4]) == Mix((4, 4), (2, 6))
