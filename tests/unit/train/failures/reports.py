"""What runs reported of their failures (`provoke` writes the fixtures), and the memory of a job, without PyTorch."""

import json
from dataclasses import replace
from pathlib import Path

from ftlab.status import ReasonCode
from train.estimate.job_memory import JobMemory
from train.estimate.memory import DeviceTraits
from train.model.shape import ModelShape
from train.plan import Failure

FIXTURES = Path(__file__).with_name("fixtures")
LINEARS = {"self_attn.q_proj": (2048, 2048), "mlp.up_proj": (8192, 2048), "mlp.down_proj": (2048, 8192)}
SHAPE = ModelShape(
    "llama", 2048, 16, 32, 2048, 512, 8192, 128_256, "bfloat16", 1_235_814_400, is_tied=True, is_gated=True,
    linears={f"model.layers.{number}.{name}": widths for number in range(16) for name, widths in LINEARS.items()},
)  # fmt: skip
GPU = JobMemory(SHAPE, DeviceTraits(use_cuda=True), 24 * 10**9, {tokens * 16: 20 for tokens in range(1, 129)}, 1500)
CPU = replace(GPU, traits=DeviceTraits(use_cuda=False), memory_bytes=8 * 10**9)


def reported(name: str) -> Failure:
    document = json.loads((FIXTURES / f"{name}.json").read_text("utf-8"))
    return Failure.from_details(ReasonCode(document["reason"]), document["message"], document["details"])
