"""Loading and adapting of base models."""

import json
import logging
from collections.abc import Mapping, Set
from pathlib import Path
from typing import Any, Literal, TypeVar

import torch
from peft import LoraConfig as PeftLoraConfig
from peft import PeftConfig, PeftModel, get_peft_model, get_peft_model_state_dict, set_peft_model_state_dict
from safetensors.torch import load_file
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    BitsAndBytesConfig,
    PreTrainedModel,
    set_seed,
)
from transformers.pytorch_utils import Conv1D

from ftlab.errors import InvalidRequestError
from ftlab.schemas import JobConfig
from train.device_defaults import AS_TRAINED, has_fast_bfloat16
from train.model.base_model import BaseModel
from train.model.files import ADAPTER_WEIGHTS
from train.model.load_errors import check_loaded, load_errors, model_invalid, named
from train.model.preflight import ModelUse, check_devices, check_modules
from train.model.reward_head import HEAD, HEAD_WEIGHT, TASK_TYPE, check_files, has_own_head, is_reward_adapter
from train.model.trained_precision import load_in_float32

AnyModel = TypeVar("AnyModel", bound=torch.nn.Module)

CHANGES_BASE = ("pissa", "olora", "corda", "loftq")
"""Beginnings of initialisations that put a part of the base weights into an adapter. Those of our own jobs are saved as
plain ones."""


def load_model(
    base: BaseModel, config: JobConfig, *, use_cuda: bool, attention: str | None = None
) -> PreTrainedModel | PeftModel:
    """Load the weights that `config` starts from; adapters of a former job are trained further, or merged.

    `attention` is one of transformers, for models that support it.

    Raise `InvalidRequestError`: `invalid_config` for data types that the devices cannot compute with and for
    names in `lora` that the model does not have, `model_invalid` or `unsupported_model` for files that cannot be
    loaded completely. The head of a new reward model is random, and the same for the same seed.
    """
    check_devices(config, use_cuda=use_cuda)
    if config.training.bf16 and use_cuda and not torch.cuda.is_bf16_supported(including_emulation=False):
        raise InvalidRequestError(
            "training.bf16 needs a GPU that computes bfloat16, and this one does not; use training.fp16.",
            "invalid_config",
            "training.bf16",
        )
    for folder in filter(None, (base.adapter, base.folder)):
        check_files(config.method, folder)
    model = _load_base(base, config, use_cuda=use_cuda)
    if attention is not None and model._supports_flash_attn:
        model.set_attn_implementation(attention)
    if base.adapter is None:
        if config.tuning == "lora":
            check_modules(ModelUse.of(config), _modules(model), is_tied=_is_tied(model))
        return model
    adapted = _load_adapter(model, base.adapter, config, is_trainable=config.tuning == "lora")
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
        model = _load_adapter(_load_base(base, config, use_cuda=use_cuda), folder, config)
    return _placed(model, config, use_cuda=use_cuda)


def load_for_answers(base: BaseModel, *, use_cuda: bool, attention: str | None = None) -> PreTrainedModel | PeftModel:
    """Load a language model to answer with: the base model, with its adapter if it has one.

    `attention` is as for `load_model`. Raise `InvalidRequestError` (`model_invalid`, `unsupported_model`) for files
    that cannot be loaded completely.
    """
    for folder in filter(None, (base.adapter, base.folder)):
        check_files(AS_TRAINED.method, folder)
    model = _load_base(base, AS_TRAINED, use_cuda=use_cuda)
    if attention is not None and model._supports_flash_attn:
        model.set_attn_implementation(attention)
    adapted = model if base.adapter is None else _load_adapter(model, base.adapter, AS_TRAINED)
    return _placed(adapted, AS_TRAINED, use_cuda=use_cuda)


def load_engine_model(base: BaseModel, config: JobConfig, *, use_cuda: bool) -> PreTrainedModel:
    """Load the whole model in `base.folder` to generate with, in the data type and the bits that `config` trains with.

    Raises what `load_model` raises.
    """
    check_devices(config, use_cuda=use_cuda)
    model = _load_base(base, config, use_cuda=use_cuda)
    model.config.use_cache = True
    return _placed(model, config, use_cuda=use_cuda).requires_grad_(False).eval()


def add_adapter(model: PreTrainedModel | PeftModel, folder: Path, name: str) -> PeftModel:
    """Load the adapter in `folder` beside those that the model has; after an error the model is as it was.

    Raise what `_load_adapter` raises, and `InvalidRequestError` (`unsupported_model`) for an adapter that would change
    the weights below the others.
    """
    stored = _stored_weights(folder)
    with load_errors("the adapter", folder):
        settings = PeftConfig.from_pretrained(folder)
        if str(getattr(settings, "init_lora_weights", "")).startswith(CHANGES_BASE):
            raise InvalidRequestError(
                f"The adapter was saved with init_lora_weights '{settings.init_lora_weights}', which changes the base "
                "model; convert it to a plain adapter first.",
                "unsupported_model",
                "model",
            )
        settings.inference_mode = True
        is_first = not isinstance(model, PeftModel)
        adapted: PeftModel = get_peft_model(model, settings, adapter_name=name) if is_first else model
        try:
            adapted.load_adapter(str(folder), name)
            state = get_peft_model_state_dict(adapted, adapter_name=name, save_embedding_layers=False)
            _check_complete(state.keys() - stored.keys())
        except Exception:
            if is_first:
                adapted.unload()
            elif name in adapted.peft_config:
                adapted.delete_adapter(name)
            raise
    return adapted.eval()


def _placed(model: AnyModel, config: JobConfig, *, use_cuda: bool) -> AnyModel:
    """The model on its device; bitsandbytes has put a quantised one there already."""
    if use_cuda and config.quantised_by is None:
        model.to("cuda")  # in place
    return model


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
            bnb_4bit_compute_dtype=torch.float16 if config.training.fp16 else torch.bfloat16,
        )
        options["device_map"] = {"": 0 if use_cuda else "cpu"}
    if config.load_in_8bit:
        # It warns at every layer of every pass that it casts the inputs.
        logging.getLogger("bitsandbytes.autograd._functions").setLevel(logging.ERROR)
    scores_texts = config.method.scores_texts
    if scores_texts:
        options["num_labels"] = 1
        set_seed(config.training.seed)
    auto_class = AutoModelForSequenceClassification if scores_texts else AutoModelForCausalLM
    model: PreTrainedModel
    with load_errors(what, folder):
        model, found = auto_class.from_pretrained(
            folder,
            use_safetensors=True,
            local_files_only=True,
            trust_remote_code=False,
            # `check_loaded` refuses them with a message that names them.
            ignore_mismatched_sizes=True,
            output_loading_info=True,
            **options,
        )
    if scores_texts:
        _check_head(model, found, what)
    check_loaded(found, what, new=() if has_own_head(folder) or not scores_texts else (HEAD_WEIGHT,))
    if getattr(model, "is_loaded_in_4bit", False) or getattr(model, "is_loaded_in_8bit", False):
        _check_quantised(model, what)
    model.config.use_cache = False
    if config.load_in_4bit and not use_cuda:
        _keep_trainable_layout(model)
    return model


def _check_head(model: PreTrainedModel, found: Mapping[str, Any], what: str) -> None:
    """Raise `InvalidRequestError` (`unsupported_model`) unless the model has the head of a reward model.

    `found` is transformers' report of the load.
    """
    if not isinstance(getattr(model, HEAD, None), torch.nn.Linear):
        why = f"as transformers loads it has no linear layer '{HEAD}', which is the head of a reward model"
    elif stored := next((shape for name, shape, _ in found["mismatched_keys"] if name == HEAD_WEIGHT), None):
        why = f"has a head with {stored[0]} outputs, and a reward model has one"
    else:
        return
    message = f"{what[0].upper()}{what[1:]} {why}; start from another model."
    raise InvalidRequestError(message, "unsupported_model", "model")


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


def _load_adapter(model: PreTrainedModel, folder: Path, config: JobConfig, *, is_trainable: bool = False) -> PeftModel:
    """Load the adapter in `folder` on its base model; raise `InvalidRequestError` (`model_invalid`) for a damaged one.

    PEFT would read pickles where there are no safetensors, and initialise weights that are not in the file. The adapter
    of a language model gets a new head where the method trains a reward model.
    """
    stored = _stored_weights(folder)
    with load_errors("the adapter", folder):
        has_head = not config.method.scores_texts or is_reward_adapter(folder)
        if has_head:
            adapted: PeftModel = PeftModel.from_pretrained(model, folder, is_trainable=is_trainable)
            if is_trainable:
                load_in_float32(adapted, stored)
            missing = get_peft_model_state_dict(adapted, save_embedding_layers=False).keys() - stored.keys()
        else:
            adapted = _with_new_head(model, folder, is_trainable=is_trainable)
            state = get_peft_model_state_dict(adapted, save_embedding_layers=False)
            missing = state.keys() - stored.keys() - {f"base_model.model.{HEAD_WEIGHT}"}
            set_peft_model_state_dict(adapted, state | stored)
    _check_complete(missing)
    return adapted


def _stored_weights(folder: Path) -> dict[str, torch.Tensor]:
    file = folder / ADAPTER_WEIGHTS
    if not file.is_file():
        raise model_invalid(f"The adapter has no {ADAPTER_WEIGHTS}; start from another model.")
    with load_errors("the adapter", folder):
        weights: dict[str, torch.Tensor] = load_file(file)
    return weights


def _check_complete(missing: Set[str]) -> None:
    if missing:
        raise model_invalid(
            f"The file {ADAPTER_WEIGHTS} of the adapter lacks {named(missing)}; start from another model."
        )


def _with_new_head(model: PreTrainedModel, folder: Path, *, is_trainable: bool) -> PeftModel:
    """A model with an adapter of the same shape as the one in `folder`, and with the head of a reward model."""
    settings = PeftConfig.from_pretrained(folder)
    settings.task_type, settings.inference_mode = TASK_TYPE, not is_trainable
    adapted: PeftModel = get_peft_model(model, settings)
    return adapted


def precision_of_attention(model: PreTrainedModel | PeftModel) -> torch.autocast:
    """Autocast for a pass outside of a trainer: FlashAttention computes 16-bit numbers only, the others as they are."""
    is_flash = "flash" in (model.config._attn_implementation or "")
    return torch.autocast(model.device.type, torch.bfloat16, enabled=is_flash)


def lora_config(config: JobConfig) -> PeftLoraConfig:
    lora = config.lora
    return PeftLoraConfig(
        task_type=TASK_TYPE if config.method.scores_texts else "CAUSAL_LM",
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
    return {name: isinstance(module, kinds) and name != HEAD for name, module in with_weights if name}


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


def _dtype(base: BaseModel, config: JobConfig, *, use_cuda: bool) -> torch.dtype:
    wanted = config.training.dtype
    if wanted != "auto":
        return getattr(torch, wanted)
    if config.tuning == "full":
        return torch.float32
    saved = json.loads((base.folder / "config.json").read_text("utf-8"))
    name = saved.get("dtype") or saved.get("torch_dtype") or "float32"
    if config.training.fp16 and name == "bfloat16":
        return torch.float16  # a GPU without bfloat16 would convert the weights in every pass
    if use_cuda or name not in ("float16", "bfloat16"):
        return getattr(torch, name)
    return torch.bfloat16 if has_fast_bfloat16() else torch.float32
