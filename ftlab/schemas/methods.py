"""Training methods: their settings, and the kinds of rows that each one learns from."""

from enum import StrEnum
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import ConfigDict, Discriminator, Field, Tag, model_validator

from ftlab.schemas.auto import OrAuto, is_auto
from ftlab.schemas.common import StrictModel
from ftlab.schemas.rewards import NamedReward


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
    PROMPTS = "prompts"
    """Prompts without answers, which the model answers itself."""

    @property
    def plural(self) -> str:
        """Name of these rows within a sentence."""
        return _PLURALS[self]


_PLURALS = {
    RowKind.MESSAGES: "conversations",
    RowKind.PREFERENCE: "pairs",
    RowKind.UNPAIRED: "rated answers",
    RowKind.TEXT: "texts",
    RowKind.PROMPTS: "prompts",
}


MaxLength = Annotated[int, Field(ge=8, le=1_048_576), OrAuto()]
DEFAULT_METHOD = "sft"
"""The type of a method that does not name one."""


def _add_row_kinds(schema: dict[str, Any], method: type["TrainingMethod"]) -> None:
    """Say in the JSON schema of a method which rows it learns from, so that a form can choose one that fits."""
    schema["x-row-kinds"] = [str(kind) for kind in method.row_kinds]


class TrainingMethod(StrictModel):
    """Settings that every training method has."""

    model_config = ConfigDict(json_schema_extra=_add_row_kinds)

    row_kinds: ClassVar[tuple[RowKind, ...]]
    """Kinds of rows that the method learns from."""
    learning_rates: ClassVar[dict[str, float]]
    """Default peak learning rate by `tuning`."""
    texts_per_row: ClassVar[int] = 1
    """Sequences of each row that one forward pass of the model reads."""
    compares_with_base: ClassVar[bool] = False
    """Whether the loss compares the model with what it was before training (the reference)."""
    uses_dropout: ClassVar[bool] = True
    learns_from_prompts: ClassVar[bool] = False
    """Whether the model generates the answers that it is trained on; those of the rows are references."""
    refused_fields: ClassVar[tuple[str, ...]] = ()
    """Fields of rows that other trainers read and this method does not, so that rows with them are refused."""
    scores_texts: ClassVar[bool] = False
    """Whether the model gives one number for a text: its head `score` takes the place of the language-model head."""
    allows_embedding_noise: ClassVar[bool] = False
    """Whether `training.neftune_noise_alpha` may be set: the noise must change nothing but the model in training."""

    type: str
    max_length: MaxLength = 1024
    """Most tokens of one row; the rest is cut off at the end, and counted."""

    @property
    def min_batch_size(self) -> int:
        """Fewest rows of one forward and backward pass (`training.per_device_train_batch_size`)."""
        return 1

    def __hash__(self) -> int:
        # pydantic's own would need fields that can be hashed, which lists cannot.
        return hash(self.model_dump_json())

    def model_post_init(self, _: Any) -> None:
        if self.type != DEFAULT_METHOD:
            # So that the type is in every document, also in one without what was left to its default.
            self.__pydantic_fields_set__.add("type")

    @property
    def answers_per_row(self) -> int:
        """Answers that the model generates to each row; 1 for a method that generates none."""
        return 1

    @property
    def steps_per_answer(self) -> int:
        """Optimizer steps in succession that train the same generated answers."""
        return 1


class SftMethod(TrainingMethod):
    """Supervised fine-tuning (TRL `SFTTrainer`)."""

    row_kinds = (RowKind.MESSAGES, RowKind.TEXT)
    learning_rates: ClassVar = {"lora": 2e-4, "full": 2e-5}
    allows_embedding_noise = True

    type: Literal["sft"] = "sft"
    assistant_only_loss: bool = True
    """Train on the assistant's messages only, not on the prompts."""
    packing: Annotated[bool, OrAuto()] = False
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


class GrpoMethod(TrainingMethod):
    """Reinforcement learning with verifiable rewards (TRL `GRPOTrainer`), without dropout."""

    row_kinds = (RowKind.MESSAGES, RowKind.PROMPTS)
    learning_rates: ClassVar = {"lora": 1e-5, "full": 1e-6}
    assistant_only_loss: ClassVar[bool] = True
    packing: ClassVar[bool] = False
    uses_dropout = False
    learns_from_prompts = True

    type: Literal["grpo"] = "grpo"
    rewards: Annotated[list[NamedReward], Field(min_length=1, max_length=20)]
    """Rewards of an answer; their weighted sum is maximised."""
    max_length: MaxLength = 1024
    """Most tokens of a prompt and its answer together. A prompt that leaves less than `max_completion_length` is
    skipped, and counted."""
    max_completion_length: int = Field(default=256, ge=1, le=1_048_575)
    """Most tokens of a generated answer."""
    num_generations: int = Field(default=4, ge=2, le=1024)
    """Answers to each prompt, which are compared with each other. `training.per_device_train_batch_size` counts
    answers."""
    num_iterations: int = Field(default=1, ge=1, le=100)
    """Optimizer steps that train the same answers before new ones are generated."""
    temperature: float = Field(default=1.0, gt=0.0, le=10.0)
    """Temperature of the generation."""
    top_p: float = Field(default=1.0, gt=0.0, le=1.0)
    """Share of the probability from whose most likely tokens the next one is drawn."""
    top_k: int = Field(default=0, ge=0, le=1_000_000)
    """Number of most likely tokens from which the next one is drawn; 0 for all."""
    beta: float = Field(default=0.0, ge=0.0, le=100.0)
    """Weight of the KL divergence from the model before training; 0 computes none."""
    epsilon: float = Field(default=0.2, gt=0.0, lt=1.0)
    """How far the probability of a token may move from that of its generation, as a ratio, before it is clipped. Used
    with `num_iterations` above 1."""
    loss_type: Literal["grpo", "bnpo", "dr_grpo", "dapo"] = "dapo"
    """How the losses of tokens are averaged; the default is TRL's. `bnpo` averages within each pass, so the loss
    depends on how a step is divided into passes and workers."""
    scale_rewards: Literal["group", "batch", "none"] = "group"
    """Rewards are divided by the standard deviation of their prompt's answers, of all answers, or not at all."""

    @property
    def answers_per_row(self) -> int:
        return self.num_generations

    @property
    def steps_per_answer(self) -> int:
        return self.num_iterations

    @property
    def max_prompt_length(self) -> int:
        """Most tokens of a prompt."""
        return self.max_length - self.max_completion_length

    @property
    def compared_rewards(self) -> tuple[str, ...]:
        """Types of the rewards that compare answers with the reference answers of the rows, sorted."""
        return tuple(sorted({reward.type for reward in self.rewards if reward.needs_reference}))

    @model_validator(mode="after")
    def _has_a_reward_that_counts(self) -> Self:
        if not any(reward.weight for reward in self.rewards):
            raise ValueError(
                "method.rewards all have the weight 0, so nothing would be learned; give one of them another weight"
            )
        return self

    @model_validator(mode="after")
    def _leaves_room_for_a_prompt(self) -> Self:
        if not is_auto(self.max_length) and self.max_completion_length >= self.max_length:
            raise ValueError(
                f"method.max_completion_length ({self.max_completion_length}) must be below method.max_length "
                f"({self.max_length}), which counts the prompt as well"
            )
        return self


METHODS: tuple[type[TrainingMethod], ...] = (
    SftMethod,
    DpoMethod,
    KtoMethod,
    RewardMethod,
    GrpoMethod,
)


def _type_of(value: object) -> str:
    """The type of a method as it was given, or the default."""
    given = value.get("type", DEFAULT_METHOD) if isinstance(value, dict) else getattr(value, "type", DEFAULT_METHOD)
    return str(given)


Method = Annotated[
    Annotated[SftMethod, Tag("sft")]
    | Annotated[DpoMethod, Tag("dpo")]
    | Annotated[KtoMethod, Tag("kto")]
    | Annotated[RewardMethod, Tag("reward")]
    | Annotated[GrpoMethod, Tag("grpo")],
    Discriminator(_type_of),
]
"""Any training method; `type` says which."""
