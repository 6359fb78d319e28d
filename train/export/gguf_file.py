"""The format `gguf`: the whole model in one file, for llama.cpp and Ollama.

Names of tensors and keys are those of llama.cpp's own converter (convert_hf_to_gguf.py), by its package `gguf`.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import gguf
import numpy as np
import torch
from gguf import GGMLQuantizationType as GgmlType
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, PretrainedConfig, PreTrainedModel
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

from ftlab.files import sha256_of
from train.export.answer_check import differs
from train.export.deployment_files import write_gguf_deployment
from train.export.exportable import ARCHITECTURES, check_model_type, gguf_unsupported
from train.export.gguf_gemma import add_gemma_settings, check_gemma, has_shifted_norm, is_gemma
from train.export.gguf_tokenizer import read_vocabulary
from train.export.gguf_vocabulary import add_vocabulary
from train.export.merged_weights import MergedWeights
from train.model.base_model import BaseModel
from train.model.tokenizer import load_tokenizer

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from transformers import PreTrainedTokenizerBase

FILE = "model.gguf"
_ARCHITECTURES = {name: architecture for architecture, name in gguf.MODEL_ARCH_NAMES.items()}
PlainType = Literal["f32", "f16", "bf16", "q8_0"]
"""The types that are written here."""
TYPES: dict[PlainType, GgmlType] = {
    "f32": GgmlType.F32,
    "f16": GgmlType.F16,
    "bf16": GgmlType.BF16,
    "q8_0": GgmlType.Q8_0,
}
FILE_TYPES: dict[PlainType, gguf.LlamaFileType] = {
    "f32": gguf.LlamaFileType.ALL_F32,
    "f16": gguf.LlamaFileType.MOSTLY_F16,
    "bf16": gguf.LlamaFileType.MOSTLY_BF16,
    "q8_0": gguf.LlamaFileType.MOSTLY_Q8_0,
}
ROPE_TYPES = ("default", "linear", "llama3")
ROPE_FREQUENCIES = "rope_freqs.weight"
FLOAT32_PRECISION = 1e-6
_SETTINGS = (
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "max_position_embeddings",
    "vocab_size",
)


@dataclass(frozen=True)
class _Planned:
    """A tensor of the file."""

    name: str
    source: str
    """Its name in the model."""
    shape: tuple[int, ...]
    type: GgmlType


@dataclass(frozen=True)
class GgufFormat:
    """The format `gguf` of a model."""

    weights: MergedWeights
    base: BaseModel
    type: PlainType

    @property
    def weight_type(self) -> str:
        return self.type.upper()

    def write(self, folder: Path, after_tensor: Callable[[], None]) -> Mapping[str, str]:
        """Write the file one tensor at a time; return its SHA-256 by its name.

        Raise `InvalidRequestError` (`unsupported_model`, `tokenizer_unsupported`) for a model that llama.cpp would not
        compute alike.
        """
        _write(self.weights, self.base, folder / FILE, self.type, after_tensor)
        return {FILE: sha256_of(folder / FILE)}

    def load(self, folder: Path, *, use_cuda: bool) -> PreTrainedModel:
        """Load the file by transformers' own reader of GGUF, in float32.

        Settings that this does not read of a file, like the scaling of positions, are those of the model; the others
        are compared first. Raise `FineTuneLabError` (`export_differs`) where they are not the same.
        """
        _check_settings(folder, self.weights.config)
        model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(
            folder, gguf_file=FILE, config=self.weights.config, dtype=torch.float32, local_files_only=True
        )
        return model.to("cuda") if use_cuda else model

    def load_tokenizer(self, folder: Path) -> "PreTrainedTokenizerBase":
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
            folder, gguf_file=FILE, local_files_only=True
        )
        return tokenizer

    def write_deployment(self, folder: Path, name: str) -> Mapping[str, str]:
        """Write files by which other programs run the model; return a sentence on each by its name."""
        return write_gguf_deployment(folder, FILE, name, load_tokenizer(self.base))


def _write(
    weights: MergedWeights, base: BaseModel, file: Path, gguf_type: PlainType, after_tensor: Callable[[], None]
) -> None:
    config, tokenizer = weights.config, load_tokenizer(base)
    check_model_type(config.model_type)
    _check_config(config)
    if is_gemma(config):
        check_gemma(config, is_untied=weights.is_untied or not config.tie_word_embeddings)
    planned = list(_plan(weights, TYPES[gguf_type]))
    num_rows = next(each.shape[0] for each in planned if each.name == "token_embd.weight")
    vocabulary = read_vocabulary(tokenizer, base.tokenizer_folder, num_rows)
    writer = gguf.GGUFWriter(file, ARCHITECTURES[config.model_type])
    _add_settings(writer, config, base, num_rows, gguf_type)
    add_vocabulary(writer, tokenizer, vocabulary)
    frequencies = _rope_frequencies(config)
    if frequencies is not None:
        writer.add_tensor_info(ROPE_FREQUENCIES, frequencies.shape, frequencies.dtype, frequencies.nbytes)
    for each in planned:
        writer.add_tensor_info(each.name, each.shape, np.dtype(np.float32), _num_bytes(each), each.type)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    if frequencies is not None:
        writer.write_tensor_data(frequencies)
    for each in planned:
        writer.write_tensor_data(_content(weights.tensor(each.source), each, config))
        after_tensor()
    writer.close()


def _check_settings(folder: Path, expected: PretrainedConfig) -> None:
    found = AutoConfig.from_pretrained(folder, gguf_file=FILE, local_files_only=True)
    for name in _SETTINGS:
        if getattr(found, name) != getattr(expected, name):
            raise differs(f"{name} is {getattr(found, name)} in the file and {getattr(expected, name)} in the model")
    for name, one, other in (
        ("rms_norm_eps", found.rms_norm_eps, expected.rms_norm_eps),
        ("rope_theta", _positions(found)["rope_theta"], _positions(expected)["rope_theta"]),
    ):
        if not math.isclose(one, other, rel_tol=FLOAT32_PRECISION):
            raise differs(f"{name} is {one} in the file and {other} in the model")


def _plan(weights: MergedWeights, wanted: GgmlType) -> Iterator[_Planned]:
    config = weights.config
    names = gguf.get_tensor_name_map(_ARCHITECTURES[ARCHITECTURES[config.model_type]], config.num_hidden_layers)
    for source in sorted(name for names_of_file in weights.files.values() for name in names_of_file):
        if source.endswith("rotary_emb.inv_freq"):
            continue  # computed from the settings
        name = names.get_name(source, try_suffixes=(".weight", ".bias"))
        if name is None:
            raise gguf_unsupported(f"llama.cpp has no tensor for {source}")
        shape = weights.shape(source)
        yield _Planned(name, source, shape, _type_of(shape, wanted))


def _type_of(shape: tuple[int, ...], wanted: GgmlType) -> GgmlType:
    """Vectors stay in float32; rows that cannot be divided into blocks become float16."""
    if len(shape) == 1:
        return GgmlType.F32
    block, _ = gguf.GGML_QUANT_SIZES[wanted]
    return wanted if shape[-1] % block == 0 else GgmlType.F16


def _num_bytes(planned: _Planned) -> int:
    block, block_bytes = gguf.GGML_QUANT_SIZES[planned.type]
    return int(np.prod(planned.shape)) // block * block_bytes


def _content(tensor: Tensor, planned: _Planned, config: PretrainedConfig) -> "NDArray[Any]":
    values = tensor.float()
    if has_shifted_norm(config, planned.source):
        values = values + 1
    if config.model_type in ("llama", "mistral") and planned.name.partition(".attn_")[2].split(".")[0] in ("q", "k"):
        heads = config.num_attention_heads if ".attn_q." in planned.name else config.num_key_value_heads
        values = _permuted(values, heads)
    content: NDArray[Any] = gguf.quantize(values.contiguous().numpy(), planned.type)
    return content


def _permuted(values: Tensor, heads: int) -> Tensor:
    """llama.cpp rotates neighbouring numbers of a head, and transformers those of its two halves."""
    divided = values.reshape(heads, 2, values.shape[0] // heads // 2, *values.shape[1:])
    return divided.swapaxes(1, 2).reshape(values.shape)


def _add_settings(
    writer: gguf.GGUFWriter, config: PretrainedConfig, base: BaseModel, num_rows: int, gguf_type: PlainType
) -> None:
    head_dim = _head_dim(config)
    writer.add_name(base.name.rpartition("/")[2])
    writer.add_file_type(FILE_TYPES[gguf_type])
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    writer.add_vocab_size(num_rows)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_key_length(head_dim)
    writer.add_value_length(head_dim)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_dimension_count(head_dim)
    positions = _positions(config)
    writer.add_rope_freq_base(positions["rope_theta"])
    if positions["rope_type"] == "linear":
        writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(positions["factor"])
    if is_gemma(config):
        add_gemma_settings(writer, config)


def _check_config(config: PretrainedConfig) -> None:
    if (rope_type := _positions(config).get("rope_type")) not in ROPE_TYPES:
        raise gguf_unsupported(f"the scaling of positions '{rope_type}' is not written")
    if is_gemma(config):
        return
    if getattr(config, "use_sliding_window", config.model_type == "mistral") and config.sliding_window is not None:
        raise gguf_unsupported("llama.cpp does not limit the attention of this architecture to a window")
    if config.hidden_act != "silu":
        raise gguf_unsupported(f"llama.cpp computes it with silu, and the model has '{config.hidden_act}'")


def _positions(config: PretrainedConfig) -> dict[str, Any]:
    """How positions are encoded; where layers differ in it, of those that look at everything."""
    parameters: dict[str, Any] = config.rope_parameters
    found: dict[str, Any] = parameters.get("full_attention", parameters)
    return found


def _rope_frequencies(config: PretrainedConfig) -> "NDArray[np.float32] | None":
    """By what llama.cpp divides the frequency of each pair of numbers; `None` for frequencies as they are."""
    if _positions(config)["rope_type"] != "llama3":
        return None
    scaled, _ = ROPE_INIT_FUNCTIONS["llama3"](config, torch.device("cpu"))
    head_dim = _head_dim(config)
    exponents = torch.arange(0, head_dim, 2, dtype=torch.float32) / head_dim
    plain = 1.0 / (config.rope_parameters["rope_theta"] ** exponents)
    factors: NDArray[np.float32] = (plain / scaled).numpy()
    return factors


def _head_dim(config: PretrainedConfig) -> int:
    return int(getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads)
