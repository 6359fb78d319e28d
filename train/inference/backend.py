"""Which program answers for an engine: this service's own, or vLLM. A pure decision with its reason."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ftlab.errors import InvalidRequestError
from ftlab.schemas import EngineConfig
from ftlab.vllm_environment import VllmEnvironment
from train.model.files import ADAPTER_CONFIG

MAX_LORA_RANK = 64
"""Largest rank of an adapter that vLLM reserves memory for."""
PLAIN_INITIALISATIONS = frozenset({"gaussian", "eva", "orthogonal", "mica", "lora_ga"})
"""Initialisations of PEFT that leave the base weights as they are (vLLM 0.33, `vllm/lora/peft_helper.py`)."""


@dataclass(frozen=True)
class Backend:
    """What answers."""

    kind: Literal["own", "vllm"]
    reason: str
    """A sentence for the user of the engine."""


def choose_backend(
    config: EngineConfig, vllm: VllmEnvironment | None, architecture: str | None, *, use_cuda: bool
) -> Backend:
    """The backend of an engine. `vllm` is the environment that is installed, `architecture` that of the base model.

    Raise `InvalidRequestError` (`invalid_config`) where the config asks for vLLM, which cannot be used.
    """
    if config.backend == "own":
        return Backend("own", "The service's own engine answers, as inference_backend or the adapter asks for it.")
    obstacle = _obstacle(config, vllm, architecture, use_cuda=use_cuda)
    if obstacle is None:
        assert vllm is not None
        return Backend("vllm", f"vLLM {vllm.version} answers.")
    if config.backend == "vllm":
        raise InvalidRequestError(
            f"The engine cannot use vLLM: {obstacle}. Set inference_backend to auto, or remove the obstacle.",
            "invalid_config",
            "backend",
        )
    return Backend("own", f"The service's own engine answers, not vLLM: {obstacle}.")


def _obstacle(
    config: EngineConfig, vllm: VllmEnvironment | None, architecture: str | None, *, use_cuda: bool
) -> str | None:
    if vllm is None:
        return "it is not installed ('ftlab inference install')"
    if not use_cuda:
        return "the job has no CUDA GPU"
    if config.load_in_4bit or config.load_in_8bit:
        return "the weights are loaded in 4 or 8 bits, as the adapter was trained"
    if architecture not in vllm.architectures:
        return f"it does not know the architecture {architecture or 'of this model'}"
    return None


def adapter_obstacle(folder: Path) -> str | None:
    """Why vLLM cannot compute the adapter in a folder; `None` where it can, or where there is no adapter's config."""
    try:
        config: dict[str, Any] = json.loads((folder / ADAPTER_CONFIG).read_text("utf-8"))
    except (OSError, ValueError):
        return None
    initialisation = config.get("init_lora_weights", True)
    if isinstance(initialisation, str) and initialisation.lower() not in PLAIN_INITIALISATIONS:
        return f"init_lora_weights '{initialisation}'"
    if (rank := _rank(config)) > MAX_LORA_RANK:
        return f"a rank of {rank}, above {MAX_LORA_RANK}"
    features = {
        "use_dora": "DoRA",
        "modules_to_save": "modules_to_save",
        "trainable_token_indices": "trainable_token_indices",
        "target_parameters": "target_parameters",
        "layer_replication": "layer_replication",
        "lora_bias": "lora_bias",
        "alora_invocation_tokens": "activated LoRA",
        "use_bdlora": "block-diagonal LoRA",
        "use_qalora": "QALoRA",
    }
    return next((name for field, name in features.items() if config.get(field)), None)


def _rank(config: dict[str, Any]) -> int:
    ranks = [config.get("r"), *(config.get("rank_pattern") or {}).values()]
    return max((rank for rank in ranks if isinstance(rank, int)), default=0)
