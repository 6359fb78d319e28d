"""Loading, adapting and naming of base models."""

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from peft import LoraConfig as PeftLoraConfig
from peft import PeftModel, get_peft_model_state_dict
from peft.utils.other import ModulesToSaveWrapper
from safetensors import safe_open
from transformers import (
    AutoModelForCausalLM,
    BitsAndBytesConfig,
    PreTrainedModel,
)
from transformers.pytorch_utils import Conv1D

from ftlab.errors import InvalidRequestError
from ftlab.model_ref import is_hub_id
from ftlab.schemas import JobConfig
from train.model.base_model import BaseModel
from train.model.files import ADAPTER_WEIGHTS
from train.model.load_errors import check_loaded, load_errors, model_invalid, named
from train.model.preflight import ModelUse, check_devices, check_modules

_CARD = """---
{metadata}library_name: peft
pipeline_tag: text-generation
tags: [lora, trl]
---

A LoRA adapter for `{base}` (revision `{revision}`), trained by FineTune Lab. The job's config, metrics and logs are in
its MLflow run.{source}

    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained("PATH OF THIS FOLDER")
    base = AutoModelForCausalLM.from_pretrained("{weights}")
    model = PeftModel.from_pretrained(base, "PATH OF THIS FOLDER")
"""


def load_model(base: BaseModel, config: JobConfig, *, use_cuda: bool) -> PreTrainedModel | PeftModel:
    """Load the weights that `config` starts from; adapters of a former job are trained further, or merged.

    Raise `InvalidRequestError`: `invalid_config` for data types that the devices cannot compute with and for
    names in `lora` that the model does not have, `model_invalid` or `unsupported_model` for files that cannot be
    loaded completely.
    """
    check_devices(config, use_cuda=use_cuda)
    if config.training.bf16 and use_cuda and not torch.cuda.is_bf16_supported(including_emulation=False):
        raise InvalidRequestError(
            "training.bf16 needs a GPU that computes bfloat16, and this one does not; use training.fp16.",
            "invalid_config",
            "training.bf16",
        )
    model = _load_base(base, config, use_cuda=use_cuda)
    if base.adapter is None:
        if config.tuning == "lora":
            check_modules(ModelUse.of(config), _modules(model), is_tied=_is_tied(model))
        return model
    adapted = _load_adapter(model, base.adapter, is_trainable=config.tuning == "lora")
    # Every save reads the config of the base model, from the hub where this is its name.
    adapted.active_peft_config.base_model_name_or_path = str(base.folder)
    if config.tuning == "lora":
        return adapted
    # The base was frozen below the adapter.
    return adapted.merge_and_unload().requires_grad_(True)


def load_delivered(base: BaseModel, folder: Path, config: JobConfig, *, use_cuda: bool) -> PreTrainedModel | PeftModel:
    """Load the tuned model in `folder` as its user does: the whole model, or the adapter on its base model."""
    if config.tuning == "full":
        model = _load_weights("the tuned model", folder, "auto", config, use_cuda=use_cuda)
    else:
        model = _load_adapter(_load_base(base, config, use_cuda=use_cuda), folder)
    return model.to("cuda") if use_cuda and config.quantised_by is None else model


def _load_base(base: BaseModel, config: JobConfig, *, use_cuda: bool) -> PreTrainedModel:
    what = f"the base model {base.name}"
    with load_errors(what, base.folder):
        dtype = _dtype(base, config, use_cuda=use_cuda)
    return _load_weights(what, base.folder, dtype, config, use_cuda=use_cuda)


def _load_weights(
    what: str, folder: Path, dtype: torch.dtype | Literal["auto"], config: JobConfig, *, use_cuda: bool
) -> PreTrainedModel:
    options: dict[str, Any] = {"dtype": dtype}
    if config.quantised_by is not None:
        options["quantization_config"] = BitsAndBytesConfig(
            load_in_4bit=config.load_in_4bit,
            load_in_8bit=config.load_in_8bit,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=torch.bfloat16,
        )
        options["device_map"] = {"": 0 if use_cuda else "cpu"}
    if config.load_in_8bit:
        # It warns at every layer of every pass that it casts the inputs.
        logging.getLogger("bitsandbytes.autograd._functions").setLevel(logging.ERROR)
    model: PreTrainedModel
    with load_errors(what, folder):
        model, found = AutoModelForCausalLM.from_pretrained(
            folder,
            use_safetensors=True,
            local_files_only=True,
            trust_remote_code=False,
            # `check_loaded` refuses them with a message that names them.
            ignore_mismatched_sizes=True,
            output_loading_info=True,
            **options,
        )
    check_loaded(found, what)
    if getattr(model, "is_loaded_in_4bit", False) or getattr(model, "is_loaded_in_8bit", False):
        _check_quantised(model, what)
    model.config.use_cache = False
    if config.load_in_4bit and not use_cuda:
        _keep_trainable_layout(model)
    return model


def _check_quantised(model: PreTrainedModel, what: str) -> None:
    """Raise `InvalidRequestError` (`model_invalid`) for weights that config.json calls quantised and that are not.

    They load without an error, and cannot be computed with.
    """
    from bitsandbytes.nn import Int8Params, Linear4bit, Linear8bitLt, Params4bit

    for name, module in model.named_modules():
        if isinstance(module, Linear4bit | Linear8bitLt) and not isinstance(module.weight, Params4bit | Int8Params):
            raise model_invalid(
                f"{name} of {what} is not quantised, and the quantization_config in config.json says that it is. "
                "Remove that from config.json, or fetch the model again."
            )


def _load_adapter(model: PreTrainedModel, folder: Path, *, is_trainable: bool = False) -> PeftModel:
    """Load the adapter in `folder` on its base model; raise `InvalidRequestError` (`model_invalid`) for a damaged one.

    PEFT would read pickles where there are no safetensors, and initialise weights that are not in the file.
    """
    weights = folder / ADAPTER_WEIGHTS
    if not weights.is_file():
        raise model_invalid(f"The adapter has no {ADAPTER_WEIGHTS}; start from another model.")
    with load_errors("the adapter", folder):
        adapted: PeftModel = PeftModel.from_pretrained(model, folder, is_trainable=is_trainable)
        with safe_open(weights, "pt") as file:
            stored = set(file.keys())
    if missing := get_peft_model_state_dict(adapted, save_embedding_layers=False).keys() - stored:
        raise model_invalid(
            f"The file {ADAPTER_WEIGHTS} of the adapter lacks {named(missing)}; start from another model."
        )
    return adapted


def lora_config(config: JobConfig) -> PeftLoraConfig:
    lora = config.lora
    return PeftLoraConfig(
        task_type="CAUSAL_LM",
        r=lora.r,
        lora_alpha=lora.lora_alpha,
        lora_dropout=lora.lora_dropout,
        target_modules=lora.target_modules,
        use_rslora=lora.use_rslora,
        use_dora=lora.use_dora,
        modules_to_save=lora.modules_to_save,
        init_lora_weights=lora.init_lora_weights,
    )


def _modules(model: PreTrainedModel) -> dict[str, bool]:
    """Every module that has weights by its name, and whether LoRA can adapt it."""
    kinds = (torch.nn.Linear, torch.nn.Embedding, torch.nn.modules.conv._ConvNd, Conv1D)
    with_weights = ((name, module) for name, module in model.named_modules() if any(True for _ in module.parameters()))
    return {name: isinstance(module, kinds) for name, module in with_weights if name}


def _is_tied(model: PreTrainedModel) -> bool:
    head = model.get_output_embeddings()
    return head is not None and head.weight is model.get_input_embeddings().weight


def _keep_trainable_layout(model: PreTrainedModel) -> None:
    """Keep bitsandbytes from repacking 4-bit weights at the first evaluation on a CPU with AVX512-BF16.

    The packed layout is for inference only and has no backward pass: after one evaluation the gradients of all further
    training would be silently wrong (bitsandbytes 0.50, `Linear4bit.forward`).
    """
    from bitsandbytes.nn import Linear4bit

    for module in model.modules():
        if isinstance(module, Linear4bit):
            module.support_avx512bf16_for_cpu = False


def undo_cast(model: torch.nn.Module, loaded: Mapping[str, torch.Tensor]) -> None:
    """Undo TRL's cast of what is trained on quantised weights to bfloat16.

    PEFT loads a checkpoint's adapters as float32, so a resume would continue with a precision other than the one it
    started with; and the small updates of AdamW get lost in bfloat16. `loaded` are the weights by their names that were
    loaded before, of an adapter that is continued; those of `lora.modules_to_save` are otherwise copied from the base.
    """
    for name, weight in model.named_parameters():
        if weight.requires_grad:
            weight.data = loaded[name] if name in loaded else weight.data.float()
    for module in () if loaded else model.modules():
        if isinstance(module, ModulesToSaveWrapper):
            [trained] = module.modules_to_save.values()
            for weight, original in zip(trained.parameters(), module.original_module.parameters(), strict=True):
                weight.data = original.data.clone()


def name_base_model(saved: Path, base: BaseModel) -> None:
    """Write the base model's name into a saved model, instead of the path on this machine that PEFT and TRL write."""
    adapter_config = saved / "adapter_config.json"
    if adapter_config.exists():
        config = json.loads(adapter_config.read_text("utf-8")) | {"base_model_name_or_path": base.name}
        adapter_config.write_text(json.dumps(config, indent=2, sort_keys=True), "utf-8")
        (saved / "README.md").write_text(_card(base), "utf-8")
        return
    card = saved / "README.md"
    if card.exists():
        card.write_text(card.read_text("utf-8").replace(str(base.folder), base.name), "utf-8")


def _card(base: BaseModel) -> str:
    if is_hub_id(base.name):
        metadata, source, weights = f"base_model: {base.name}\n", "", base.name
    elif base.download is not None:
        metadata, weights = "", "PATH OF THE BASE MODEL"
        source = f"\n\nThe base model was trained by the same service. Download it with `{base.download}`."
    else:
        metadata, weights = "", "PATH OF THE BASE MODEL"
        source = "\n\nThe base model is in a folder of the service; the service does not offer it for download."
    return _CARD.format(base=base.name, revision=base.revision, metadata=metadata, source=source, weights=weights)


def _dtype(base: BaseModel, config: JobConfig, *, use_cuda: bool) -> torch.dtype:
    wanted = config.training.dtype
    if wanted != "auto":
        return getattr(torch, wanted)
    if config.tuning == "full":
        return torch.float32
    saved = json.loads((base.folder / "config.json").read_text("utf-8"))
    name = saved.get("dtype") or saved.get("torch_dtype") or "float32"
    if use_cuda or name not in ("float16", "bfloat16"):
        return getattr(torch, name)
    return torch.bfloat16 if _has_fast_bfloat16() else torch.float32


def _has_fast_bfloat16() -> bool:
    """Whether the CPU computes bfloat16 by oneDNN; without AVX-512, a step takes some twenty times as long."""
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
