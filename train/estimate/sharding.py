"""Whether the workers of a job divide its weights among them. A pure function."""

from typing import Literal

from ftlab.schemas import JobConfig
from ftlab.schemas.sharding import obstacle_to_sharding
from train.device_defaults import DeviceTraits
from train.estimate.devices import Fit, fit
from train.estimate.memory import training_peak
from train.model.shape import ModelShape

Sharding = Literal["none", "fsdp"]


def sharding_in_force(
    config: JobConfig,
    shape: ModelShape | None,
    length: int,
    traits: DeviceTraits,
    memory: tuple[int, int] | None,
    correction: float = 1.0,
) -> Sharding:
    """`resources.sharding`, with `auto` decided.

    `auto` divides the weights on several GPUs where the whole job is not sure to fit one of them, except for methods
    that compare the model with the one before training. `length` are the
    tokens of the longest row, `memory` the bytes of the smallest and the largest of the GPUs, and `correction` is
    measured / computed memory.
    """
    resources = config.resources
    if resources.num_workers == 1 or resources.sharding == "none":
        return "none"
    if resources.sharding == "fsdp":
        return "fsdp"
    if not traits.use_cuda or shape is None or memory is None:
        return "none"
    # With an adapter that is trained further, the reference needs the whole model before training.
    if obstacle_to_sharding(config) is not None or config.method.compares_with_base:
        return "none"
    whole = training_peak(shape, with_sharding(config, "none"), length, traits).total
    return "none" if fit(round(whole * correction), memory) is Fit.FITS else "fsdp"


def with_sharding(config: JobConfig, sharding: Sharding) -> JobConfig:
    """A copy of the config with the sharding that is in force."""
    return config.model_copy(update={"resources": config.resources.model_copy(update={"sharding": sharding})})
