"""Named row `gpu`: training speed, use of the GPU and peak memory of large shapes, and of a plain TRL script.

The models have the shapes of Qwen2.5 and random weights: speed and memory do not depend on what a model knows.
"""

import shutil
import statistics
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ftlab.schemas import JobConfig
from tests.bench.bench import Bench
from tests.bench.harness import BenchError, Measurement, interleave, say
from tests.bench.memory import sampled
from tests.bench.row01_training_efficiency import DROPPED_STEPS, median_tokens_per_s
from tests.bench.runs import Step, run_job, run_plain, steps_of
from tests.bench.workload import Workload, write_rows

ROW = "gpu"
TITLE = "training on a GPU"
SAMPLE_INTERVAL_S = 0.2
LOSS_TOLERANCE = 0.05
"""In bfloat16, two runs of the same steps differ by rounding."""
PEAK_TFLOPS = {"H200": 989, "H100": 989, "A100": 312, "L40S": 362, "L4": 121, "A10": 125, "4090": 165, "3090": 71}
"""Dense bfloat16 by a part of the GPU's name, from the makers' data sheets."""


@dataclass(frozen=True)
class Shape:
    """Sizes of a Qwen2.5 model."""

    name: str
    hidden: int
    layers: int
    heads: int
    intermediate: int
    vocab: int
    kv_heads: int
    tied: bool


@dataclass(frozen=True)
class Case:
    shape: Shape
    what: str
    settings: dict[str, Any] = field(default_factory=dict)
    training: dict[str, Any] = field(default_factory=dict)
    packing: bool = True
    max_length: int = 2048

    @property
    def name(self) -> str:
        return f"{self.shape.name}, {self.what}"


SMALL = Shape("Qwen2.5-1.5B", 1536, 28, 12, 8960, 151_936, 2, tied=True)
LARGE = Shape("Qwen2.5-7B", 3584, 28, 28, 18_944, 152_064, 4, tied=False)
CASES = (
    Case(SMALL, "LoRA in bf16, 2,048 packed tokens", training={"per_device_train_batch_size": 4, "bf16": True}),
    Case(LARGE, "LoRA in bf16, 2,048 packed tokens", training={"per_device_train_batch_size": 2, "bf16": True}),
    Case(
        SMALL,
        "QLoRA, batch 16, accumulation 2, up to 512 tokens",
        settings={"load_in_4bit": True},
        training={"per_device_train_batch_size": 16, "gradient_accumulation_steps": 2, "bf16": True},
        packing=False,
        max_length=512,
    ),
)


@dataclass(frozen=True)
class Run:
    steps: list[Step]
    peak_mb: float
    """Most memory of the GPU during the run, less what was in use before."""


def run(bench: Bench) -> list[Measurement]:
    if gpu_name() is None:
        raise BenchError("This row needs a CUDA device.")
    return [line for case in CASES for line in measure(bench, case)]


def measure(bench: Bench, case: Case) -> list[Measurement]:
    """The lines of one case."""
    work, num_parameters = _workload(bench, case.shape)
    config = _config(work, case, max_steps=12 if bench.quick else 30)
    warm_up = config.model_copy(update={"training": config.training.model_copy(update={"max_steps": 2})})
    run_plain(work, warm_up, bench.folder)

    def in_service() -> Run:
        bench.service.wait_for_standby()
        bench.service.settle()
        return _watched(lambda: steps_of(run_job(bench.service, config)))

    def plain() -> Run:
        with bench.service.away():
            return _watched(lambda: run_plain(work, config, bench.folder).steps)

    ours, baseline = interleave(bench.pairs, in_service, plain)
    difference = max(_loss_difference(*pair) for pair in zip(ours, baseline, strict=True))
    if difference > LOSS_TOLERANCE:
        raise BenchError(f"{case.name}: the losses differ by up to {difference:.3f}.")
    shutil.rmtree(work.model)  # a large one fills the disk
    return _lines(case, ours, baseline, num_parameters, difference)


def _lines(
    case: Case, ours: Sequence[Run], baseline: Sequence[Run], num_parameters: int, difference: float
) -> list[Measurement]:
    speeds = [median_tokens_per_s(run.steps) for run in ours]
    theirs = [median_tokens_per_s(run.steps) for run in baseline]
    note = f"{case.name}: losses equal within {difference:.4f}; {_rows_per_s(ours, case):.2f} rows/s"
    peak = next((value for name, value in PEAK_TFLOPS.items() if name in str(gpu_name())), None)
    if peak is not None:
        # Below an adapter, the gradients of the frozen weights are not computed: 2 operations per weight and token in
        # the forward pass and 2 in the backward pass. Attention is left out.
        used = statistics.median(speeds) * 4 * num_parameters / (peak * 1e12)
        note += f"; {used:.1%} of {peak} TFLOP/s (MFU)"
    return [
        Measurement(ROW, f"{case.name}: median step", "tok/s", speeds, theirs, is_higher_better=True, note=note),
        Measurement(
            ROW, f"{case.name}: peak memory", "MB", [run.peak_mb for run in ours], [run.peak_mb for run in baseline]
        ),
    ]


def _rows_per_s(runs: Sequence[Run], case: Case) -> float:
    """Rows of the trainer in a second; with packing, a row has several of the dataset's."""
    rows = case.training["per_device_train_batch_size"] * case.training.get("gradient_accumulation_steps", 1)
    times = [(run.steps[-1].at - run.steps[DROPPED_STEPS - 1].at) / (len(run.steps) - DROPPED_STEPS) for run in runs]
    return float(rows / statistics.median(times))


def _loss_difference(ours: Run, baseline: Run) -> float:
    return max(abs(step.loss - plain.loss) for step, plain in zip(ours.steps, baseline.steps, strict=True))


def _config(work: Workload, case: Case, *, max_steps: int) -> JobConfig:
    config = work.job(case.name, max_steps=max_steps, **case.training)
    method = config.method.model_copy(update={"max_length": case.max_length, "packing": case.packing})
    return JobConfig.model_validate(config.model_copy(update={"method": method}).model_dump() | case.settings)


def _workload(bench: Bench, shape: Shape) -> tuple[Workload, int]:
    """The model and rows, and the number of the model's parameters."""
    name = f"ftlab-bench/{shape.name}"
    folder = bench.service.settings.home / "models" / name.replace("/", "--")
    say(f"making random weights for {shape.name}")
    num_parameters = make_model(folder, shape)
    rows = bench.folder / "gpu-rows.jsonl"
    if not rows.exists():
        write_rows(rows, num_rows=4000)
    dataset = bench.service.client.datasets.upload(rows, name="benchmark rows for GPUs")
    return Workload(folder, rows, name, dataset.id), num_parameters


def make_model(folder: Path, shape: Shape) -> int:
    """Write a model of the shape with random weights in bfloat16; return the number of its parameters."""
    import torch
    from transformers import Qwen2Config, Qwen2ForCausalLM

    from tests.support.tiny_models import make_tiny_tokenizer

    tokenizer = make_tiny_tokenizer(vocab_size=8192)
    config = Qwen2Config(
        vocab_size=shape.vocab,
        hidden_size=shape.hidden,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.kv_heads,
        intermediate_size=shape.intermediate,
        tie_word_embeddings=shape.tied,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        dtype="bfloat16",
    )
    torch.manual_seed(0)
    with torch.device("cuda" if torch.cuda.is_available() else "cpu"):
        model = Qwen2ForCausalLM(config).to(torch.bfloat16)
    aside = folder.with_name(f".tmp-{folder.name}")
    model.save_pretrained(aside)
    tokenizer.save_pretrained(aside)
    aside.rename(folder)
    num_parameters: int = sum(weights.numel() for weights in model.parameters())
    del model
    torch.cuda.empty_cache()
    return num_parameters


def gpu_name() -> str | None:
    """Name of the first GPU, or `None`. Asked of the driver, so that this process holds no memory on it."""
    try:
        return _ask_driver("name").strip()
    except (OSError, subprocess.SubprocessError):
        return None


def _ask_driver(what: str) -> str:
    command = ["nvidia-smi", f"--query-gpu={what}", "--format=csv,noheader,nounits", "--id=0"]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=30.0).stdout


def _watched(train: Callable[[], list[Step]]) -> Run:
    with sampled(_used_bytes, SAMPLE_INTERVAL_S) as growth:
        steps = train()
    return Run(steps, growth.mb)


def _used_bytes() -> int:
    return int(_ask_driver("memory.used")) * 1024**2
