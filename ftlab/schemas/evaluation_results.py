"""What an evaluation found."""

from typing import Literal

from pydantic import Field

from ftlab.schemas.common import WireModel

RESULTS_FOLDER = "evaluation"
"""Folder of the results of an evaluation below that of its job."""
RESULTS_FILE = "results.json"
"""An `EvaluationResults` in this folder."""
ROWS_FILE = "rows.jsonl"
"""An `AnsweredRow` on each line of a file there."""

ANSWER_SPEED, READ_SPEED = "answer_tokens_per_s", "read_tokens_per_s"
"""Metrics of an evaluation: tokens of answers, and tokens of the rows that a perplexity reads, per second."""


class AvailableJudge(WireModel):
    """A judge that evaluations may name."""

    name: str
    model: str


class AvailableTask(WireModel):
    """A task, a group or a tag of lm-evaluation-harness that evaluations may name."""

    name: str
    kind: Literal["task", "group", "tag"]
    num_tasks: int = 1
    """Tasks that it stands for."""
    problem: str | None = None
    """Why the service would refuse it."""


class EvaluationOptions(WireModel):
    """What this service can measure with, besides the metrics that every service has."""

    judges: list[AvailableJudge] = Field(default_factory=list)
    tasks: list[AvailableTask] = Field(default_factory=list)
    problem: str | None = None
    """Why no task can be measured, if the service has some."""


class ScoredRow(WireModel):
    """A row among the worst or the best ones of a metric."""

    row: int
    """Number in the dataset, or in the task of the metric; 1 is the first."""
    score: float | None = None
    """The metric of this row alone; `None` where the number is not finite."""
    question: str = ""
    """The last message before the answer; only the beginning of a long one."""
    reference: str | None = None
    answer: str | None = None
    """`None` for `perplexity`, which needs no answer."""


class MetricResult(WireModel):
    """A metric of one model."""

    metric: str
    """Its type or variant, numbered where that repeats; of a task, `<task>/<metric>`."""
    value: float | None = None
    """`None` where no row has a score, or the number is not finite."""
    low: float | None = None
    """Lower end of the 95 % interval, by the bootstrap over rows; `None` for fewer than two rows, and for a metric of a
    task that is not a sum over rows."""
    high: float | None = None
    num_rows: int = 0
    """Rows with a score."""
    skipped: dict[str, int] = Field(default_factory=dict)
    """Number of rows without a score, by reason."""
    is_lower_better: bool = False
    worst: list[ScoredRow] = Field(default_factory=list)
    """The worst rows, the worst first."""
    best: list[ScoredRow] = Field(default_factory=list)
    """The best rows, the best first."""


class ModelResult(WireModel):
    """One model of an evaluation."""

    key: str
    """`base` or `model`, numbered where there are several."""
    name: str
    """A reference as in the config, or the name of a base model."""
    title: str | None = None
    """What to call it: the name of its job, with the step of a checkpoint. `None` where `name` is the best name: for a
    base model, and for a model whose job was deleted."""
    base: str | None = None
    """Key of its base model; `None` for a base model."""
    revision: str | None = None
    """Revision of the base model that was loaded."""
    num_answers: int = 0
    """Answers to the rows of the dataset."""
    num_cut_answers: int = 0
    """Of these, the ones that reached `generation.max_new_tokens` before their end."""
    metrics: list[MetricResult] = Field(default_factory=list)


class PairedTest(WireModel):
    """Whether two models differ in a metric, on the rows that both were measured on."""

    metric: str
    model: str
    """Key of the one model."""
    other: str
    """Key of the other one."""
    difference: float | None = None
    """Value of `model` minus that of `other` on these rows."""
    p_value: float | None = None
    """Of a two-sided paired permutation test; `None` where there is no interval either."""
    num_rows: int = 0
    is_comparable: bool = True
    """`False` for the perplexities of models that divide the rows into different tokens, of which it is the mean."""


class EvaluationResults(WireModel):
    """What an evaluation found. Base models come first."""

    job_id: str
    dataset_id: str | None = None
    """`None` where only tasks were measured."""
    num_rows: int
    """Rows that were read, with those of the tasks."""
    models: list[ModelResult]
    tests: list[PairedTest] = Field(default_factory=list)
    """Each model against its base, then the first two models against each other."""
    seed: int = 0
    estimated_memory_bytes: int | None = None
    """Peak memory of the process as it was estimated before the first row; `None` where it could not be."""
    peak_memory_bytes: int | None = None
    """Peak memory of the process that measured the last rows: on a GPU, what PyTorch reserved there."""


class AnsweredRow(WireModel):
    """A row of an evaluation with what each model made of it."""

    row: int
    """Number among all rows: those of the dataset come first, then those of each task."""
    task: str | None = None
    """The task that it belongs to; `None` for a row of the dataset."""
    line: int = 0
    """Number of the line in the uploaded file, or of the row in its task."""
    question: str = ""
    reference: str | None = None
    answers: dict[str, str] = Field(default_factory=dict)
    """Answers by the key of the model."""
    cut: list[str] = Field(default_factory=list)
    """Keys of the models whose answer reached `generation.max_new_tokens` before its end."""
    scores: dict[str, dict[str, float]] = Field(default_factory=dict)
    """Scores by the key of the model and by metric."""
    judge_replies: dict[str, dict[str, list[str]]] = Field(default_factory=dict)
    """What a judge replied, by the key of the model and by metric; one reply for each order of a pair."""
    skipped: dict[str, dict[str, str]] = Field(default_factory=dict)
    """Why a metric has no score, by the key of the model and by metric."""
