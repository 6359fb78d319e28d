"""The rules that do not depend on the memory, one table each."""

from dataclasses import replace
from typing import Any

import pytest

from ftlab.schemas.auto import AutoValue
from tests.unit.train.auto.known import GRPO, LARGE, SMALL, cpu, facts, gpu, job, rows
from train.auto.facts import Facts, Lengths
from train.auto.resolve import resolve
from train.data.tokens.row_lengths import RowLengths


def chosen(name: str, known: Facts | None = None, **groups: Any) -> AutoValue:
    """The value of this setting alone."""
    return resolve(job(name, **groups), known or facts()).auto[name]


@pytest.mark.parametrize(
    ("counts", "method", "positions", "value", "words"),
    [
        ({100: 1000}, {}, 2048, 128, "none is longer"),
        ({64: 10}, {}, 2048, 64, "99 % of the rows have at most 64 tokens; none is longer"),
        ({65: 10}, {}, 2048, 128, "at most 65"),
        ({100: 990, 900: 10}, {}, 2048, 128, "10 of 1,000 are longer and are cut"),
        ({100: 989, 900: 11}, {}, 2048, 960, "none is longer"),
        ({3: 5}, {}, 2048, 64, "at most 3"),
        ({5000: 10}, {}, 2048, 2048, "2,048 is the most that the model reads; 10 of 10 are longer and are cut"),
        ({9000: 10}, {}, None, 4096, "4,096 is the most that is assumed for a model that names no limit"),
        ({100: 1000}, {"packing": True}, 2048, 1024, "none is longer"),
        ({1500: 990, 1900: 10}, {"packing": True}, 2048, 1536, "10 of 1,000 are longer and continue"),
        ({100: 990, 900: 10}, GRPO, 2048, 384, "and answers 256; 10 of 1,000 are longer and are skipped"),
        ({900: 10}, GRPO, 300, 300, "10 of 10 are longer and are skipped"),
        ({}, {}, 2048, 64, "no row has a trained token"),
    ],
)
def test_max_length_covers_the_rows_and_the_model_reads_it(counts, method, positions, value, words):
    found = chosen("method.max_length", facts(lengths=rows(counts), max_positions=positions), method=method)
    assert found.value == value
    assert words in found.reason


def test_a_sample_is_named_as_one():
    found = chosen("method.max_length", facts(lengths=rows({100: 500, 900: 5}, scale=10)))
    assert found.reason.endswith("; about 50 of 5,050 are longer and are cut (from a sample of 505 rows)")


@pytest.mark.parametrize(
    ("counts", "shape", "value"),
    [
        ({100: 900, 1000: 100}, SMALL, True),
        ({100: 1000}, SMALL, False),
        ({500: 900, 1000: 100}, SMALL, False),
        ({100: 900, 1000: 100}, None, False),
        ({100: 900, 1000: 100}, replace(SMALL, model_type="other"), False),
    ],
)
def test_short_rows_beside_long_ones_are_packed_where_the_model_keeps_them_apart(counts, shape, value):
    assert chosen("method.packing", facts(lengths=rows(counts), shape=shape)).value is value


@pytest.mark.parametrize(
    ("number", "method", "value"),
    [
        (99, {}, 5.0),
        (100, {}, 3.0),
        (999, {}, 3.0),
        (1000, {}, 2.0),
        (10_000, {}, 1.0),
        (99, {"type": "dpo"}, 4.0),
        (999, {"type": "kto"}, 2.0),
        (10_000, GRPO, 1.0),
    ],
)
def test_few_rows_are_read_more_often(number, method, value):
    found = chosen("training.num_train_epochs", facts(lengths=rows({50: number})), method=method)
    assert found.value == value
    assert f"for {number:,} rows" in found.reason


def test_epochs_are_not_used_with_max_steps():
    found = chosen("training.num_train_epochs", training={"max_steps": 1200})
    assert (found.value, found.reason) == (3.0, "not used, because training.max_steps is 1,200")


@pytest.mark.parametrize(
    ("groups", "parameters", "value"),
    [
        ({}, 8e9, 2e-4),
        ({}, 32e9, 1e-4),
        ({"tuning": "full"}, 7e9, 2e-5),
        ({"tuning": "full"}, 13e9, 1e-5),
        ({"method": {"type": "dpo"}}, 1e9, 1e-5),
        ({"method": {"type": "dpo"}}, 7e9, 5e-6),
        ({"method": {"type": "reward"}, "tuning": "full"}, 1e9, 1e-5),
        ({"method": GRPO, "tuning": "full"}, 14e9, 5e-7),
    ],
)
def test_the_learning_rate_is_that_of_the_method_and_the_size(groups, parameters, value):
    known = facts(shape=replace(LARGE, num_parameters=int(parameters)), lengths=None, devices=())
    found = chosen("training.learning_rate", known, **groups)
    assert found.value == pytest.approx(value)
    default = job(**groups).learning_rate
    assert ("halved" in found.reason) is (found.value < default)


def test_a_size_that_is_not_known_is_said():
    found = chosen("training.learning_rate", facts(shape=None))
    assert (found.value, "size of the model is not known" in found.reason) == (2e-4, True)


@pytest.mark.parametrize(
    ("groups", "value"),
    [
        ({}, 0.03),
        ({"tuning": "full"}, 0.1),
        ({"method": {"type": "dpo"}}, 0.1),
        ({"training": {"lr_scheduler_type": "constant"}}, 0.0),
    ],
)
def test_the_warm_up_is_a_share_of_the_steps(groups, value):
    assert chosen("training.warmup_ratio", facts(lengths=None, devices=()), **groups).value == value


@pytest.mark.parametrize(
    ("devices", "groups", "bf16", "fp16"),
    [
        ((cpu(),), {}, False, False),
        ((gpu("L4"),), {}, True, False),
        ((gpu("T4"),), {}, False, True),
        ((gpu("H100"), gpu("V100")), {}, False, True),
        ((gpu("T4"),), {"tuning": "full", "training": {"dtype": "float16"}}, False, False),
    ],
)
def test_precision_is_what_every_device_computes(devices, groups, bf16, fp16):
    groups = {"training": {}} | groups
    if "dtype" not in groups["training"]:
        found = resolve(job("training.bf16", "training.fp16", **groups), facts(devices=devices)).config.training
        assert (found.bf16, found.fp16) == (bf16, fp16)
    assert chosen("training.bf16", facts(devices=devices), **groups).value is bf16


def test_float16_alone_names_bfloat16_where_the_device_has_it():
    found = chosen("training.fp16", facts(devices=(gpu("L4"),)))
    assert (found.value, "set training.bf16 to 'auto'" in found.reason) == (False, True)


@pytest.mark.parametrize(
    ("device", "training", "length", "value"),
    [
        (cpu(), {}, 1024, 0),
        (gpu(), {}, 1024, 0),
        (gpu(), {"per_device_train_batch_size": 32}, 1024, 2),
        (gpu(cpus=2), {"per_device_train_batch_size": 32}, 1024, 0),
        (cpu(), {"dataloader_prefetch_factor": 4}, 1024, 2),
    ],
)
def test_loader_workers_are_for_long_passes_on_a_gpu(device, training, length, value):
    known, method = facts(devices=(device,)), {"max_length": length}
    assert chosen("training.dataloader_num_workers", known, training=training, method=method).value == value


def test_each_file_counts_by_its_rows_not_by_its_sample():
    sampled = RowLengths(10_000, 9000, 900_000, 1, {100: 450, 200: 50}, is_exact=False)
    whole = RowLengths(1000, 1000, 1_000_000, 1, {1000: 1000}, is_exact=True)
    found = Lengths.of([sampled, whole])
    assert (found.num_rows, found.num_counted, found.is_exact) == (10_000, 1500, False)
    assert found.counts == {100: pytest.approx(8100), 200: pytest.approx(900), 1000: pytest.approx(1000)}
    assert (found.at_most(0.9), found.at_most(0.99), found.num_above(200)) == (200, 1000, 1000)
    assert found.mean(2000) == pytest.approx((810_000 + 180_000 + 1_000_000) / 10_000)
    assert found.mean(100) == pytest.approx(100)
    assert (Lengths.of([]).longest, Lengths.of([]).mean(10)) == (0, 0.0)


@pytest.mark.parametrize(
    ("device", "training", "value", "words"),
    [
        (gpu("H100"), {}, 8000, "none is longer"),
        (cpu(4), {}, 960, "lowered to what fits 4.0 GiB (CPU); 10 of 10 are longer and are cut"),
        (cpu(16), {"gradient_checkpointing": False}, 3968, "lowered to what fits 16.0 GiB (CPU)"),
        (cpu(0.5), {}, 8000, "none is longer"),
        (replace(cpu(4), memory=None), {}, 8000, "none is longer"),
    ],
)
def test_max_length_is_what_fits_unless_shorter_rows_would_not_help(device, training, value, words):
    known = facts(lengths=rows({8000: 10}), max_positions=131_072, devices=(device,))
    names = ("training.gradient_checkpointing",) if not training else ()
    found = resolve(job("method.max_length", "training.per_device_train_batch_size", *names, training=training), known)
    assert (found.auto["method.max_length"].value, words in found.auto["method.max_length"].reason) == (value, True)
