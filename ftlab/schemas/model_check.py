"""What the service says of a model before a job is submitted."""

from pydantic import Field

from ftlab.schemas.common import WireModel


class ModelCheck(WireModel):
    """A base model that a job may start from."""

    model: str
    """The reference in its normal form."""
    kind: str
    """What the reference names: `hub`, `path`, `job` or `model` (a tuned model)."""
    is_checked: bool
    """False where the hub could not be asked: nothing more is known then, and a job looks it up when it starts."""
    is_local: bool
    """Whether it is on this machine already, so that nothing is downloaded."""
    revision: str | None = None
    """The hub's commit that a job submitted now would use."""
    base_model: str | None = None
    """Of an adapter, the model below it. What follows is that of both together."""
    architecture: str | None = None
    """As `LlamaForCausalLM`."""
    parameters: int | None = None
    """Numbers in the weights, as they are stored."""
    size_bytes: int | None = None
    """Bytes of the files that training reads."""
    has_chat_template: bool | None = None
    licence: str | None = None
    """As the model's card names it."""
    warnings: list[str] = Field(default_factory=list)
    """What speaks against the model without ruling it out, one sentence each."""
