"""Which nearest configs would fit, and whether a peak fits a device."""

import pytest
import torch

from tests.unit.train.estimate.shapes import LLAMA_8B, SMOLLM2_135M, job, shape_of
from train.device_defaults import has_fast_bfloat16
from train.estimate.alternatives import MAX_ALTERNATIVES, Fitting, fitting
from train.estimate.devices import GIB, Fit, fit, gpu_memory
from train.estimate.disk import disk_of
from train.estimate.memory import DeviceTraits, adapter_parameters, training_peak

GPU = DeviceTraits(use_cuda=True)
LARGE = shape_of(LLAMA_8B)
LENGTHS = {100: 90, 600: 9, 2048: 1}


def found(memory_gib: float, **settings: object) -> list[Fitting]:
    memory = (int(memory_gib * GIB),) * 2
    return fitting(
        job(**settings),
        2048,
        LENGTHS,
        lambda config, length: training_peak(LARGE, config, length, GPU).total,
        lambda peak: fit(peak, memory),
    )


def test_the_nearest_configs_fit_and_keep_the_rows_of_a_step():
    changes = [each.change for each in found(60, training__per_device_train_batch_size=8)]
    assert 2 < len(changes) <= MAX_ALTERNATIVES
    for change in changes:
        training = change.config.training
        assert training.per_device_train_batch_size * training.gradient_accumulation_steps == 8
        for name, value in change.changes.items():
            group, _, field = name.rpartition(".")
            assert getattr(getattr(change.config, group) if group else change.config, field) == value
    assert changes[0].changes.keys() == {
        "training.per_device_train_batch_size",
        "training.gradient_accumulation_steps",
    }


def test_no_pass_is_smaller_than_the_method_allows():
    settings = {"training__per_device_train_batch_size": 8, "method": {"type": "kto"}}
    sizes = {each.change.changes.get("training.per_device_train_batch_size", 8) for each in found(24, **settings)}
    assert min(sizes) >= 2


def test_every_alternative_is_estimated_again():
    for each in found(40, training__per_device_train_batch_size=8):
        again = training_peak(LARGE, each.change.config, each.change.length, GPU).total
        assert again == each.peak_bytes < 40 * GIB


def test_both_savings_together_where_neither_is_enough():
    [both, *_] = found(24, training__per_device_train_batch_size=8)
    assert both.change.changes["training.gradient_checkpointing"] is True
    assert both.change.config.training.per_device_train_batch_size < 8


def test_a_shorter_length_says_how_many_rows_it_cuts():
    shorter = [each.change for each in found(70) if "method.max_length" in each.change.changes]
    assert [(change.changes["method.max_length"], change.message) for change in shorter] == [
        (1024, "Cuts 1% of the rows.")
    ]


def test_full_fine_tuning_of_a_large_model_becomes_lora_or_nothing():
    assert [each.change.changes for each in found(80, tuning="full", training__per_device_train_batch_size=1)] == [
        {"tuning": "lora"}
    ]
    assert found(2, tuning="full") == []


@pytest.mark.parametrize(
    ("peak", "memory", "expected"),
    [
        (10, (12, 12), Fit.FITS),
        (11, (12, 12), Fit.UNKNOWN),
        (13, (12, 12), Fit.UNKNOWN),
        (14, (12, 12), Fit.DOES_NOT_FIT),
        (40, (40, 80), Fit.UNKNOWN),
        (93, (40, 80), Fit.DOES_NOT_FIT),
    ],
)
def test_a_peak_close_to_the_memory_is_unknown(peak, memory, expected):
    assert fit(peak, memory) is expected


def test_memory_of_gpus_by_their_type():
    assert gpu_memory(None) is None
    assert gpu_memory("Unheard-Of") is None
    smallest, largest = gpu_memory("A100") or (0, 0)
    assert smallest < 40 * GIB < 79 * GIB < largest


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("processor : 0\nflags : fpu avx512f avx512bw avx512vl avx512dq\n", True),
        ("flags : fpu avx2 avx_vnni avx_vnni_int8 avx_ne_convert\n", True),
        ("flags : fpu avx2 avx_vnni\n", False),
        ("flags : fpu avx2\n", False),
        ("Features : fp asimd bf16\n", True),
        ("", False),
    ],
)
def test_fast_bfloat16_by_the_flags_of_the_cpu(tmp_path, text, expected):
    file = tmp_path / "cpuinfo"
    file.write_text(text)
    assert has_fast_bfloat16(file) is expected
    assert has_fast_bfloat16(tmp_path / "none") is False


def test_fast_bfloat16_is_what_pytorch_says_of_this_cpu():
    assert has_fast_bfloat16() is torch.ops.mkldnn._is_mkldnn_bf16_supported()


def test_disk_of_checkpoints_and_of_the_tuned_model():
    shape = shape_of(SMOLLM2_135M)
    adapter = 4 * adapter_parameters(shape, job())
    disk = disk_of(shape, job(), 1000, GPU)
    assert disk.delivered == pytest.approx(adapter, abs=5 * 1024**2)
    assert disk.checkpoint == disk.delivered + 2 * adapter
    assert disk.num_checkpoints == 4  # save_total_limit 3, and one that is being written
    assert disk_of(shape, job(eval_dataset="ds-2"), 1000, GPU).num_checkpoints == 5
    assert disk_of(shape, job(), 60, GPU).num_checkpoints == 2
    assert disk_of(shape, job(tuning="full"), None, GPU).delivered > 4 * shape.num_parameters
