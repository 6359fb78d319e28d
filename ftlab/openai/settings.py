"""Hyperparameters of OpenAI as settings of a job's config."""

from typing import Literal

from ftlab.schemas.methods import DpoMethod, GrpoMethod, SftMethod, TrainingMethod

MethodName = Literal["supervised", "dpo", "reinforcement"]

METHODS: dict[MethodName, type[TrainingMethod]] = {
    "supervised": SftMethod,
    "dpo": DpoMethod,
    "reinforcement": GrpoMethod,
}
"""Our method for each of OpenAI's."""
ROWS_PER_PASS = 8
"""Most rows of one forward pass of a batch size that the client chose; larger batches are accumulated."""
BATCH_SETTINGS = ("per_device_train_batch_size", "gradient_accumulation_steps")


def passes_of(rows: int, per_pass: int | None = None) -> dict[str, int]:
    """The settings of a step of this many rows on one worker: rows of one pass, and passes.

    `per_pass` fixes the first; the number of rows is then that of the passes.
    """
    if per_pass is not None:
        values = (per_pass, rows)
    else:
        size = max(size for size in range(1, ROWS_PER_PASS + 1) if rows % size == 0)
        values = (size, rows // size)
    return dict(zip(BATCH_SETTINGS, values, strict=True))


def learning_rate_of(multiplier: float, method: MethodName, tuning: str) -> float:
    """The learning rate that is this multiple of the default of the method."""
    rates = METHODS[method].learning_rates
    return multiplier * rates.get(tuning, rates["lora"])
