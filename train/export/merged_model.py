"""The format `merged`: the whole model in safetensors files, with its config and its tokenizer."""

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import TYPE_CHECKING

from peft import PeftModel
from transformers import PreTrainedModel

from ftlab.schemas.export import WeightType
from train.export.answer_check import load_to_compare
from train.export.deployment_files import write_merged_deployment
from train.export.merged_weights import MergedWeights
from train.export.safetensors_file import TYPES, write_safetensors
from train.model.base_model import BaseModel
from train.model.files import CONFIG, INDEX, WEIGHTS
from train.model.folder import FolderFiles
from train.model.generation import write_settings
from train.model.tokenizer import TOKENIZER_FILES, load_tokenizer

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedTokenizerBase

NAMES = {"float32": "F32", "float16": "F16", "bfloat16": "BF16"}
"""The types that a config names, as safetensors names them."""


@dataclass(frozen=True)
class MergedFormat:
    """The format `merged` of a model."""

    weights: MergedWeights
    base: BaseModel
    dtype: WeightType

    @property
    def weight_type(self) -> str:
        """The least precise type of the weights that are written."""
        types = {self._type_of(name) for names in self.weights.files.values() for name in names}
        return next((name for name in ("BF16", "F16") if name in types), "F32")

    def write(self, folder: Path, after_tensor: Callable[[], None]) -> Mapping[str, str]:
        """Write the model one tensor at a time, divided into files as the base model is.

        Return the SHA-256 of each weight file as it was written.
        """

        def tensor_of(name: str) -> "Tensor":
            after_tensor()
            return self.weights.tensor(name)

        hashes: dict[str, str] = {}
        file_of: dict[str, str] = {}
        num_bytes = 0
        for file, names in self.weights.files.items():
            entries = [(name, self._type_of(name), self.weights.shape(name)) for name in names]
            hashes[file] = write_safetensors(folder / file, entries, tensor_of)
            file_of |= dict.fromkeys(names, file)
            num_bytes += (folder / file).stat().st_size
        if list(hashes) != [WEIGHTS]:
            index = {"metadata": {"total_size": num_bytes}, "weight_map": file_of}
            (folder / INDEX).write_text(json.dumps(index, indent=2, sort_keys=True), "utf-8")
        _write_config(self.weights, self.base, folder, self.dtype)
        _copy_tokenizer(self.base, folder)
        return hashes

    def load(self, folder: Path, *, use_cuda: bool) -> PreTrainedModel | PeftModel:
        """Load the written files as transformers does, in float32."""
        return load_to_compare(BaseModel("the exported model", folder, ""), use_cuda=use_cuda)

    def load_tokenizer(self, folder: Path) -> "PreTrainedTokenizerBase":
        return load_tokenizer(BaseModel("the exported model", folder, ""))

    def write_deployment(self, folder: Path, name: str) -> Mapping[str, str]:
        """Write files by which other programs run the model; return a sentence on each by its name."""
        return write_merged_deployment(folder, name, getattr(self.weights.config, "max_position_embeddings", None))

    def _type_of(self, name: str) -> str:
        """The type that a tensor is written in; numbers that are not weights keep theirs."""
        stored = self.weights.stored_type(name)
        return NAMES[self.dtype] if self.dtype != "auto" and TYPES[stored].is_floating_point else stored


def _copy_tokenizer(base: BaseModel, folder: Path) -> None:
    """Copy the files of the tokenizer, with its chat templates."""
    for name in FolderFiles(base.tokenizer_folder).sizes:
        if name != CONFIG and any(fnmatch(name, pattern) for pattern in TOKENIZER_FILES):
            (folder / name).parent.mkdir(exist_ok=True)
            shutil.copyfile(base.tokenizer_folder / name, folder / name)


def _write_config(weights: MergedWeights, base: BaseModel, folder: Path, dtype: WeightType) -> None:
    config = json.loads((base.folder / CONFIG).read_text("utf-8"))
    if dtype != "auto":
        config.pop("torch_dtype", None)
        config["dtype"] = dtype
    if weights.is_untied:
        config["tie_word_embeddings"] = False
    (folder / CONFIG).write_text(json.dumps(config, indent=2, sort_keys=True), "utf-8")
    write_settings(base, folder)
