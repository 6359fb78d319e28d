"""Training methods: their settings, and the kinds of rows that each one learns from."""

from enum import StrEnum
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Discriminator, Field, Tag, model_validator

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


DEFAULT_METHOD = "sft"
"""The type of a method that does not name one."""


class TrainingMethod(StrictModel):
    """Settings that every training method has."""

    row_kinds: ClassVar[tuple[RowKind, ...]]
    """Kinds of rows that the method learns from."""
    learning_rates: ClassVar[dict[str, float]]
    """Default peak learning rate by `tuning`."""
    texts_per_row: ClassVar[int] = 1
    """Sequences of each row that one forward pass of the model reads."""
    compares_with_base: ClassVar[bool] = False
    """Whether the loss compares the model with what it was before training (the reference)."""
    uses_dropout: ClassVar[bool] = True
    refused_fields: ClassVar[tuple[str, ...]] = ()
    """Fields of rows that other trainers read and this method does not, so that rows with them are refused."""
    scores_texts: ClassVar[bool] = False
    """Whether the model gives one number for a text: its head `score` takes the place of the language-model head."""
    allows_embedding_noise: ClassVar[bool] = False
    """Whether `training.neftune_noise_alpha` may be set: the noise must change nothing but the model in training."""

    type: str
    max_length: int = Field(default=1024, ge=8, le=1_048_576)
    """Most tokens of one row; the rest is cut off at the end, and counted."""

    @property
    def min_batch_size(self) -> int:
        """Fewest rows of one forward and backward pass (`training.per_device_train_batch_size`)."""
        return 1

    def model_post_init(self, _: Any) -> None:
        if self.type != DEFAULT_METHOD:
            # So that the type is in every document, also in one without what was left to its default.
            self.__pydantic_fields_set__.add("type")


class SftMethod(TrainingMethod):
    """Supervised fine-tuning (TRL `SFTTrainer`)."""

    row_kinds = (RowKind.MESSAGES, RowKind.TEXT)
    learning_rates: ClassVar = {"lora": 2e-4, "full": 2e-5}
    allows_embedding_noise = True

    type: Literal["sft"] = "sft"
    assistant_only_loss: bool = True
    """Train on the assistant's messages only, not on the prompts."""
    packing: bool = False
    """Put several rows of the dataset into one row of `max_length` tokens, so that hardly any padding is computed. Rows
    do not see each other, and a longer one is continued in the next place instead of cut."""
    label_smoothing_factor: float = Field(default=0.0, ge=0.0, lt=1.0)
    """Share of each label that is spread evenly over the whole vocabulary. `eval_loss` stays the plain loss."""


class DpoMethod(TrainingMethod):
    """Direct preference optimisation (TRL `DPOTrainer`), without dropout."""

    row_kinds = (RowKind.PREFERENCE,)
    learning_rates: ClassVar = {"lora": 1e-5, "full": 1e-6}
    assistant_only_loss: ClassVar[bool] = True
    packing: ClassVar[bool] = False
    texts_per_row = 2
    compares_with_base = True
    uses_dropout = False

    type: Literal["dpo"] = "dpo"
    beta: float = Field(default=0.1, gt=0.0, le=100.0)
    """Strength of the pull towards the model before training: a lower value lets the answers move further from it."""
    loss_type: Literal["sigmoid", "hinge", "ipo", "robust"] = "sigmoid"
    """`sigmoid` is the loss of the DPO paper, `hinge` that of SLiC, `ipo` that of IPO, `robust` that of robust DPO."""
    label_smoothing: float = Field(default=0.0, ge=0.0, lt=0.5)
    """Probability that the two answers of a pair are the wrong way round, for the loss `robust`."""

    @model_validator(mode="after")
    def _smoothing_needs_robust(self) -> Self:
        if self.label_smoothing and self.loss_type != "robust":
            raise ValueError(
                f"method.label_smoothing has no effect on the loss '{self.loss_type}'; set it to 0, or "
                "method.loss_type to 'robust'"
            )
        return self


class KtoMethod(TrainingMethod):
    """Kahneman-Tversky optimisation (TRL `KTOTrainer`) on answers that are rated good or bad, without dropout."""

    row_kinds = (RowKind.UNPAIRED,)
    learning_rates: ClassVar = {"lora": 1e-5, "full": 1e-6}
    assistant_only_loss: ClassVar[bool] = True
    packing: ClassVar[bool] = False
    compares_with_base = True
    uses_dropout = False

    type: Literal["kto"] = "kto"
    beta: float = Field(default=0.1, gt=0.0, le=100.0)
    """Strength of the pull towards the model before training: a lower value lets the answers move further from it."""
    desirable_weight: float = Field(default=1.0, gt=0.0, le=1000.0)
    """Weight of the loss of good answers."""
    undesirable_weight: float = Field(default=1.0, gt=0.0, le=1000.0)
    """Weight of the loss of bad answers."""
    loss_type: Literal["kto", "apo_zero_unpaired"] = "kto"
    """`kto` is the loss of the KTO paper, `apo_zero_unpaired` that of APO-zero, without a KL term."""

    @property
    def estimates_kl(self) -> bool:
        return self.loss_type == "kto"

    @property
    def min_batch_size(self) -> int:
        return 2 if self.estimates_kl else 1


class RewardMethod(TrainingMethod):
    """Reward model that scores an answer (TRL `RewardTrainer`), without dropout."""

    row_kinds = (RowKind.PREFERENCE,)
    learning_rates: ClassVar = {"lora": 1e-4, "full": 1e-5}
    # The score follows from every token of a text.
    assistant_only_loss: ClassVar[bool] = False
    packing: ClassVar[bool] = False
    texts_per_row = 2
    uses_dropout = False
    refused_fields: ClassVar = ("margin",)
    scores_texts = True

    type: Literal["reward"] = "reward"
    center_rewards_coefficient: float | None = Field(default=None, gt=0.0, le=100.0)
    """Weight of the squared sum of a pair's two rewards in the loss, which holds their mean near zero; 0.01 is usual.
    Default: none, so that only the difference of the rewards is trained."""


METHODS: tuple[type[TrainingMethod], ...] = (
    SftMethod,
    DpoMethod,
    KtoMethod,
    RewardMethod,
)


def _type_of(value: object) -> str:
    """The type of a method as it was given, or the default."""
    given = value.get("type", DEFAULT_METHOD) if isinstance(value, dict) else getattr(value, "type", DEFAULT_METHOD)
    return str(given)


Method = Annotated[
    Annotated[SftMethod, Tag("sft")]
    | Annotated[DpoMethod, Tag("dpo")]
    | Annotated[KtoMethod, Tag("kto")]
    | Annotated[RewardMethod, Tag("reward")],
    Discriminator(_type_of),
]
"""Any training method; `type` says which."""
