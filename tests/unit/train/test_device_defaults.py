"""What a job uses on its devices where its config leaves it open."""

from typing import Any

import pytest

from tests.unit.train.estimate.shapes import job
from train.device_defaults import DeviceTraits, device_defaults, with_device_defaults

CPU = DeviceTraits(use_cuda=False, has_flash_attention=True)
T4 = DeviceTraits(use_cuda=True, capability=(7, 5), has_flash_attention=True)
A100 = DeviceTraits(use_cuda=True, capability=(8, 0), has_flash_attention=True)
A100_WITHOUT = DeviceTraits(use_cuda=True, capability=(8, 0))
H100 = DeviceTraits(use_cuda=True, capability=(9, 0), has_flash_attention=True)
FLASH = "flash_attention_2"
TWO_WORKERS = {"num_workers": 2, "sharding": "fsdp"}

TABLE: list[tuple[DeviceTraits, dict[str, Any], tuple[bool, bool, str, str | None]]] = [
    (CPU, {}, (False, False, "adamw_torch", None)),
    (CPU, {"training__bf16": True}, (True, False, "adamw_torch", None)),
    (CPU, {"training__optim": "adamw_torch_fused"}, (False, False, "adamw_torch_fused", None)),
    (T4, {}, (False, True, "adamw_torch_fused", None)),
    (T4, {"training__fp16": False}, (False, False, "adamw_torch_fused", None)),
    (A100, {}, (True, False, "adamw_torch_fused", FLASH)),
    (A100, {"tuning": "full"}, (True, False, "adamw_torch_fused", FLASH)),
    (A100, {"load_in_4bit": True}, (True, False, "adamw_torch_fused", FLASH)),
    (A100_WITHOUT, {}, (True, False, "adamw_torch_fused", None)),
    (H100, {"training__optim": "sgd"}, (True, False, "sgd", FLASH)),
    (H100, {"training__fp16": True}, (False, True, "adamw_torch_fused", FLASH)),
    (H100, {"training__bf16": False}, (False, False, "adamw_torch_fused", None)),
    (H100, {"training__dtype": "float32"}, (False, False, "adamw_torch_fused", None)),
    (H100, {"training__dtype": "bfloat16"}, (False, False, "adamw_torch_fused", FLASH)),
    (H100, {"training__dtype": "float32", "training__bf16": True}, (True, False, "adamw_torch_fused", FLASH)),
    (H100, {"resources": TWO_WORKERS}, (True, False, "adamw_torch_fused", None)),
]


@pytest.mark.parametrize(("traits", "settings", "expected"), TABLE)
def test_the_settings_of_a_device(
    traits: DeviceTraits, settings: dict[str, Any], expected: tuple[bool, bool, str, str | None]
) -> None:
    config = job(**settings)
    found = device_defaults(config, traits)
    assert (found.bf16, found.fp16, found.optim, found.attention) == expected
    in_force = with_device_defaults(config, traits)
    training = in_force.training
    assert (training.bf16, training.fp16, training.optim) == expected[:3]
    assert with_device_defaults(in_force, traits) == in_force
    assert device_defaults(in_force, traits) == found


def test_on_a_cpu_nothing_is_other_than_a_config_that_says_so() -> None:
    said = job(training__bf16=False, training__fp16=False, training__optim="adamw_torch")
    assert with_device_defaults(job(), CPU) == said


def test_the_settings_in_words() -> None:
    assert device_defaults(job(), T4).describe(T4, "sdpa") == (
        "On a GPU of compute capability 7.5: mixed precision fp16 with loss scaling, optimizer adamw_torch_fused, "
        "attention sdpa."
    )
