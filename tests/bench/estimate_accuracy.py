"""How close the estimated peak memory is to the measured one: `python -m tests.bench.estimate_accuracy [SHAPE ...]`.

Each shape is a job on a randomly initialised model, in a process of its own on the CPU: three steps, a checkpoint and
the delivery, as a run of the service. Measured is the growth of the process's peak resident memory over the memory that
it held with all libraries loaded; the estimate is compared without its fixed overhead for these.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cluster.machine.cpu_priority import KEEP_FREED_MEMORY
from ftlab.schemas import JobConfig
from train.device_defaults import has_fast_bfloat16
from train.estimate.memory import CPU_LIBRARIES, DeviceTraits, training_peak
from train.model.folder import facts_of
from train.model.shape import ModelShape

MIB = 1024**2
MODEL_FOLDER = "org--shape"
NUM_ROWS = 64


@dataclass(frozen=True)
class Shape:
    """A model, and the settings of a job on it."""

    hidden: int
    layers: int
    vocab: int
    batch: int
    length: int
    tuning: str = "lora"
    recompute: bool = False
    accumulation: int = 1
    training: dict[str, Any] = field(default_factory=dict)
    lora: dict[str, Any] = field(default_factory=dict)

    def config(self) -> dict[str, Any]:
        """The job, but for its model and dataset."""
        return {
            "tuning": self.tuning,
            "method": {"type": "sft", "max_length": self.length},
            "lora": self.lora,
            "training": {
                "per_device_train_batch_size": self.batch,
                "gradient_accumulation_steps": self.accumulation,
                "gradient_checkpointing": self.recompute,
                "max_steps": 3,
                **self.training,
            },
        }


SHAPES = {
    "lora": Shape(512, 8, 8_000, 4, 256),
    "lora-long": Shape(384, 6, 16_000, 1, 2048, recompute=True, lora={"r": 64}),
    "full": Shape(768, 6, 32_000, 2, 128, tuning="full", accumulation=2),
    "full-recompute": Shape(512, 12, 4_000, 4, 512, tuning="full", recompute=True),
    "wide": Shape(1024, 4, 2_000, 8, 128, lora={"r": 32, "target_modules": ["q_proj", "v_proj"]}),
    "full-sgd": Shape(640, 6, 12_000, 2, 256, tuning="full", training={"optim": "sgd"}),
}


def main() -> None:
    parser = argparse.ArgumentParser(description="How close the estimated peak memory is to the measured one.")
    parser.add_argument("shapes", nargs="*", metavar="SHAPE", help=f"default: all; {', '.join(SHAPES)}")
    parser.add_argument("--child", nargs=2, metavar=("SHAPE", "FOLDER"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        _train(SHAPES[given.child[0]], Path(given.child[1]))
        return
    print(f"{'shape':15} {'parameters':>11} {'estimated':>10} {'measured':>10} {'ratio':>6}")
    for name in given.shapes or SHAPES:
        print(compared(name), flush=True)


def compared(name: str) -> str:
    """Row of the table: MiB that the estimate and the measurement add to the libraries, and estimate / measurement."""
    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder) / "models" / MODEL_FOLDER
        make_model(model, SHAPES[name])
        shape = facts_of(model).shape
        assert shape is not None
        estimated = estimate(SHAPES[name], shape)
        child = [sys.executable, "-m", __spec__.name, "--child", name, folder]
        # The memory allocator behaves as in a run of the service.
        environment = os.environ | KEEP_FREED_MEMORY
        out = subprocess.run(child, check=True, capture_output=True, text=True, env=environment).stdout
    measured = json.loads(out.splitlines()[-1])["growth_bytes"]
    sizes = f"{estimated // MIB:10,} {measured // MIB:10,} {estimated / measured:6.2f}"
    return f"{name:15} {shape.num_parameters:11,} {sizes}"


def estimate(job: Shape, shape: ModelShape) -> int:
    """Bytes at the estimated peak, without those of the libraries."""
    config = JobConfig.model_validate({"model": "org/shape", "dataset": "ds-1", **job.config()})
    traits = DeviceTraits(use_cuda=False, has_fast_bfloat16=has_fast_bfloat16())
    return training_peak(shape, config, job.length, traits).total - CPU_LIBRARIES


def _train(shape: Shape, folder: Path) -> None:
    """Train in this process and print the growth of its peak resident memory, in bytes."""
    from tests.unit.train.runs import Job, write_messages

    sentence = "The queue keeps every job in order, and a job starts when its devices are free. "
    # Some rows are shorter than the rest, so that batches are padded.
    lengths = [shape.length // (40 if number % 4 == 0 else 1) for number in range(NUM_ROWS)]
    rows = write_messages(folder / "rows.arrow", [_conversation(sentence * length) for length in lengths])
    baseline = _status("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here
    Job(folder / "job", folder / "models", rows, model="org/shape").train(**shape.config())
    print(json.dumps({"growth_bytes": _status("VmHWM") - baseline}))


def _conversation(answer: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": "What is a queue?"}, {"role": "assistant", "content": answer}]


def make_model(folder: Path, shape: Shape) -> None:
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from tests.support.tiny_models import make_tiny_tokenizer

    tokenizer = make_tiny_tokenizer()
    config = LlamaConfig(
        vocab_size=shape.vocab,
        hidden_size=shape.hidden,
        intermediate_size=4 * shape.hidden,
        num_hidden_layers=shape.layers,
        num_attention_heads=8,
        num_key_value_heads=4,
        max_position_embeddings=4096,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    torch.manual_seed(0)
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _status(name: str) -> int:
    """A value of this process in bytes, as `VmRSS`."""
    for line in Path("/proc/self/status").read_text("ascii").splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    raise KeyError(name)


if __name__ == "__main__":
    main()
