"""Bodies of requests that create fine-tuning jobs."""

from typing import Annotated, Any

from pydantic import ConfigDict, Field, StringConstraints

from ftlab.schemas.auto import AUTO, OrAuto
from ftlab.schemas.common import StrictModel

MetadataKey = Annotated[str, StringConstraints(max_length=64)]
MetadataValue = Annotated[str, StringConstraints(max_length=512)]
Metadata = Annotated[dict[MetadataKey, MetadataValue], Field(max_length=16)]


class Hyperparameters(StrictModel):
    """Settings of a supervised job; `auto` leaves one to the service."""

    batch_size: Annotated[int | None, Field(ge=1, le=256), OrAuto()] = AUTO
    """Rows of one optimizer step."""
    learning_rate_multiplier: Annotated[float | None, Field(gt=0.0, le=1000.0), OrAuto()] = AUTO
    """Factor of the default learning rate of the method."""
    n_epochs: Annotated[int | None, Field(ge=1, le=50), OrAuto()] = AUTO
    """Passes over the training file."""


class DpoHyperparameters(Hyperparameters):
    """Settings of a job that trains on preferences."""

    beta: Annotated[float | None, Field(gt=0.0, le=2.0), OrAuto()] = AUTO
    """Strength of the pull towards the model before training."""


class ReinforcementHyperparameters(Hyperparameters):
    """Settings of a reinforcement-learning job."""

    reasoning_effort: str | None = "default"
    """`default` only."""
    compute_multiplier: Annotated[float | None, Field(gt=0.0, le=10.0), OrAuto()] = AUTO
    """`auto` only."""
    eval_interval: Annotated[int | None, Field(ge=1, le=10_000_000), OrAuto()] = AUTO
    """Steps between two evaluations."""
    eval_samples: Annotated[int | None, Field(ge=1, le=1_000_000), OrAuto()] = AUTO
    """`auto` only."""


class SupervisedSettings(StrictModel):
    """Settings of the method `supervised`."""

    hyperparameters: Hyperparameters | None = None


class DpoSettings(StrictModel):
    """Settings of the method `dpo`."""

    hyperparameters: DpoHyperparameters | None = None


class ReinforcementSettings(StrictModel):
    """Settings of the method `reinforcement`."""

    grader: dict[str, Any]
    """Scores the answers."""
    hyperparameters: ReinforcementHyperparameters | None = None


class MethodChoice(StrictModel):
    """The training method."""

    type: str = Field(max_length=100)
    """`supervised`, `dpo` or `reinforcement`."""
    supervised: SupervisedSettings | None = None
    dpo: DpoSettings | None = None
    reinforcement: ReinforcementSettings | None = None


class CreateJob(StrictModel):
    """A fine-tuning job. Settings of our job config may stand beside these fields, under their names."""

    model_config = ConfigDict(extra="allow")

    model: str = Field(min_length=1, max_length=512)
    """A name that the setting `openai_models` maps, the name of a fine-tuned model (`ft:...`), or any base model of a
    job config."""
    training_file: str = Field(min_length=1, max_length=200)
    """Id of the file to train on."""
    validation_file: str | None = Field(default=None, min_length=1, max_length=200)
    """Id of the file to evaluate on."""
    suffix: str | None = Field(default=None, min_length=1, max_length=64)
    """Part of the name of the fine-tuned model; also the name of the job."""
    seed: int | None = Field(default=None, ge=0, le=2**31 - 1)
    """Seed of all random numbers."""
    metadata: Metadata | None = None
    """Up to 16 pairs, by which jobs can be listed."""
    integrations: list[dict[str, Any]] | None = Field(default=None, max_length=5)
    """Must be empty: MLflow has the record of every job."""
    method: MethodChoice | None = None
    """Default: `supervised`."""
    hyperparameters: Hyperparameters | None = None
    """Older form of the settings of the method `supervised`."""

    @property
    def own_fields(self) -> dict[str, Any]:
        """The fields that are not OpenAI's."""
        return self.model_extra or {}
