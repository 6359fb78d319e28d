"""Facts for the rules of `auto`, and configs that leave settings to them."""

from typing import Any

from ftlab.schemas import JobConfig
from ftlab.schemas.auto import AUTO
from tests.unit.train.estimate.shapes import LLAMA_8B, SMOLLM2_135M, shape_of
from train.auto.facts import Device, Facts, Lengths
from train.estimate.devices import GIB, gpu_capability, gpu_memory
from train.estimate.memory import DeviceTraits

SMALL, LARGE = shape_of(SMOLLM2_135M), shape_of(LLAMA_8B)
GRPO = {"type": "grpo", "rewards": [{"type": "exact_match"}]}


def rows(counts: dict[int, int], *, scale: int = 1) -> Lengths:
    """Lengths of rows; with a `scale`, of a sample."""
    number = sum(counts.values())
    return Lengths(
        number * scale, {tokens: scale * found for tokens, found in counts.items()}, number, is_exact=scale == 1
    )


def cpu(gib: float = 8, processes: int = 1) -> Device:
    memory = int(gib * GIB)
    return Device("CPU", DeviceTraits(use_cuda=False), (memory, memory), processes, cpus=4)


def gpu(name: str = "L4", cpus: int = 8) -> Device:
    return Device(name, DeviceTraits(use_cuda=True, capability=gpu_capability(name)), gpu_memory(name), cpus=cpus)


def facts(**changes: Any) -> Facts:
    """A small model, 1,000 rows of 100 tokens, and a CPU."""
    known = {"shape": SMALL, "max_positions": 2048, "lengths": rows({100: 1000}), "devices": (cpu(),)}
    return Facts(**(known | changes))


def job(*names: str, **groups: Any) -> JobConfig:
    """A job with these settings `auto`; the groups give others."""
    document: dict[str, Any] = {"model": "org/m", "dataset": "ds-1"}
    for name, value in groups.items():
        document[name] = dict(value) if isinstance(value, dict) else value
    for name in names:
        group, _, field = name.partition(".")
        document.setdefault(group, {})[field] = AUTO
    return JobConfig.model_validate(document)
