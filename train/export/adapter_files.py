"""The format `adapter`: the adapter alone, for programs that have its base model."""

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from peft import PeftModel
from safetensors import safe_open
from transformers import PreTrainedModel

from ftlab.files import sha256_of
from ftlab.manifest import MANIFEST
from ftlab.model_ref import is_hub_id
from ftlab.schemas.export_results import CARD_FILE
from train.checkpoints.checkpoint_files import PINNED, is_training_state
from train.export.answer_check import load_to_compare
from train.export.deployment_files import served_name
from train.export.exportable import no_adapter
from train.model.base_model import COMMIT, BaseModel
from train.model.files import ADAPTER_CONFIG, ADAPTER_WEIGHTS
from train.model.folder import FolderFiles
from train.model.generation import write_settings
from train.model.tokenizer import load_tokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_OTHER_FILES = frozenset({MANIFEST, PINNED, CARD_FILE})


@dataclass(frozen=True)
class AdapterFormat:
    """The format `adapter` of a model."""

    base: BaseModel

    @property
    def weight_type(self) -> str:
        """The least precise type of the weights."""
        types = set()
        with safe_open(_adapter_of(self.base) / ADAPTER_WEIGHTS, "pt") as file:
            for name in file.keys():  # noqa: SIM118  (the file is no dictionary)
                types.add(file.get_slice(name).get_dtype())
        return next((name for name in ("BF16", "F16") if name in types), "F32")

    def write(self, folder: Path, after_tensor: Callable[[], None]) -> Mapping[str, str]:
        """Copy the adapter; return the SHA-256 of its weights. Its config names the base model as on the hub."""
        adapter = _adapter_of(self.base)
        for name in FolderFiles(adapter).sizes:
            if "/" not in name and name not in _OTHER_FILES and not is_training_state(name):
                shutil.copyfile(adapter / name, folder / name)
        if is_hub_id(self.base.name):
            config = json.loads((folder / ADAPTER_CONFIG).read_text("utf-8"))
            config["base_model_name_or_path"] = self.base.name
            config["revision"] = self.base.revision if COMMIT.fullmatch(self.base.revision) else None
            (folder / ADAPTER_CONFIG).write_text(json.dumps(config, indent=2, sort_keys=True), "utf-8")
        write_settings(self.base, folder)
        after_tensor()
        return {ADAPTER_WEIGHTS: sha256_of(adapter / ADAPTER_WEIGHTS)}

    def load(self, folder: Path, *, use_cuda: bool) -> PreTrainedModel | PeftModel:
        """Load the written adapter on the base model, in float32."""
        return load_to_compare(replace(self.base, adapter=folder), use_cuda=use_cuda)

    def load_tokenizer(self, folder: Path) -> "PreTrainedTokenizerBase":
        return load_tokenizer(replace(self.base, adapter=folder))

    def write_deployment(self, folder: Path, name: str) -> Mapping[str, str]:
        """A sentence on how to use the file of the weights, by its name."""
        if not is_hub_id(self.base.name):
            return {}
        return {
            ADAPTER_WEIGHTS: f"run `vllm serve {self.base.name} --enable-lora --lora-modules {served_name(name)}=. "
            "--generation-config .` in this folder, for an OpenAI-compatible server by vLLM."
        }


def _adapter_of(base: BaseModel) -> Path:
    if base.adapter is None:
        raise no_adapter()
    return base.adapter
