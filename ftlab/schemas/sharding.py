"""Jobs whose weights several workers can divide among them (`resources.sharding`)."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ftlab.schemas.config import JobConfig

SHARDED_METHODS = ("sft", "dpo", "reward")
SHARDED_OPTIMIZERS = (None, "adamw_torch", "adamw_torch_fused", "sgd")
"""Those whose state has the shape of the weights, or none; `None` is a kind of AdamW."""


def obstacle_to_sharding(config: "JobConfig") -> str | None:
    """The setting with which the weights of a job cannot be divided, and what to do; `None` where they can."""
    training = config.training
    if config.method.type not in SHARDED_METHODS:
        return f"method '{config.method.type}': use one of {', '.join(map(repr, SHARDED_METHODS))}"
    if config.method.compares_with_base and config.tuning == "full":
        return (
            f"tuning 'full' and method '{config.method.type}', which compares the model with the one before training: "
            "use tuning 'lora'"
        )
    if config.quantised_by is not None:
        return f"{config.quantised_by}: quantised weights cannot be divided; leave it out"
    if training.optim not in SHARDED_OPTIMIZERS:
        known = ", ".join(f"'{name}'" for name in SHARDED_OPTIMIZERS if name)
        return f"training.optim '{training.optim}': use one of {known}"
    if training.fp16:
        return "training.fp16: use training.bf16, or no mixed precision"
    if training.sample_prompts is not None:
        return "training.sample_prompts: one worker answers them, and it does not have all weights; leave them out"
    return None
