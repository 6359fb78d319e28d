"""Settings of an adapter. They have the names that they have in PEFT's `LoraConfig`."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from ftlab.schemas.common import Name, StrictModel

MAX_NAMED_MODULES = 100
PissaWithIterations = Annotated[str, StringConstraints(pattern=r"^pissa_niter_[1-9][0-9]?$")]
ModuleNames = Annotated[list[Name], Field(min_length=1, max_length=MAX_NAMED_MODULES)]


class LoraConfig(StrictModel):
    """Low-rank adapters (PEFT `LoraConfig`)."""

    r: int = Field(default=16, ge=1, le=1024)
    """Rank of the update matrices."""
    lora_alpha: int = Field(default=32, ge=1, le=8192)
    """Scaling numerator: the update is scaled by `lora_alpha / r` (`/ sqrt(r)` with `use_rslora`)."""
    lora_dropout: float = Field(default=0.0, ge=0.0, lt=1.0)
    """Dropout before the adapter. Only `sft` uses it."""
    target_modules: Literal["auto", "all-linear"] | ModuleNames = "all-linear"
    """Which linear layers get an adapter. `auto` is the same as no value: all linear layers, or those that the adapter
    has which the job continues."""
    modules_to_save: ModuleNames | None = None
    """Modules that are trained as a whole and saved with the adapter, such as `embed_tokens` and `lm_head`."""
    use_rslora: bool = False
    """Use rank-stabilised scaling."""
    use_dora: bool = False
    """Use weight-decomposed adapters (DoRA)."""
    init_lora_weights: Literal[True, "pissa", "olora"] | PissaWithIterations = True
    """How the update matrices begin: `true` is LoRA's own way, in which the update is zero. The others take them from
    the base weights."""

    @property
    def is_cut_from_base(self) -> bool:
        """Whether the adapter begins as a part of the base weights, which are reduced by it."""
        return self.init_lora_weights is not True

    @model_validator(mode="before")
    @classmethod
    def _auto_is_no_value(cls, values: Any) -> Any:
        if isinstance(values, dict) and values.get("target_modules") == "auto":
            return {name: value for name, value in values.items() if name != "target_modules"}
        return values

    @model_validator(mode="after")
    def _can_be_a_plain_adapter(self) -> Self:
        """Check that the adapter can be delivered as one on the unchanged base, which has twice the rank."""
        if not self.is_cut_from_base:
            return self
        for name in ("use_rslora", "use_dora"):
            if getattr(self, name):
                raise ValueError(
                    f"lora.{name} and lora.init_lora_weights '{self.init_lora_weights}' cannot be combined; set one of "
                    "them"
                )
        for name, limit in (("r", 512), ("lora_alpha", 4096)):
            if getattr(self, name) > limit:
                raise ValueError(
                    f"lora.{name} ({getattr(self, name)}) must be at most {limit} with lora.init_lora_weights "
                    f"'{self.init_lora_weights}', because the delivered adapter has twice the rank"
                )
        return self
