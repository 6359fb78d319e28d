"""What a run writes down of its memory, and the peaks that follow from it."""

from pathlib import Path

import pytest

from ftlab.schemas import JobConfig
from tests.unit.train.failures.reports import CPU, GPU
from tests.unit.train.runs import Job, write_pairs, write_rows
from train.estimate.job_memory import JobMemory
from train.estimate.memory import evaluation_peak, training_peak
from train.model.folder import facts_of


def config(**values: object) -> JobConfig:
    return JobConfig.model_validate({"model": "org/tiny", "dataset": "ds-1", "eval_dataset": "ds-2"} | values)


def test_a_run_writes_down_its_model_its_rows_and_its_device(job: Job, tmp_path: Path):
    job.rows = [write_rows(tmp_path / "a.arrow", 12), write_rows(tmp_path / "b.arrow", 5)]
    job.train(training={"max_steps": 1}, dataset=["ds-1", "ds-2"])
    memory = JobMemory.read(job.folder)
    assert memory is not None
    assert memory.shape == facts_of(job.models / "org--tiny").shape
    assert sum(memory.lengths.values()) == 17
    assert 0 < memory.eval_longest <= 64
    assert not memory.traits.use_cuda
    assert memory.memory_bytes > 2**30
    assert memory.length(config()) == max(memory.lengths)


def test_a_pair_is_as_long_as_its_longer_answer(job: Job, tmp_path: Path):
    job.rows, job.eval_rows = write_pairs(tmp_path / "pairs.arrow", 6), None
    job.train(training={"max_steps": 1}, method={"type": "dpo", "max_length": 64})
    memory = JobMemory.read(job.folder)
    assert memory is not None
    assert (sum(memory.lengths.values()), memory.eval_longest) == (6, 0)


def test_the_peaks_are_those_of_the_estimate():
    now, length = config(), GPU.length(config())
    assert GPU.training_bytes(now, length) == training_peak(GPU.shape, now, length, GPU.traits).total
    assert GPU.evaluation_bytes(now, length) == evaluation_peak(GPU.shape, now, 1024, GPU.traits).total
    shared = JobMemory(**{**vars(CPU), "processes": 2, "correction": 1.5})
    assert shared.training_bytes(now, length) == pytest.approx(3 * CPU.training_bytes(now, length), abs=2)


def test_the_length_of_a_step():
    packed = config(method={"type": "sft", "max_length": 4096, "packing": True})
    assert GPU.length(packed) == 4096
    rewarded = {"type": "grpo", "max_length": 2100, "max_completion_length": 512, "rewards": [{"type": "exact_match"}]}
    generated = config(method=rewarded, training={"per_device_train_batch_size": 8})
    assert GPU.length(generated) == 2100
    unknown = JobMemory(GPU.shape, GPU.traits, 1, {})
    assert unknown.length(config()) == 1024
