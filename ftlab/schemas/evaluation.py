"""The config of an evaluation: which models, measured by what, on which rows."""

from collections import Counter
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BeforeValidator, ConfigDict, Field, ValidationInfo, field_validator, model_validator

from ftlab.schemas.answer_scores import AnswerScore, ExactMatch, JsonSchema, NumericAnswer, PythonFile, Regex
from ftlab.schemas.base_config import BaseJobConfig
from ftlab.schemas.bench_tasks import MAX_TASKS, NamedTask
from ftlab.schemas.common import StrictModel, named_by_type
from ftlab.schemas.config import DatasetId
from ftlab.schemas.judges import JudgeMetric, JudgePreference, JudgeScore

MAX_MODELS = 20
MAX_METRICS = 20

ModelReference = Annotated[str, Field(min_length=1, max_length=512)]
"""A reference like that in `model` of a training job."""


class Perplexity(StrictModel):
    """How surprised a model is by the reference answers: `exp` of the mean loss of their tokens. Lower is better."""

    needs_reference: ClassVar[bool] = True

    type: Literal["perplexity"] = "perplexity"
    max_length: int = Field(default=1024, ge=8, le=1_048_576)
    """Maximum number of tokens of a row; longer rows are truncated on the right, as in training."""
    assistant_only_loss: bool = True
    """Whether only the answers count, or every token of a conversation."""

    def model_post_init(self, _: object) -> None:
        self.__pydantic_fields_set__.add("type")


class NormalisedMatch(AnswerScore):
    """1 where the answer equals the reference answer without case, punctuation, articles and extra white space."""

    needs_reference = True

    type: Literal["normalised_match"] = "normalised_match"


class F1(AnswerScore):
    """How many words the answer and the reference answer share, as in SQuAD: 0 to 1."""

    needs_reference = True

    type: Literal["f1"] = "f1"


class Rouge(AnswerScore):
    """ROUGE F-measure against the reference answer: 0 to 1."""

    needs_reference = True

    type: Literal["rouge"] = "rouge"
    variant: Literal["rouge1", "rouge2", "rougeL"] = "rougeL"
    """Shared words, shared pairs of words, or the longest common subsequence of words."""


class Bleu(AnswerScore):
    """BLEU of all answers together, as sacreBLEU computes it: 0 to 100."""

    needs_reference = True

    type: Literal["bleu"] = "bleu"
    tokenizer: Literal["13a", "intl", "char", "none"] = "13a"
    """How sacreBLEU finds the words: `13a` for languages with spaces, `char` for those without."""


class Chrf(AnswerScore):
    """chrF of all answers together, as sacreBLEU computes it: 0 to 100."""

    needs_reference = True

    type: Literal["chrf"] = "chrf"
    word_order: int = Field(default=0, ge=0, le=2)
    """Longest word n-grams besides those of characters; 2 is chrF++."""


Metric = Annotated[
    Perplexity
    | ExactMatch
    | NormalisedMatch
    | F1
    | Rouge
    | Bleu
    | Chrf
    | NumericAnswer
    | Regex
    | JsonSchema
    | PythonFile
    | JudgeScore
    | JudgePreference,
    Field(discriminator="type"),
]
"""Any metric; `type` says which."""
NamedMetric = Annotated[Metric, BeforeValidator(named_by_type, json_schema_input_type=str | Metric)]
"""A metric; its type alone stands for the metric with the default settings."""


class Generation(StrictModel):
    """How the models answer."""

    max_new_tokens: int = Field(default=256, ge=1, le=1_048_575)
    """Maximum number of tokens of an answer."""
    temperature: float = Field(default=0.0, ge=0.0, le=10.0)
    """0 takes the likeliest token each time; above it, tokens are sampled."""
    top_p: float = Field(default=1.0, gt=0.0, le=1.0)
    """Share of the probability from whose most likely tokens the next one is sampled."""
    top_k: int = Field(default=0, ge=0, le=1_000_000)
    """Number of most likely tokens from which the next one is sampled; 0 for all."""

    @model_validator(mode="after")
    def _greedy_answers_are_not_drawn(self) -> Self:
        if self.temperature == 0.0 and (self.top_p < 1.0 or self.top_k > 0):
            raise ValueError("top_p and top_k have no effect at temperature 0; set temperature, or leave them out")
        return self


class EvaluationConfig(BaseJobConfig):
    """Everything that defines an evaluation; the same document as a YAML file, in Python and over HTTP."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "kind": "evaluation",
                    "models": ["job:job-4k0x9r2m7q1z"],
                    "dataset": "ds-4k0x9r2m7q1z",
                    "metrics": [{"type": "perplexity"}, {"type": "exact_match"}],
                }
            ]
        }
    )

    kind: Literal["evaluation"] = "evaluation"
    """Kind of the job."""
    models: list[ModelReference] = Field(min_length=1, max_length=MAX_MODELS)
    """The models to measure, each named like `model` of a training job. Their base models are
    measured before them, without being named."""
    dataset: DatasetId | None = None
    """Id or unique name of the dataset whose rows the models answer; required without `tasks`."""
    metrics: list[NamedMetric] = Field(default=[Perplexity()], max_length=MAX_METRICS)
    """What is measured on the dataset: types of metrics, or objects with `type` and settings."""
    tasks: list[NamedTask] = Field(default=[], max_length=MAX_TASKS)
    """Tasks of lm-evaluation-harness, which have rows and metrics of their own: names, or objects with settings."""
    generation: Generation = Generation()
    """How the models answer; not used by `perplexity` and `tasks`."""
    max_rows: int | None = Field(default=None, ge=1, le=1_000_000)
    """Number of rows of the dataset, and of each task, from the first. Default: all."""
    batch_size: int | None = Field(default=None, ge=1, le=4096)
    """Rows that a model processes at a time. Default: as many as fit the memory."""
    seed: int = Field(default=0, ge=0, le=2**32 - 1)
    """Seed of drawn tokens, of the examples of tasks, of the intervals and of the tests."""
    reuse: bool = True
    """Whether an evaluation that completed earlier answers at once, where it measured the same models on the same rows
    with the same settings."""

    @model_validator(mode="before")
    @classmethod
    def _without_a_dataset_no_metric(cls, document: Any) -> Any:
        """Leave out the default of `metrics` where only tasks are measured."""
        if isinstance(document, dict) and document.get("dataset") is None and document.get("tasks"):
            return {"metrics": []} | document
        return document

    @field_validator("metrics")
    @classmethod
    def _a_dataset_has_a_metric(cls, metrics: list[Metric], info: ValidationInfo) -> list[Metric]:
        if not metrics and info.data.get("dataset") is not None:
            raise ValueError("must have at least 1 item where there is a dataset")
        return metrics

    @model_validator(mode="after")
    def _measures_something(self) -> Self:
        if self.dataset is None and not self.tasks:
            raise ValueError("dataset is required, unless tasks are measured")
        if self.dataset is None and self.metrics:
            raise ValueError("dataset is required, because metrics are measured on its rows")
        return self

    @model_validator(mode="after")
    def _each_model_and_task_once(self) -> Self:
        names = {"models": self.models, "tasks": [task.name for task in self.tasks]}
        for field, items in names.items():
            if repeated := next((name for name, count in Counter(items).items() if count > 1), None):
                raise ValueError(f"{field} has the item {items.index(repeated)} twice; leave one out")
        return self

    @model_validator(mode="after")
    def _runs_on_one_worker(self) -> Self:
        if self.resources.num_workers > 1:
            raise ValueError("resources.num_workers must be 1: an evaluation runs in one process")
        return self

    @property
    def datasets(self) -> list[str]:
        return [] if self.dataset is None else [self.dataset]

    @property
    def named_models(self) -> dict[str, str]:
        return {f"models.{place}": model for place, model in enumerate(self.models)}

    def with_models(self, found: Mapping[str, str]) -> Self:
        models = [found.get(model, model) for model in self.models]
        return self.model_copy(update={"models": list(dict.fromkeys(models))})

    @property
    def judges(self) -> list[str]:
        """The names of the judges that its metrics ask, each once."""
        return list(dict.fromkeys(metric.judge for metric in self.metrics if isinstance(metric, JudgeMetric)))

    @property
    def metric_names(self) -> list[str]:
        """The name of each metric in the results: its type or variant, numbered where that repeats."""
        seen: Counter[str] = Counter()
        names = []
        for metric in self.metrics:
            name = metric.variant if isinstance(metric, Rouge) else metric.type
            seen[name] += 1
            names.append(f"{name}_{seen[name]}" if seen[name] > 1 else name)
        return names
