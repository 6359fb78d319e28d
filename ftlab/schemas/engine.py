"""The config of an engine: a job that keeps a base model in memory and answers requests."""

from typing import Literal, Self

from pydantic import Field, model_validator

from ftlab.schemas.base_config import BaseJobConfig


class EngineConfig(BaseJobConfig):
    """Everything that defines an engine. The service submits engines itself, when a request needs one."""

    kind: Literal["engine"] = "engine"
    """Kind of the job."""
    model: str = Field(min_length=1, max_length=512)
    """Base model, named like `model` of a training job."""
    load_in_4bit: bool = False
    """The weights in 4-bit NF4, as a job trained its adapter on them."""
    load_in_8bit: bool = False
    """The weights in 8 bits."""
    backend: Literal["auto", "own", "vllm"] = "auto"
    """What answers: `auto` is vLLM where it is installed, the job has a CUDA GPU and the model fits it, else the
    service's own engine."""
    idle_timeout_s: int = Field(default=300, ge=1, le=86_400)
    """Seconds without a request after which the engine ends."""

    @model_validator(mode="after")
    def _runs_on_one_worker(self) -> Self:
        if self.resources.num_workers > 1:
            raise ValueError("resources.num_workers must be 1: an engine runs in one process")
        return self
