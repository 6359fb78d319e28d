"""The config of a fine-tuning job. Settings that transformers, TRL or PEFT also have are named like theirs."""

import re
from collections.abc import Mapping
from math import gcd
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, ConfigDict, Discriminator, Field, Tag, model_validator

from ftlab.schemas.auto import is_auto
from ftlab.schemas.base_config import BaseJobConfig
from ftlab.schemas.common import Name
from ftlab.schemas.lora import LoraConfig
from ftlab.schemas.methods import GrpoMethod, Method, SftMethod
from ftlab.schemas.sharding import obstacle_to_sharding
from ftlab.schemas.training import TrainingConfig

DatasetId = Annotated[str, Field(min_length=1, max_length=200)]
"""An id or a unique name; a job keeps the id."""
MAX_DATASETS = 1000
DatasetWeight = Annotated[float, Field(gt=0.0, le=1_000_000.0)]
"""Weight of a dataset of a mix, relative to the other ones."""


def _number_of_datasets(value: object) -> str:
    return "several" if isinstance(value, list) else "one"


OneOrMoreDatasets = Annotated[
    Annotated[DatasetId, Tag("one")]
    | Annotated[list[DatasetId], Field(min_length=1, max_length=MAX_DATASETS), Tag("several")],
    Discriminator(_number_of_datasets),
]


def _is_a_registered_name(value: Literal[False] | str) -> Literal[False] | str:
    if value is not False and not re.fullmatch(r"\w(?:[\w. -]*\w)?", value):
        raise ValueError(
            "must consist of letters, digits, spaces, '.', '_' and '-', and begin and end with a letter or digit"
        )
    return value


RegisterAs = Annotated[Literal[False] | Name, AfterValidator(_is_a_registered_name)]


class JobConfig(BaseJobConfig):
    """Everything that defines a training job; the same document as a YAML file, in Python and over HTTP."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "name": "support",
                    "model": "HuggingFaceTB/SmolLM2-135M-Instruct",
                    "dataset": "ds-4k0x9r2m7q1z",
                    "training": {"num_train_epochs": 1.0, "learning_rate": 1e-4},
                }
            ]
        }
    )

    kind: Literal["training"] = Field(default="training", exclude=True)
    """Kind of the job. A config without one is that of a training job, and is written without one."""
    register_as: RegisterAs | None = None
    """Registered model in MLflow that gets the tuned model as a new version, or `false` for none. Default: `name`; a
    job without a name is not registered."""
    model: str = Field(min_length=1, max_length=512)
    """Base model: a hub id (`org/name`, `org/name@revision`), an absolute path below an allowed folder, `job:<id>`,
    `job:<id>/step-<n>` or `model:<id>`. A unique name of the job or model may replace its id."""
    dataset: OneOrMoreDatasets
    """Id or unique name of the uploaded dataset to train on, or a list of up to 1,000 of them: files that are trained
    one after another, each for `training.num_train_epochs`."""
    dataset_weights: list[DatasetWeight] | None = Field(default=None, min_length=2, max_length=MAX_DATASETS)
    """Mix the datasets instead of training them one after another: one weight for each, in their order. An epoch takes
    as many rows as they have together, of each its share by weight."""
    eval_dataset: DatasetId | None = None
    """Id or unique name of the dataset to evaluate on."""
    eval_split: float | None = Field(default=None, gt=0.0, lt=1.0)
    """Share of the rows of each dataset to set aside for evaluation, instead of `eval_dataset`. Equal rows, and pairs
    with the same prompt, are all set aside or all trained."""
    eval_split_seed: int = Field(default=0, ge=0, le=2**32 - 1)
    """Seed of the choice of these rows. Another `training.seed` does not change them."""
    eval_split_files: int | None = Field(default=None, ge=1, le=MAX_DATASETS)
    """Number of datasets, from the first, that the share is taken from; set when files are appended, so that the
    evaluation rows stay the same. Default: all."""
    method: Method = SftMethod()
    """Training method, named by its `type`, and its settings."""
    tuning: Literal["lora", "full"] = "lora"
    """Train low-rank adapters, or every weight."""
    load_in_4bit: bool = False
    """QLoRA: the frozen base weights in 4-bit NF4 (bitsandbytes)."""
    load_in_8bit: bool = False
    """The frozen base weights in 8 bits (bitsandbytes LLM.int8)."""
    lora: LoraConfig = LoraConfig()
    """Settings of the adapter, for `tuning: lora`."""
    training: TrainingConfig = TrainingConfig()
    """How to train."""
    recovery: Literal["none", "auto"] | None = None
    """`auto`: after a lack of memory or a diverged loss, the job is queued again with settings that are likely to cure
    it. Default: the service's setting `recovery`, which is `none` unless it was changed."""

    @model_validator(mode="after")
    def _one_weight_for_each_dataset(self) -> Self:
        if self.dataset_weights is not None and len(self.dataset_weights) != len(self.datasets):
            raise ValueError(
                f"dataset_weights must have one weight for each dataset; it has {len(self.dataset_weights)}, and the "
                f"number of datasets is {len(self.datasets)}"
            )
        return self

    @model_validator(mode="after")
    def _one_way_to_evaluate(self) -> Self:
        if self.eval_split is not None and self.eval_dataset is not None:
            raise ValueError("eval_dataset and eval_split cannot be combined; set one of them")
        if self.eval_split is None and (self.eval_split_seed or self.eval_split_files is not None):
            name = "eval_split_files" if self.eval_split_files is not None else "eval_split_seed"
            raise ValueError(f"{name} has no effect without eval_split; set eval_split, or leave it out")
        if (self.eval_split_files or 0) > len(self.datasets):
            raise ValueError(
                f"eval_split_files ({self.eval_split_files}) must not be above the number of datasets "
                f"({len(self.datasets)})"
            )
        return self

    @model_validator(mode="after")
    def _quantised_needs_lora(self) -> Self:
        if self.load_in_4bit and self.load_in_8bit:
            raise ValueError("load_in_4bit and load_in_8bit cannot be combined; set one of them")
        if self.quantised_by is None:
            return self
        if self.tuning == "full":
            bits = self.quantised_by.removeprefix("load_in_").replace("bit", "-bit")
            raise ValueError(
                f"{self.quantised_by} needs tuning 'lora': {bits} weights cannot be trained with tuning 'full'"
            )
        if self.load_in_8bit and self.lora.use_dora:
            raise ValueError(
                "load_in_8bit and lora.use_dora cannot be combined: bitsandbytes cannot evaluate DoRA on 8-bit "
                "weights; use load_in_4bit"
            )
        if self.lora.is_cut_from_base:
            raise ValueError(
                f"{self.quantised_by} and lora.init_lora_weights '{self.lora.init_lora_weights}' cannot be combined: "
                "it changes the base weights, and quantised ones would be rounded again"
            )
        return self

    @model_validator(mode="after")
    def _cut_from_base_leaves_no_reference(self) -> Self:
        if self.tuning == "lora" and self.lora.is_cut_from_base and self.method.compares_with_base:
            raise ValueError(
                f"lora.init_lora_weights '{self.lora.init_lora_weights}' cannot be combined with method "
                f"'{self.method.type}', which compares the model with the base model that this changes"
            )
        return self

    @model_validator(mode="after")
    def _answers_fill_a_step(self) -> Self:
        if not isinstance(self.method, GrpoMethod):
            return self
        batch, accumulation = self.training.per_device_train_batch_size, self.training.gradient_accumulation_steps
        if is_auto(batch) or is_auto(accumulation):
            return self  # the values are chosen so that the answers fill a step
        workers, answers = self.resources.num_workers, self.method.num_generations
        num_answers = batch * accumulation * workers
        if num_answers % answers:
            fitting = accumulation * answers // gcd(num_answers, answers)
            raise ValueError(
                f"method.num_generations ({answers}) must divide the answers of a step ({num_answers}): "
                f"training.per_device_train_batch_size ({batch}) times training.gradient_accumulation_steps "
                f"({accumulation}) times resources.num_workers ({workers}); set "
                f"training.gradient_accumulation_steps to {fitting}"
            )
        return self

    @model_validator(mode="after")
    def _steps_train_all_answers(self) -> Self:
        max_steps = self.training.max_steps
        if not isinstance(self.method, GrpoMethod) or max_steps is None:
            return self
        iterations = self.method.num_iterations
        if max_steps % iterations:
            raise ValueError(
                f"training.max_steps ({max_steps}) must be a multiple of method.num_iterations ({iterations}), the "
                f"steps that train the same answers; set it to {max_steps + -max_steps % iterations}"
            )
        return self

    @model_validator(mode="after")
    def _pass_has_enough_rows(self) -> Self:
        batch = self.training.per_device_train_batch_size
        if not is_auto(batch) and batch < self.method.min_batch_size:
            raise ValueError(
                f"training.per_device_train_batch_size must be at least {self.method.min_batch_size} with method "
                f"'{self.method.type}', which pairs the prompt of each row with the answer of another row of the batch"
            )
        return self

    @model_validator(mode="after")
    def _divergence_is_from_the_base_model(self) -> Self:
        if not isinstance(self.method, GrpoMethod) or not self.method.beta:
            return self
        if self.tuning == "full":
            raise ValueError(
                "method.beta above 0 needs tuning 'lora': for tuning 'full', the model before training would be kept "
                "in memory a second time; set method.beta to 0"
            )
        if self.lora.is_cut_from_base:
            raise ValueError(
                f"lora.init_lora_weights '{self.lora.init_lora_weights}' cannot be combined with method.beta above 0, "
                "which compares the model with the base model that this changes"
            )
        return self

    @model_validator(mode="after")
    def _early_stopping_has_rows(self) -> Self:
        if self.training.early_stopping_patience is not None and not self.has_evaluation:
            raise ValueError(
                f"training.early_stopping_patience ({self.training.early_stopping_patience}) needs eval_dataset or "
                "eval_split, the rows whose loss decides when to stop"
            )
        return self

    @model_validator(mode="after")
    def _samples_have_a_language_model(self) -> Self:
        if self.training.sample_prompts is not None and self.method.scores_texts:
            raise ValueError(
                f"training.sample_prompts cannot be combined with method '{self.method.type}': the model scores texts, "
                "and cannot answer a prompt"
            )
        return self

    @model_validator(mode="after")
    def _noise_has_a_method(self) -> Self:
        if self.training.neftune_noise_alpha is not None and not self.method.allows_embedding_noise:
            reason = (
                "which compares the model with the base model, and the noise would change both"
                if self.method.compares_with_base
                else "whose loss is not defined for noisy embeddings"
            )
            raise ValueError(
                f"training.neftune_noise_alpha cannot be combined with method '{self.method.type}', {reason}"
            )
        return self

    @model_validator(mode="after")
    def _fp16_trains_no_float16(self) -> Self:
        if self.tuning == "full" and self.training.fp16 and self.training.dtype == "float16":
            raise ValueError(
                "training.fp16 with tuning 'full' needs training.dtype 'float32' or 'auto': the gradients of float16 "
                "weights cannot be scaled"
            )
        return self

    @model_validator(mode="after")
    def _sharding_is_possible(self) -> Self:
        if self.resources.sharding != "fsdp" or self.resources.num_workers == 1:
            return self
        if (obstacle := obstacle_to_sharding(self)) is not None:
            raise ValueError(f"resources.sharding 'fsdp' cannot be combined with {obstacle}")
        return self

    @property
    def quantised_by(self) -> Literal["load_in_4bit", "load_in_8bit"] | None:
        """The setting that quantises the base weights."""
        return "load_in_4bit" if self.load_in_4bit else "load_in_8bit" if self.load_in_8bit else None

    @property
    def datasets(self) -> list[str]:
        """The datasets to train on, in their order."""
        return self.dataset if isinstance(self.dataset, list) else [self.dataset]

    @property
    def named_models(self) -> dict[str, str]:
        return {"model": self.model}

    def with_models(self, found: Mapping[str, str]) -> Self:
        return self.model_copy(update={"model": found.get(self.model, self.model)})

    @property
    def has_evaluation(self) -> bool:
        """Whether the job evaluates, on a dataset of its own or on a part of the training rows."""
        return self.eval_dataset is not None or self.eval_split is not None

    @property
    def learning_rate(self) -> float:
        """The peak learning rate, with the default filled in."""
        return self.training.learning_rate or self.method.learning_rates[self.tuning]

    def resolved(self) -> Self:
        training = self.training.model_copy(update={"learning_rate": self.learning_rate})
        return self.model_copy(update={"training": training})
