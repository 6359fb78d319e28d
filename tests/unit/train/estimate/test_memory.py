"""Peak memory by part: known numbers, and how it changes with the settings."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.train.estimate.shapes import LLAMA_8B, SMOLLM2_135M, job, shape_of
from train.estimate.activations import Batch, Precision, head_bytes
from train.estimate.memory import (
    CPU_LIBRARIES,
    CUDA_CONTEXT,
    DeviceTraits,
    adapter_parameters,
    evaluation_peak,
    training_peak,
)

GPU, CPU, OLD_CPU = (
    DeviceTraits(use_cuda=True),
    DeviceTraits(use_cuda=False),
    DeviceTraits(use_cuda=False, has_fast_bfloat16=False),
)
LARGE, SMALL = shape_of(LLAMA_8B), shape_of(SMOLLM2_135M)
GIB = 1024**3


def test_adapters_have_two_matrices_for_each_adapted_layer():
    attention = (4096 + 4096) + (4096 + 1024) + (4096 + 1024) + (4096 + 4096)
    mlp = 3 * (4096 + 14336)
    assert adapter_parameters(LARGE, job()) == 16 * 32 * (attention + mlp)
    only = job(lora={"target_modules": ["q_proj", "v_proj"], "r": 8})
    assert adapter_parameters(LARGE, only) == 8 * 32 * ((4096 + 4096) + (4096 + 1024))
    dora = job(lora={"target_modules": ["q_proj"], "r": 8, "use_dora": True})
    assert adapter_parameters(LARGE, dora) == 32 * (8 * 8192 + 4096)
    assert adapter_parameters(LARGE, job(tuning="full")) == 0


def test_weights_by_data_type():
    parameters = LARGE.num_parameters
    assert training_peak(LARGE, job(), 512, GPU).weights == 2 * parameters
    assert training_peak(LARGE, job(tuning="full"), 512, GPU).weights == 4 * parameters
    assert training_peak(LARGE, job(tuning="full", training__dtype="bfloat16"), 512, GPU).weights == 2 * parameters
    assert training_peak(LARGE, job(), 512, OLD_CPU).weights == 4 * parameters
    assert training_peak(LARGE, job(), 512, CPU).weights == 2 * parameters
    in_4bit = training_peak(LARGE, job(load_in_4bit=True), 512, GPU).weights
    embeddings = 2 * 2 * 128256 * 4096
    assert in_4bit == pytest.approx(embeddings + LARGE.linear_parameters * 0.516, rel=0.01)


@pytest.mark.parametrize(
    ("settings", "num_bytes"),
    [
        ({"tuning": "full", "training__optim": "adamw_torch_fused"}, 8 * SMALL.num_parameters),
        ({"tuning": "full", "training__optim": "adamw_torch_fused", "training__dtype": "bfloat16"}, 4 * 134_515_008),
        ({"tuning": "full", "training__optim": "sgd"}, 0),
        # The embedding has 49,152 rows of 576 numbers, with 8 bytes each.
        ({"tuning": "full", "training__optim": "adamw_8bit"}, round(106_203_456 * 2 * 260 / 256 + 28_311_552 * 8)),
        ({"training__optim": "paged_adamw_8bit"}, round(adapter_parameters(SMALL, job()) * 2 * 260 / 256)),
        ({"training__optim": "adamw_torch_fused"}, 8 * adapter_parameters(SMALL, job())),
    ],
)
def test_optimizer_states(settings, num_bytes):
    assert training_peak(SMALL, job(**settings), 64, GPU).optimizer == num_bytes


def test_accumulated_gradients_are_there_while_activations_are():
    once = training_peak(SMALL, job(tuning="full", training__per_device_train_batch_size=64), 1024, GPU)
    several = training_peak(
        SMALL,
        job(tuning="full", training__per_device_train_batch_size=64, training__gradient_accumulation_steps=2),
        1024,
        GPU,
    )
    assert once.gradients < several.gradients == 4 * SMALL.num_parameters


def test_data_parallel_training_copies_gradients():
    settings = {"tuning": "full", "training__gradient_accumulation_steps": 2}
    one = training_peak(SMALL, job(**settings), 64, GPU)
    two = training_peak(SMALL, job(**settings, resources={"num_workers": 2}), 64, GPU)
    assert two.gradients == 2 * one.gradients


def test_activations_kept_by_one_block_in_float32():
    """Norm inputs, norm outputs, attention and MLP, and the inner results of the adapters."""
    one = replace(SMALL, num_layers=1, linears={n: w for n, w in SMALL.linears.items() if ".layers.0." in n})
    config = job(training__per_device_train_batch_size=1)
    numbers = 2 * 576 + 2 * 576 + 2 * 576 + 2 * 192 + 9 + 4 * 1536 + 7 * 16
    assert training_peak(one, config, 512, OLD_CPU).activations == 512 * 4 * numbers


def test_the_loss_needs_no_more_than_one_tile_of_tokens():
    precision = Precision(weights=2, residual=2, compute=2)
    hidden = 4 * 4096 * SMALL.hidden

    def head(length: int) -> int:
        return head_bytes(SMALL, Batch(4, length, is_padded=True), precision, use_cuda=True, is_trained=False)

    assert head(1024) == 4096 * 32768 * 2 + hidden
    assert head(4096) == 4096 * 32768 * 2 + 4 * hidden


def test_overhead_by_device():
    assert training_peak(SMALL, job(), 64, CPU).overhead > CPU_LIBRARIES
    assert training_peak(SMALL, job(), 64, GPU).overhead > CUDA_CONTEXT


def test_an_evaluation_keeps_no_activations():
    config = job(eval_dataset="ds-2")
    training, evaluation = training_peak(SMALL, config, 1024, CPU), evaluation_peak(SMALL, config, 1024, CPU)
    assert evaluation.activations < training.activations / 10
    assert evaluation.gradients == 0
    assert evaluation.weights == training.weights
    larger = evaluation_peak(SMALL, job(training__per_device_eval_batch_size=64), 1024, CPU)
    assert larger.total > evaluation.total


def test_a_7b_model_needs_what_is_commonly_reported():
    """QLoRA of an 8B model fits a GPU of 24 GB, and full fine-tuning in float32 takes 16 bytes a parameter."""
    qlora = job(load_in_4bit=True, training__per_device_train_batch_size=1, training__gradient_checkpointing=True)
    assert 6 * GIB < training_peak(LARGE, qlora, 1024, GPU).total < 20 * GIB
    assert training_peak(LARGE, job(tuning="full"), 1024, GPU).total > 16 * LARGE.num_parameters


BATCHES = st.integers(1, 16)
JOBS = st.fixed_dictionaries(
    {
        "tuning": st.sampled_from(["lora", "full"]),
        "training__per_device_train_batch_size": BATCHES,
        "training__gradient_accumulation_steps": st.sampled_from([1, 4]),
        "training__gradient_checkpointing": st.booleans(),
        "training__dtype": st.sampled_from(["auto", "float32", "bfloat16"]),
        "training__bf16": st.booleans(),
        "training__optim": st.sampled_from(["adamw_torch", "adamw_torch_fused", "adamw_8bit", "adafactor", "sgd"]),
        "lora": st.fixed_dictionaries({"r": st.integers(1, 64), "use_dora": st.booleans()}),
    }
)
PLACES = st.sampled_from([GPU, CPU, OLD_CPU])


@given(JOBS, st.integers(8, 4096), PLACES)
@settings(max_examples=60, deadline=None)
def test_more_of_anything_never_needs_less(config, length, traits):
    def peak(length: int = length, **changes: object) -> int:
        return training_peak(SMALL, job(**{**config, **changes}), length, traits).total

    base = peak()
    assert all(part >= 0 for part in vars(training_peak(SMALL, job(**config), length, traits)).values())
    assert peak(length=length + 64) >= base
    rows = config["training__per_device_train_batch_size"]
    assert peak(training__per_device_train_batch_size=rows + 1) >= base
    assert peak(training__gradient_accumulation_steps=8) >= base
    assert peak(lora={**config["lora"], "r": config["lora"]["r"] + 8}) >= base
    assert peak(training__gradient_checkpointing=True) <= peak(training__gradient_checkpointing=False)


def test_a_reward_model_has_no_projection_to_the_vocabulary():
    head = LARGE.vocab * LARGE.hidden
    whole = {"tuning": "full", "training__dtype": "bfloat16"}
    pairs, scores = (job(method={"type": name}, **whole) for name in ("dpo", "reward"))
    for config, parameters in ((pairs, LARGE.num_parameters), (scores, LARGE.num_parameters - head)):
        assert training_peak(LARGE, config, 512, GPU).weights == 2 * parameters
    assert training_peak(SMALL, job(method={"type": "reward"}), 512, GPU).weights == 2 * SMALL.num_parameters
    batch = evaluation_peak(LARGE, scores, 512, GPU)
    assert 0 < batch.logits < evaluation_peak(LARGE, pairs, 512, GPU).logits / 100
