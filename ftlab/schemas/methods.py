"""Training methods: their settings, and the kinds of rows that each one learns from."""

from enum import StrEnum
from typing import ClassVar, Literal

from pydantic import Field

from ftlab.schemas.common import StrictModel


class RowKind(StrEnum):
    """What a model can be trained to do with the rows of a dataset."""

    MESSAGES = "messages"
    """Conversations to imitate."""
    PREFERENCE = "preference"
    """A better and a worse answer to the same prompt."""
    UNPAIRED = "unpaired"
    """One answer, with a label that says whether it is good."""
    TEXT = "text"
    """Plain text to continue."""

    @property
    def plural(self) -> str:
        """Name of these rows within a sentence."""
        return _PLURALS[self]


_PLURALS = {
    RowKind.MESSAGES: "conversations",
    RowKind.PREFERENCE: "pairs",
    RowKind.UNPAIRED: "rated answers",
    RowKind.TEXT: "texts",
}


class SftMethod(StrictModel):
    """Supervised fine-tuning (TRL `SFTTrainer`)."""

    row_kinds: ClassVar[tuple[RowKind, ...]] = (RowKind.MESSAGES, RowKind.TEXT)

    type: Literal["sft"] = "sft"
    max_length: int = Field(default=1024, ge=8, le=1_048_576)
    """Most tokens of one row; the rest is cut off at the end, and counted."""
    assistant_only_loss: bool = True
    """Train on the assistant's messages only, not on the prompts."""
    packing: bool = False
    """Put several rows of the dataset into one row of `max_length` tokens, so that hardly any padding is computed. Rows
    do not see each other, and a longer one is continued in the next place instead of cut."""


Method = SftMethod
"""Any training method; a union discriminated by `type` as soon as there are two."""

METHODS = (SftMethod,)
LEARNABLE_KINDS = frozenset(kind for method in METHODS for kind in method.row_kinds)
"""Kinds of rows that at least one method learns from."""
