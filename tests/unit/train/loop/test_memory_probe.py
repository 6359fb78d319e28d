"""The memory probe: a pass over the longest rows before the first step."""

from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset

from ftlab.schemas import EventKind, MemoryProbePayload
from ftlab.schemas.events import parse_payload
from ftlab.status import ReasonCode
from tests.unit.train.runs import Job, Link, write_pairs, write_rated, write_rows
from tests.unit.train.traces import Trace, assert_same, record_rows
from train.failures.classify import classify
from train.failures.errors import DeviceTooSmallError
from train.loop import memory_probe
from train.loop.memory_probe import longest_rows, measure

DROPOUT = {"r": 4, "lora_alpha": 8, "lora_dropout": 0.3}
MB = 1_000_000
CONFIGS = [
    pytest.param({"lora": DROPOUT}, write_rows, id="lora with dropout"),
    pytest.param({"tuning": "full", "training": {"gradient_accumulation_steps": 2}}, write_rows, id="full"),
    pytest.param({"method": {"type": "dpo", "max_length": 64}}, write_pairs, id="dpo"),
    pytest.param({"method": {"type": "kto", "max_length": 64}, "tuning": "full"}, write_rated, id="kto, full"),
    pytest.param({"method": {"type": "reward", "max_length": 64}}, write_pairs, id="reward"),
]


@pytest.mark.parametrize(("config", "write"), CONFIGS)
def test_a_memory_probe_changes_no_bit(
    models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, config: dict[str, Any], write: Any
):
    data = write(tmp_path / "rows.arrow", 7)
    rows = record_rows(monkeypatch.setattr)
    traces, batches = [], []
    for name, min_passes in (("with", 1), ("without", 1_000_000)):
        monkeypatch.setattr(memory_probe, "MIN_PASSES_ON_CPU", min_passes)
        trace = Trace(Job(tmp_path / name, models, data))
        link = Link()
        trace.links.append(link)
        training = {"max_steps": 3, "per_device_train_batch_size": 2} | config.get("training", {})
        trace.job.train(link, **config | {"training": training})
        traces.append(trace)
        batches.append(dict(rows))
        rows.clear()
    tried, plain = traces
    assert tried.series() == plain.series()
    assert tried.weights() == plain.weights()
    assert_same(tried.states(), plain.states())
    longest, *first_step = batches[0][1]
    assert first_step == batches[1][1]
    assert max(map(len, longest)) == max(len(row) for step in batches[1].values() for texts in step for row in texts)
    assert [len(_probes(trace)) for trace in traces] == [1, 0]


def test_the_notice_has_what_was_measured(models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(memory_probe, "MIN_PASSES_ON_CPU", 1)
    job = Job(tmp_path / "job", models, write_rows(tmp_path / "rows.arrow", 7))
    trace = Trace(job, [Link()])
    job.train(trace.links[0], training={"max_steps": 2, "per_device_train_batch_size": 3})
    [probe] = _probes(trace)
    assert (probe.num_rows, probe.peak_bytes is not None and probe.memory_bytes is not None) == (3, True)
    assert 50 * MB < (probe.peak_bytes or 0) < (probe.memory_bytes or 0)
    assert probe.message.startswith("A memory probe with the longest rows (3 at once, up to ")


def test_the_longest_rows_are_found_by_their_longest_text():
    rows = Dataset.from_dict({"chosen_ids": [[1], [1] * 5, [1] * 2, [1]], "rejected_ids": [[1] * 4, [1], [1], [1] * 9]})
    assert longest_rows(rows, 3) == ([3, 1, 0], 9)
    assert longest_rows(rows, 99)[0] == [3, 1, 0, 2]
    assert longest_rows(Dataset.from_dict({"prompt": ["a"]}), 1) == ([], 0)


def test_the_peak_covers_what_the_pass_held_and_the_optimizer_adds():
    model = torch.nn.Linear(1000, 1000, bias=False)

    def hold(num_bytes: int) -> None:
        torch.ones(num_bytes // 4).sum()

    small = measure(lambda: hold(MB), model, torch.device("cpu"), "sgd", accumulates=False)
    large = measure(lambda: hold(400 * MB), model, torch.device("cpu"), "sgd", accumulates=False)
    adam = measure(lambda: hold(400 * MB), model, torch.device("cpu"), "adamw_torch", accumulates=True)
    assert 350 * MB < large.peak_bytes - small.peak_bytes < 450 * MB
    assert 8 * MB < adam.peak_bytes - large.peak_bytes < 30 * MB, "two averages and the gradients, of 4 MB each"


@pytest.mark.parametrize(("optim", "num_bytes"), [("sgd", 0), ("adamw_torch", 8), ("adamw_8bit", 2)])
def test_the_states_of_the_optimizer_are_counted_ahead(
    monkeypatch: pytest.MonkeyPatch, optim: str, num_bytes: int
) -> None:
    monkeypatch.setattr("train.loop.memory_probe.status_bytes", lambda _: 0)
    model = torch.nn.Linear(1000, 1000, bias=False)
    measured = measure(lambda: None, model, torch.device("cpu"), optim, accumulates=False)
    assert measured.peak_bytes == num_bytes * 1_000_000


def test_a_device_that_is_too_small_is_reported_as_such(tmp_path: Path):
    failure = classify(DeviceTooSmallError("9.1 GB are needed, and 8.0 GB are there"), tmp_path)
    assert failure.reason is ReasonCode.DEVICE_OOM
    assert "9.1 GB are needed, and 8.0 GB are there" in failure.message
    assert "per_device_train_batch_size" in failure.message


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_that_cannot_hold_the_optimizer_is_refused():
    device = torch.device("cuda")
    free, _ = torch.cuda.mem_get_info()
    model = torch.nn.Linear(1, free // 12, bias=False, device=device)
    with pytest.raises(DeviceTooSmallError, match="are needed, and"):
        measure(lambda: model.weight.sum().backward(), model, device, "adamw_torch", accumulates=True)


def _probes(trace: Trace) -> list[MemoryProbePayload]:
    notices = (parse_payload(EventKind.NOTICE, data) for link in trace.links for data in link.told(EventKind.NOTICE))
    return [notice for notice in notices if isinstance(notice, MemoryProbePayload)]
