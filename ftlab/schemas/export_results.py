"""What exports wrote: artifacts, with the receipt of the comparison that each passed."""

from datetime import datetime

from pydantic import Field

from ftlab.schemas.common import WireModel
from ftlab.schemas.export import ExportFormat, GgufType
from ftlab.status import JobStatus

ARTIFACTS_FOLDER = "artifacts"
"""Folder of the artifacts of an export below that of its job."""
RECEIPT_FILE = "receipt.json"
"""A `Receipt` in the folder of an artifact."""
CARD_FILE = "README.md"


class Receipt(WireModel):
    """How far the answers of an exported model are from those of the tuned model, on the same prompts."""

    format: ExportFormat
    weight_type: str
    """Type of the weights, as in the config."""
    reference: str
    """The model that was compared with."""
    prompts: list[str]
    num_tokens: int
    """Tokens of all prompts; the logits after each of them were compared."""
    max_difference: float
    """Largest difference of a logit."""
    bound: float
    """The largest difference that is allowed: a multiple of `spread` that depends on the type of the weights."""
    typical_difference: float
    """Root mean square of the differences of all logits."""
    typical_bound: float
    """The largest typical difference that is allowed."""
    spread: float
    """Standard deviation of the logits of the tuned model."""
    top1_agreement: float
    """Share of the tokens after which both models find the same token the likeliest."""
    top1_bound: float = 0.0
    """The smallest share that is allowed; 0 where the differences alone decide."""
    same_tokens: bool
    """Whether the exported tokenizer makes the same tokens of the prompts."""
    is_good: bool
    """Whether both differences and `top1_agreement` are within their bounds, and the tokens are the same."""


class ExportOptions(WireModel):
    """What exports of this service can write."""

    gguf_types: list[GgufType]
    """Types of weights of `gguf`."""


class Artifact(WireModel):
    """An exported model that answers like the tuned one."""

    name: str
    """Name within its export, such as `gguf-q8_0`."""
    format: ExportFormat
    weight_type: str
    size_bytes: int
    num_files: int
    committed_at: datetime
    receipt: Receipt


class Export(WireModel):
    """A job of the kind `export`, and what it wrote so far."""

    job_id: str
    name: str
    status: JobStatus
    message: str
    """What an export does, or why it failed."""
    model: str
    """The exported model, as in the config."""
    created_at: datetime
    artifacts: list[Artifact] = Field(default_factory=list)
