"""When the workers of a job divide its weights, and what each of them then needs."""

from typing import Any

import pytest

from tests.unit.train.estimate.shapes import LLAMA_8B, SMOLLM2_135M, job, shape_of
from train.device_defaults import DeviceTraits
from train.estimate.devices import GIB, Fit, fit
from train.estimate.disk import disk_of
from train.estimate.memory import evaluation_peak, training_peak
from train.estimate.sharding import sharding_in_force, with_sharding

GPU, CPU = DeviceTraits(use_cuda=True), DeviceTraits(use_cuda=False)
A100 = (79 * GIB, 79 * GIB)
LARGE, SMALL = shape_of(LLAMA_8B), shape_of(SMOLLM2_135M)
FULL: dict[str, Any] = {"tuning": "full", "training__per_device_train_batch_size": 1}
PREFERENCES = {"type": "dpo", "max_length": 1024}


def workers(number: int, sharding: str = "auto") -> dict[str, Any]:
    return {"resources": {"num_workers": number, "sharding": sharding}}


@pytest.mark.parametrize(
    ("settings", "traits", "memory", "expected"),
    [
        (FULL | workers(4), GPU, A100, "fsdp"),
        (FULL | workers(1), GPU, A100, "none"),
        (FULL | workers(1, "fsdp"), GPU, A100, "none"),
        (FULL | workers(4, "none"), GPU, A100, "none"),
        (FULL | workers(4), GPU, (200 * GIB, 200 * GIB), "none"),
        (FULL | workers(4), CPU, A100, "none"),
        (FULL | workers(4, "fsdp"), CPU, A100, "fsdp"),
        (FULL | workers(4), GPU, None, "none"),
        (FULL | workers(4) | {"training__optim": "adafactor"}, GPU, A100, "none"),
        (workers(4), GPU, (15 * GIB, 15 * GIB), "fsdp"),
        (workers(4) | {"load_in_4bit": True}, GPU, (1 * GIB, 1 * GIB), "none"),
        (workers(4) | {"method": PREFERENCES}, GPU, (15 * GIB, 15 * GIB), "none"),
    ],
)
def test_when_weights_are_divided(
    settings: dict[str, Any], traits: DeviceTraits, memory: tuple[int, int] | None, expected: str
) -> None:
    assert sharding_in_force(job(**settings), LARGE, 1024, traits, memory) == expected


def test_a_measured_correction_counts() -> None:
    config = job(**workers(2))
    memory = (2 * training_peak(LARGE, config, 1024, GPU).total,) * 2
    assert sharding_in_force(config, LARGE, 1024, GPU, memory) == "none"
    assert sharding_in_force(config, LARGE, 1024, GPU, memory, correction=2.0) == "fsdp"


def test_weights_gradients_and_optimizer_are_divided_and_checkpoints_are_not() -> None:
    whole, divided = (job(**FULL | workers(8, sharding)) for sharding in ("none", "fsdp"))
    parameters = LARGE.num_parameters
    assert training_peak(LARGE, divided, 64, GPU).optimizer == 8 * parameters // 8
    one, eight = (training_peak(LARGE, config, 64, GPU) for config in (whole, divided))
    gathered = 2 * (parameters - LARGE.linear_parameters + 2 * LARGE.linear_parameters // LARGE.num_layers)
    assert eight.weights in (4 * parameters // 8, 4 * parameters // 8 + gathered)
    assert eight.gradients < one.gradients / 4
    assert evaluation_peak(LARGE, divided, 64, GPU).weights == 4 * parameters // 8 + gathered
    assert disk_of(LARGE, divided, 10, GPU) == disk_of(LARGE, whole, 10, GPU)


def test_eight_gpus_train_in_full_what_one_cannot_hold() -> None:
    config = job(**FULL | workers(8))
    assert fit(training_peak(LARGE, with_sharding(config, "none"), 1024, GPU).total, A100) is Fit.DOES_NOT_FIT
    assert fit(training_peak(LARGE, with_sharding(config, "fsdp"), 1024, GPU).total, A100) is Fit.FITS


def test_on_an_older_gpu_the_default_precision_takes_as_much_memory() -> None:
    older = DeviceTraits(use_cuda=True, capability=(7, 5))
    assert training_peak(SMALL, job(), 512, older) == training_peak(SMALL, job(), 512, GPU)
    mixed, not_mixed = (
        training_peak(SMALL, job(tuning="full", training__bf16=is_on), 512, GPU) for is_on in (None, False)
    )
    assert mixed.total < not_mixed.total


def test_flash_attention_needs_no_mask() -> None:
    flash = DeviceTraits(use_cuda=True, has_flash_attention=True)
    assert training_peak(SMALL, job(), 512, flash).total < training_peak(SMALL, job(), 512, GPU).total
