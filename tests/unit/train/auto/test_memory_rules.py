"""The rules that fill the memory: recompute, batch size, accumulation."""

from dataclasses import replace
from typing import Any

import pytest

from ftlab.schemas.auto import AutoValue
from tests.unit.train.auto.known import GRPO, LARGE, cpu, facts, gpu, job, rows
from train.auto.facts import Device, Facts
from train.auto.resolve import resolve
from train.estimate.devices import Fit

BATCH, EVAL_BATCH = "training.per_device_train_batch_size", "training.per_device_eval_batch_size"
PASSES, RECOMPUTE = "training.gradient_accumulation_steps", "training.gradient_checkpointing"


def chosen(*names: str, known: Facts, **groups: Any) -> list[AutoValue]:
    found = resolve(job(*names, **groups), known).auto
    return [found[name] for name in names]


def on(device: Device, **changes: Any) -> Facts:
    return facts(devices=(device,), **changes)


def test_the_largest_pass_that_fits_and_no_larger_one():
    known = on(cpu(16), lengths=rows({1000: 5000}))
    batch, passes = chosen(BATCH, PASSES, known=known)
    assert (batch.value, passes.value) == (2, 16)
    assert batch.reason == "the largest that fits 16.0 GiB (CPU) at 1,000 tokens"
    for size, fits in ((2, Fit.FITS), (4, None)):
        config = job(training={"per_device_train_batch_size": size, "gradient_accumulation_steps": 32 // size})
        assert (known.fit_of(config, 1000) is Fit.FITS) is (fits is Fit.FITS)


def test_a_pass_is_no_larger_than_a_step():
    [batch] = chosen(BATCH, known=on(gpu("H100")))
    assert batch.value == 32
    assert batch.reason == "a step takes 32 rows on one device, and 32 rows fit 79.1 GiB (H100) at 100 tokens"


@pytest.mark.parametrize(
    ("number", "training", "rows_per_step"),
    [
        (1000, {}, 32),
        (300, {}, 16),
        (100, {}, 4),
        (10, {}, 4),
        (100_000, {}, 32),
        (100_000, {"max_steps": 10}, 16),
        (100, {"num_train_epochs": 20.0}, 32),
    ],
)
def test_a_step_takes_fewer_rows_where_the_run_would_be_short(number, training, rows_per_step):
    batch, passes = chosen(BATCH, PASSES, known=on(gpu("H100"), lengths=rows({50: number})), training=training)
    assert batch.value * passes.value == rows_per_step


def test_the_rows_of_a_step_are_shared_by_all_workers():
    batch, passes = chosen(BATCH, PASSES, known=on(gpu("H100")), resources={"num_workers": 4})
    assert (batch.value, passes.value) == (8, 1)
    assert passes.reason == "32 rows a step: the run has about 96 steps"


def test_given_values_are_kept():
    [passes] = chosen(PASSES, known=on(gpu("H100")), training={"per_device_train_batch_size": 5})
    assert (passes.value, passes.reason) == (6, "30 rows a step: the run has about 102 steps")
    [batch] = chosen(BATCH, known=on(gpu("H100")), training={"gradient_accumulation_steps": 4})
    assert batch.value == 8
    [batch] = chosen(BATCH, known=on(gpu("H100")), training={"gradient_accumulation_steps": 64})
    assert batch.value == 1


@pytest.mark.parametrize(
    ("training", "method", "reason"),
    [
        ({"per_device_train_batch_size": 4096}, {}, "4,096 rows a step: the run has about 3 steps"),
        ({"per_device_train_batch_size": 4096, "num_train_epochs": 0.5}, {}, "about 1 step"),
        ({"per_device_train_batch_size": 64}, GRPO, "64 answers a step: the run has about 9 steps"),
        ({"per_device_train_batch_size": 64}, GRPO | {"num_iterations": 2}, "about 18 steps"),
        ({"max_steps": 9}, {}, "the run has training.max_steps, 9"),
    ],
)
def test_the_reason_counts_the_steps_of_the_values_and_not_of_what_was_wanted(training, method, reason):
    known = on(gpu("H100"), lengths=rows({100: 40}))
    names = [PASSES] if "per_device_train_batch_size" in training else [BATCH, PASSES]
    assert chosen(*names, known=known, training=training, method=method)[-1].reason.endswith(reason)


def test_a_packed_row_counts_as_the_rows_in_it():
    known = on(gpu("H100"), lengths=rows({100: 5000}))
    batch, passes = chosen(BATCH, PASSES, known=known, method={"packing": True, "max_length": 1024})
    assert (batch.value, passes.value) == (2, 2)
    assert batch.reason.startswith("a step takes 3 packed rows on one device")
    assert "a packed row holds about 10 rows" in passes.reason


def test_activations_are_recomputed_only_where_one_row_does_not_fit():
    known = on(gpu("T4"), shape=LARGE, lengths=rows({1000: 5000}))
    assert chosen(RECOMPUTE, BATCH, known=known, load_in_4bit=True)[0].value is True
    without, _ = chosen(RECOMPUTE, BATCH, known=on(gpu("H100"), shape=LARGE), load_in_4bit=True)
    assert without.value is False
    assert without.reason == "a pass of 1 row at 100 tokens fits 79.1 GiB (H100) without it"
    given = {"per_device_train_batch_size": 64}
    [needed] = chosen(RECOMPUTE, known=on(cpu(4), lengths=rows({1000: 5000})), training=given)
    assert (needed.value, needed.reason.startswith("a pass of 64 rows")) == (True, True)


def test_nothing_fits_and_that_is_said():
    known = on(gpu("T4"), shape=LARGE)
    recompute, batch = chosen(RECOMPUTE, BATCH, known=known, tuning="full")
    assert (recompute.value, batch.value) == (True, 1)
    assert batch.reason == "the smallest; by the estimate, not even that fits 14.6 GiB (T4) at 100 tokens"


@pytest.mark.parametrize(
    ("known", "words"),
    [
        (on(gpu("H100"), shape=None), "the memory of this model cannot be estimated"),
        (on(replace(gpu(), name="GPU", memory=None)), "the memory of GPU is not known"),
        (facts(devices=(gpu("H100"), replace(gpu(), name="GPU", memory=None))), "the memory of GPU is not known"),
    ],
)
def test_without_knowledge_the_least_memory_is_taken(known, words):
    recompute, batch = chosen(RECOMPUTE, BATCH, known=known)
    assert (recompute.value, batch.value) == (True, 1)
    assert words in recompute.reason
    assert words in batch.reason


def test_the_job_fits_every_device_that_it_may_get():
    lengths = rows({1000: 5000})
    both, small = facts(devices=(gpu("H100"), gpu("T4")), lengths=lengths), on(gpu("T4"), lengths=lengths)
    assert chosen(BATCH, known=both) == chosen(BATCH, known=small)
    assert chosen(BATCH, known=both) != chosen(BATCH, known=on(gpu("H100"), lengths=lengths))


def test_processes_share_a_machine():
    lengths = rows({1000: 5000})
    [one] = chosen(BATCH, known=on(cpu(24), lengths=lengths))
    [shared] = chosen(BATCH, known=on(cpu(24, processes=2), lengths=lengths), resources={"num_workers": 2})
    assert shared.value < one.value
    assert "24.0 GiB (CPU, shared by 2 processes)" in shared.reason


def test_measured_memory_corrects_the_computed_one_upwards_only():
    known = on(cpu(24), lengths=rows({1000: 5000}))
    [plain], [more], [less] = (chosen(BATCH, known=replace(known, correction=factor)) for factor in (1.0, 2.0, 0.1))
    assert more.value < plain.value == less.value


def test_evaluations_take_what_training_takes():
    known = on(cpu(8), lengths=rows({1000: 5000}))
    batch, evaluated = chosen(BATCH, EVAL_BATCH, known=known, eval_split=0.1)
    assert evaluated.value == batch.value


def test_a_given_evaluation_counts():
    known = on(cpu(8), lengths=rows({1000: 5000}))
    given = {"per_device_eval_batch_size": 4096}
    [batch] = chosen(BATCH, known=known, eval_split=0.1, training=given)
    assert "not even that fits" in batch.reason


@pytest.mark.parametrize(
    ("method", "training", "workers"),
    [
        (GRPO, {}, 1),
        (GRPO | {"num_generations": 3}, {}, 1),
        (GRPO | {"num_generations": 6}, {}, 4),
        (GRPO | {"num_generations": 1024}, {}, 1),
        (GRPO | {"num_generations": 8}, {"gradient_accumulation_steps": 3}, 2),
        (GRPO | {"num_generations": 8}, {"per_device_train_batch_size": 5}, 2),
        ({"type": "kto"}, {}, 16),
        ({"type": "kto"}, {"gradient_accumulation_steps": 64}, 1),
    ],
)
def test_what_a_method_demands_of_a_step_is_kept(method, training, workers):
    names = {BATCH, PASSES} - {f"training.{name}" for name in training}
    config = job(*names, method=dict(method), training=training, resources={"num_workers": workers})
    found = resolve(config, on(gpu("H100"))).config
    batch, passes = found.training.per_device_train_batch_size, found.training.gradient_accumulation_steps
    assert batch * passes * workers % found.method.answers_per_row == 0
    assert batch >= found.method.min_batch_size
