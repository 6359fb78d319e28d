"""Disk that a job's checkpoints and its tuned model take up."""

from dataclasses import dataclass

from ftlab.schemas import JobConfig
from train.estimate.memory import DeviceTraits, optimizer_bytes, trained_bytes
from train.model.shape import ModelShape

SMALL_FILES = 4 * 1024**2
"""Tokenizer, configs, random state and manifest of a checkpoint, rounded up. Large vocabularies take a few MiB more."""


@dataclass(frozen=True)
class Disk:
    """Bytes."""

    checkpoint: int
    num_checkpoints: int
    delivered: int


def disk_of(shape: ModelShape, config: JobConfig, steps: int | None, traits: DeviceTraits) -> Disk:
    """What a job of `steps` optimizer steps leaves on the disk; with an unknown number, at its most."""
    training = config.training
    delivered = SMALL_FILES + trained_bytes(shape, config, traits)
    # The newest ones, the best one, and one that is being written before the oldest is removed.
    most = training.save_total_limit + config.has_evaluation + 1
    made = most if steps is None else max(1, -(-steps // training.save_steps))
    return Disk(delivered + optimizer_bytes(shape, config, traits), min(most, made), delivered)
