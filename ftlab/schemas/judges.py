"""Metrics that a judge computes: a model behind an OpenAI-compatible API, which rates answers."""

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, field_validator, model_validator

from ftlab.schemas.common import StrictModel
from ftlab.schemas.judge_servers import JUDGE_NAME

MAX_RUBRIC_CHARS = 20_000

RUBRIC = """\
Rate the answer of an assistant: is it correct, complete, and does it do what the question asks for? The reference \
answer is correct; another wording is as good. A long answer is not better for its length.

Question:
{question}

Reference answer:
{reference}

Answer:
{answer}"""

PAIR_RUBRIC = """\
Two assistants, A and B, answered the same question. Which answer is more correct, more complete, and closer to what \
the question asks for? The reference answer is correct; another wording is as good. Neither length nor order makes an \
answer better.

Question:
{question}

Reference answer:
{reference}

Answer of A:
{answer_a}

Answer of B:
{answer_b}"""


class JudgeMetric(StrictModel):
    """Settings of every metric that asks a judge."""

    placeholders: ClassVar[tuple[str, ...]] = ()
    """Placeholders that a rubric must have."""

    type: str
    judge: Annotated[str, Field(pattern=f"^{JUDGE_NAME.pattern}$")]
    """Name of a judge in the setting `judges` of the service."""
    rubric: str = Field(min_length=1, max_length=MAX_RUBRIC_CHARS)
    model: str | None = Field(default=None, min_length=1, max_length=512)
    """Model that the judge asks; filled in at the submission. An evaluation does not run with another one."""

    def model_post_init(self, _: object) -> None:
        self.__pydantic_fields_set__.add("type")

    @property
    def needs_reference(self) -> bool:
        """Whether the judge reads the reference answer of the row."""
        return "{reference}" in self.rubric

    @field_validator("rubric")
    @classmethod
    def _has_placeholders(cls, rubric: str) -> str:
        missing = [name for name in cls.placeholders if name not in rubric]
        if missing:
            raise ValueError(f"must contain {' and '.join(missing)}, in whose place the judge reads the answers")
        return rubric


class JudgeScore(JudgeMetric):
    """The score that a judge gives to the answer, on a scale."""

    placeholders = ("{answer}",)

    type: Literal["judge_score"] = "judge_score"
    rubric: str = Field(default=RUBRIC, min_length=1, max_length=MAX_RUBRIC_CHARS)
    """What the judge reads, with `{question}`, `{reference}` and `{answer}`. How it must reply is added below it."""
    min_score: float = Field(default=1.0, ge=-1000.0, le=1000.0)
    """Lowest score of the scale."""
    max_score: float = Field(default=10.0, ge=-1000.0, le=1000.0)
    """Highest score of the scale."""

    @model_validator(mode="after")
    def _scale_ascends(self) -> Self:
        if self.min_score >= self.max_score:
            raise ValueError("min_score must be below max_score")
        return self


class JudgePreference(JudgeMetric):
    """How often a judge prefers the answer to that of the base model: 0 to 1, where 0.5 means equally good.

    The judge reads each pair in both orders; where it contradicts itself, the pair counts as a tie.
    """

    placeholders = ("{answer_a}", "{answer_b}")

    type: Literal["judge_preference"] = "judge_preference"
    rubric: str = Field(default=PAIR_RUBRIC, min_length=1, max_length=MAX_RUBRIC_CHARS)
    """What the judge reads, with `{question}`, `{reference}`, `{answer_a}` and `{answer_b}`. How it must reply is added
    below it."""
