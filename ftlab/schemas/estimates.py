"""What a job would need, estimated before it is submitted."""

from decimal import Decimal
from typing import Any

from pydantic import Field

from ftlab.schemas.auto import AutoValue
from ftlab.schemas.common import WireModel
from ftlab.status import JobKind


class MemoryParts(WireModel):
    """Bytes of one training process at its peak, by part."""

    weights: int
    """Of the base model, in the data type they are loaded in."""
    adapter: int
    gradients: int
    optimizer: int
    """The optimizer's state, with the temporary tensors of its step."""
    activations: int
    """What the forward pass keeps for the backward pass, and the gradients that pass through."""
    logits: int
    """The projection to the vocabulary, and the loss."""
    overhead: int
    """Libraries, CUDA context, and memory that the allocator holds unused."""
    total: int


class DeviceEstimate(WireModel):
    """Whether the job fits one kind of device."""

    device: str
    """Type of the GPU as Ray names it, `GPU`, or `CPU`."""
    num_devices: int
    """GPUs of this type, or machines."""
    memory_bytes: int | None = None
    """Memory of one of them that the processes of the job on it may use; `None` where it is not known."""
    processes: int = 1
    """Training processes of the job that share it."""
    peak_bytes: int | None = None
    """Peak of one process, by which `fits` is decided: computed, and corrected where an earlier job measured it."""
    fits: str
    """`fits`, `does_not_fit`, or `unknown`; tight ones, within 15 % of the memory, are `unknown`."""
    message: str
    """One sentence with the reason."""
    cost_per_hour: Decimal | None = None
    """Price of everything that the job would hold there; `None` where the service has no price for it."""
    training: MemoryParts | None = None
    """Computed peak of a training step, of one process; `None` for a model that cannot be estimated."""
    evaluation: MemoryParts | None = None
    """Computed peak of an evaluation; `None` without an evaluation dataset."""


class Alternative(WireModel):
    """A change of the config with which the job needs less memory, computed like the estimate itself."""

    changes: dict[str, Any]
    """New values by setting, for example `training.per_device_train_batch_size`."""
    device: str
    """The device that it fits."""
    peak_bytes: int
    message: str
    """What the change costs, in one sentence."""


class RowEstimate(WireModel):
    """The rows of the training datasets as the trainer reads them."""

    num_rows: int
    """Rows of the datasets, without those that `eval_split` sets aside."""
    num_eval_rows: int | None = None
    """Rows that `eval_split` sets aside for evaluation; `None` without a split."""
    num_sequences: int
    """Rows that the trainer reads in one epoch: without those that have no trained token, and packed if asked for."""
    tokens_per_epoch: int
    trained_tokens_per_epoch: int
    longest: int
    """Tokens of the longest row that was counted."""
    is_exact: bool
    """Whether every row was counted; otherwise the numbers are scaled up from a sample."""


class JobEstimate(WireModel):
    """What a job would need. A value is `None` where it is not known; `notes` give the reasons."""

    kind: str = JobKind.TRAINING
    """Kind of the job."""
    model: str
    """The base model; of an evaluation, the last model that it names."""
    auto: dict[str, AutoValue] = Field(default_factory=dict)
    """What each setting that is `auto` would become, by its dotted name; the estimate is for these values."""
    rows: RowEstimate | None = None
    steps: int | None = None
    """Optimizer steps; `None` for an evaluation."""
    tokens: int | None = None
    """Tokens that training reads in all epochs, or that all models of an evaluation read and generate."""
    time_s: float | None = None
    """Seconds of training or measuring, from the measured speed of an earlier job; never guessed."""
    cost: Decimal | None = None
    """What the job costs: `time_s` on the first of `devices`; `None` where the time or the price is not known."""
    currency: str | None = None
    max_cost_after_s: float | None = None
    """Seconds of training after which the job's `max_cost` is used up; `None` where that is not before its end, or the
    price is not known."""
    measured_job_id: str | None = None
    """The earlier job."""
    memory_correction: float | None = None
    """Measured / computed memory of an earlier job that trained the same way; `None` without such a measurement."""
    memory_job_id: str | None = None
    """The earlier job that measured its memory in a memory probe."""
    peak_length: int
    """Tokens of the row that the memory was computed for."""
    devices: list[DeviceEstimate] = Field(default_factory=list)
    alternatives: list[Alternative] = Field(default_factory=list)
    """Nearest configs that would fit, best first; only where the job as it is does not."""
    checkpoint_bytes: int | None = None
    num_checkpoints: int | None = None
    """Most checkpoints on the disk at once."""
    checkpoints_bytes: int | None = None
    """All of these together."""
    delivered_bytes: int | None = None
    """Size of the tuned model."""
    notes: list[str] = Field(default_factory=list)
    """What is not known or less certain, as sentences."""
