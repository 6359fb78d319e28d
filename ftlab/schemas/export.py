"""The config of an export: which model, and in which formats."""

from collections.abc import Mapping
from typing import Literal, Self

from pydantic import ConfigDict, Field, model_validator

from ftlab.schemas.base_config import BaseJobConfig, Resources
from ftlab.schemas.evaluation import ModelReference

ExportFormat = Literal["adapter", "merged", "gguf"]
"""`adapter` is the adapter without its base model, for PEFT and vLLM; `merged` a model in safetensors files, for vLLM
and transformers; `gguf` one file, for llama.cpp and Ollama."""
WeightType = Literal["auto", "float32", "float16", "bfloat16"]
GgufKType = Literal["q6_k", "q5_k_m", "q5_k_s", "q4_k_m", "q4_k_s", "q3_k_m"]
"""K-quants, which a program of llama.cpp makes."""
GgufType = Literal["f32", "f16", "bf16", "q8_0", "q6_k", "q5_k_m", "q5_k_s", "q4_k_m", "q4_k_s", "q3_k_m"]

PROMPTS = (
    "What is the capital of France?",
    "Explain in two sentences how a queue works.",
    "Write a short e-mail that thanks a colleague for her help.",
    "List three colours.",
    "What is 17 plus 25?",
    "Translate 'good morning' into Spanish.",
)
"""Prompts that compare an exported model with the tuned one, where a config names none."""
MAX_PROMPT_CHARS = 4000


class ExportConfig(BaseJobConfig):
    """Everything that defines an export; the same document as a YAML file, in Python and over HTTP."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"kind": "export", "model": "job:job-4k0x9r2m7q1z", "formats": ["merged", "gguf"], "gguf_type": "q8_0"}
            ]
        }
    )

    kind: Literal["export"] = "export"
    """Kind of the job."""
    model: ModelReference
    """The model to export: `job:ID`, `job:ID/step-N` or `model:ID`."""
    formats: list[ExportFormat] = Field(default=["merged"], min_length=1, max_length=3)
    """What to write: `adapter` is the adapter alone, `merged` the whole model as safetensors files, `gguf` one file for
    llama.cpp and Ollama."""
    dtype: WeightType = "auto"
    """Type of the weights of `merged`; `auto` keeps those of the base model."""
    gguf_type: GgufType = "q8_0"
    """Type of the weights of `gguf`; `q8_0` has 8 bits. Types with a `k` need the setting `llama_quantize` of the
    service."""
    prompts: list[str] = Field(default=list(PROMPTS), min_length=1, max_length=32)
    """Prompts that are given to the tuned model and to the exported one, whose answers must be the same."""
    resources: Resources = Resources(gpus_per_worker=0)
    """Devices for the job; by default CPU cores only."""

    @model_validator(mode="after")
    def _each_format_once(self) -> Self:
        if twice := next((each for each in self.formats if self.formats.count(each) > 1), None):
            raise ValueError(f"formats has {twice!r} twice; leave one out")
        return self

    @model_validator(mode="after")
    def _prompts_are_texts(self) -> Self:
        for place, prompt in enumerate(self.prompts):
            if not prompt.strip() or len(prompt) > MAX_PROMPT_CHARS:
                raise ValueError(f"prompts[{place}] must have 1 to {MAX_PROMPT_CHARS:,} characters, not only spaces")
        return self

    @model_validator(mode="after")
    def _runs_on_one_worker(self) -> Self:
        if self.resources.num_workers > 1:
            raise ValueError("resources.num_workers must be 1: an export runs in one process")
        return self

    @property
    def named_models(self) -> dict[str, str]:
        return {"model": self.model}

    def with_models(self, found: Mapping[str, str]) -> Self:
        return self.model_copy(update={"model": found.get(self.model, self.model)})

    @property
    def artifact_names(self) -> dict[ExportFormat, str]:
        """The name of the artifact of each format."""
        types = {"adapter": "auto", "merged": self.dtype, "gguf": self.gguf_type}
        return {each: each if types[each] == "auto" else f"{each}-{types[each]}" for each in self.formats}
