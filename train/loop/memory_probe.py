"""Memory probe: a pass over the longest rows before the first step, so that what does not fit fails at once."""

from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import psutil
import torch
from datasets import Dataset

from ftlab.schemas.events import MEMORY_PROBED, MemoryProbePayload
from train.all_ranks import highest
from train.failures.errors import DeviceTooSmallError
from train.loop.sharded_training import local
from train.process_memory import reset_process_peak, status_bytes
from train.row_schedule import RowSchedule

MIN_PASSES_ON_CPU = 200
"""A run with fewer passes starts without a probe, which would take more than about half a percent of its time."""
STATE_TENSORS = {"adamw_torch": 2, "adamw_torch_fused": 2}
"""Tensors of a weight's size in the optimizer's state, which exists from the first step on."""


@dataclass(frozen=True)
class MemoryProbe:
    """Memory of a process, on the rank that needed the most."""

    peak_bytes: int
    """Most during the pass, and what further passes need besides."""
    memory_bytes: int
    """What the process may use."""
    time_s: float


def is_worth_it(schedule: RowSchedule, *, use_cuda: bool) -> bool:
    """Whether a run begins with a memory probe."""
    return use_cuda or schedule.last_step * schedule.step_size.accumulation >= MIN_PASSES_ON_CPU


def longest_rows(rows: Dataset, number: int) -> tuple[list[int], int]:
    """The indexes of the longest rows, and the tokens of the longest. A pair is as long as its longer text.

    There are none where the rows have no tokens before training.
    """
    from pyarrow import compute

    columns = [rows.data.column(name) for name in rows.column_names if name.endswith("_ids")]
    if not columns:
        return [], 0
    lengths = compute.max_element_wise(*map(compute.list_value_length, columns))
    order = compute.sort_indices(lengths, [("", "descending")])
    return order[:number].to_pylist(), compute.max(lengths).as_py()


def measure(
    run_pass: Callable[[], Any], model: Any, device: torch.device, optim: str, *, accumulates: bool
) -> MemoryProbe:
    """Run a forward and backward pass and measure it, with the weights' gradients. Every rank calls it.

    Raise `DeviceTooSmallError` where the GPU cannot hold what comes after it.
    """
    trained = [local(weight) for weight in model.parameters() if weight.requires_grad]
    size = sum(weight.numel() * weight.element_size() for weight in trained)
    # The 8-bit states have two bytes per number, whatever the type of the weight.
    states = 2 * sum(weight.numel() for weight in trained) if optim == "adamw_8bit" else 0
    coming = states + size * (STATE_TENSORS.get(optim, 0) + accumulates)
    is_cuda = device.type == "cuda"
    memory = _watch_gpu(device) if is_cuda else _watch_process()
    started = perf_counter()
    run_pass()
    if is_cuda:
        torch.cuda.synchronize(device)
    time_s = perf_counter() - started
    peak = (torch.cuda.max_memory_allocated(device) if is_cuda else status_bytes("VmHWM")) + coming
    peak, time_ms = highest([peak, round(time_s * 1000)])
    if is_cuda and peak > memory:
        raise DeviceTooSmallError(f"{peak / 1e9:.1f} GB are needed, and {memory / 1e9:.1f} GB are there")
    return MemoryProbe(peak, memory, time_ms / 1000)


def payload(measured: MemoryProbe, num_rows: int, longest: int) -> MemoryProbePayload:
    """The notice about a pass over `num_rows` rows, the longest of which has `longest` tokens."""
    message = (
        f"A memory probe with the longest rows ({num_rows} at once, up to {longest:,} tokens) took "
        f"{measured.time_s:.1f} s. Training needs about {measured.peak_bytes / 1e9:.1f} GB of "
        f"{measured.memory_bytes / 1e9:.1f} GB."
    )
    return MemoryProbePayload(code=MEMORY_PROBED, message=message, num_rows=num_rows, longest=longest, **vars(measured))


def _watch_gpu(device: torch.device) -> int:
    """Start to watch the peak of the GPU's memory; return how much this process may use."""
    torch.cuda.reset_peak_memory_stats(device)
    free, _ = torch.cuda.mem_get_info(device)
    return int(free + torch.cuda.memory_reserved(device))


def _watch_process() -> int:
    """The same for the resident memory of this process."""
    reset_process_peak()
    return status_bytes("VmRSS") + int(psutil.virtual_memory().available)
