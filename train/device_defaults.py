"""What a job uses on its devices where its config leaves it open: precision, optimizer and attention. Pure functions.

On a CPU they are those of the releases before, bit for bit: float32, `adamw_torch`, and the attention that transformers
chooses. TRL computes the loss in tiles of tokens and vocabulary on every device, so nothing is chosen there.
"""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from ftlab.schemas import JobConfig
from ftlab.schemas.training import Optimizer

AMPERE = (8, 0)
"""First compute capability with bfloat16 in hardware, which FlashAttention 2 needs too."""
FLASH_ATTENTION = "flash_attention_2"
"""Name of FlashAttention 2 in transformers."""
BFLOAT16_FLAGS = (
    {"avx512f", "avx512bw", "avx512vl", "avx512dq"},
    {"avx_vnni", "avx_vnni_int8", "avx_ne_convert"},
    {"bf16"},
)
"""Flags of a CPU, by their names in Linux, with any of which oneDNN computes bfloat16; the last is of ARM."""

AS_TRAINED = JobConfig(model="any", dataset="any")
"""The defaults of a training job say how the weights of a model that only answers are loaded."""
FIRST_BATCH_ON_GPU = 32
FIRST_BATCH_ON_CPU = 8
"""Rows that an evaluation without `batch_size` processes at a time; on a GPU at first."""


@dataclass(frozen=True)
class DeviceTraits:
    """What the device of a run can do."""

    use_cuda: bool
    has_fast_bfloat16: bool = True
    """Whether a CPU computes bfloat16 fast; otherwise `auto` loads such weights as float32 there."""
    capability: tuple[int, int] = AMPERE
    """Compute capability of the GPU."""
    has_flash_attention: bool = False
    """Whether the package `flash-attn` is installed."""


@lru_cache(maxsize=1)
def has_fast_bfloat16(cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    """Whether this machine's CPU computes bfloat16 by oneDNN; otherwise a step takes some twenty times as long.

    The estimate and the run both ask here. It needs no PyTorch, which the API does not load, and agrees with
    `torch.ops.mkldnn._is_mkldnn_bf16_supported`.
    """
    try:
        lines = cpuinfo.read_text("utf-8", "replace").splitlines()
    except OSError:
        return False
    flags = set(next((line for line in lines if line.startswith(("flags", "Features"))), "").split())
    return any(needed <= flags for needed in BFLOAT16_FLAGS)


@dataclass(frozen=True)
class DeviceDefaults:
    """Settings in force on a device: those of the config, and its defaults for what the config leaves open."""

    bf16: bool
    fp16: bool
    optim: Optimizer
    attention: str | None
    """An attention of transformers; `None` leaves the choice to transformers, which prefers PyTorch's SDPA."""

    def describe(self, traits: DeviceTraits, attention: str) -> str:
        """The settings as a sentence, with the attention that the model has."""
        precision = "bf16" if self.bf16 else "fp16 with loss scaling" if self.fp16 else "none"
        device = f"a GPU of compute capability {'.'.join(map(str, traits.capability))}" if traits.use_cuda else "a CPU"
        return f"On {device}: mixed precision {precision}, optimizer {self.optim}, attention {attention}."


def device_defaults(config: JobConfig, traits: DeviceTraits) -> DeviceDefaults:
    """The settings in force in a run of `config`.

    A GPU computes in mixed precision by default: bf16, or fp16 below compute capability 8. A config that sets `bf16`,
    `fp16` or `dtype` has made the choice itself.
    """
    training = config.training
    is_open = training.bf16 is None and training.fp16 is None and training.dtype == "auto"
    is_ampere = traits.capability >= AMPERE
    bf16 = traits.use_cuda and is_ampere if is_open else bool(training.bf16)
    fp16 = traits.use_cuda and not is_ampere if is_open else bool(training.fp16)
    is_16_bit = bf16 or fp16 or training.dtype in ("bfloat16", "float16")
    # Divided weights are on the CPU while the model is checked, where FlashAttention does not run.
    is_whole = config.resources.sharding != "fsdp" or config.resources.num_workers == 1
    has_flash = traits.use_cuda and traits.has_flash_attention and is_ampere and is_16_bit and is_whole
    return DeviceDefaults(
        bf16,
        fp16,
        training.optim or ("adamw_torch_fused" if traits.use_cuda else "adamw_torch"),
        FLASH_ATTENTION if has_flash else None,
    )


def with_device_defaults(config: JobConfig, traits: DeviceTraits) -> JobConfig:
    """A copy of the config in which precision and optimizer are set."""
    found = device_defaults(config, traits)
    values = {"bf16": found.bf16, "fp16": found.fp16, "optim": found.optim}
    return config.model_copy(update={"training": config.training.model_copy(update=values)})
