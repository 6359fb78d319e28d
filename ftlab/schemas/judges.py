"""Judges: models behind an OpenAI-compatible API that rate answers. The settings list them, and metrics name them."""

import re
from typing import Annotated, ClassVar, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from ftlab.schemas.common import StrictModel

MAX_RUBRIC_CHARS = 20_000
JUDGE_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")

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


class JudgeServer(StrictModel):
    """A judge as the settings describe it."""

    url: str = Field(min_length=1, max_length=2048)
    """Address of an OpenAI-compatible API, such as `https://api.example.com/v1`."""
    model: str = Field(min_length=1, max_length=512)
    """Name of the model there."""
    key_env: str | None = Field(default=None, pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,199}$")
    """Environment variable of the service that holds the API key; `None` for an API without keys."""
    max_concurrency: int = Field(default=4, ge=1, le=64)
    """Requests of one evaluation at a time."""
    timeout_s: float = Field(default=60.0, gt=0.0, le=600.0)
    """Seconds that one request may take."""
    max_tokens: int = Field(default=512, ge=16, le=32_768)
    """Most tokens of a reply."""

    @field_validator("url")
    @classmethod
    def _check_url(cls, url: str) -> str:
        """No message repeats the URL: somebody may have put a password into it."""
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("url must look like https://api.example.com/v1")
        if "@" in parts.netloc or parts.query or parts.fragment:
            raise ValueError("url must hold a host, a port and a path only; key_env names the variable with the key")
        return url.rstrip("/")


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
