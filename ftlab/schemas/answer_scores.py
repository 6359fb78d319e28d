"""Scores of a generated answer without another model: rewards of reinforcement learning, and metrics of evaluations."""

import json
import re
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, Field

from ftlab.schemas.common import StrictModel

MAX_PATTERN_CHARS = 1000
MAX_SCHEMA_CHARS = 65_536
MAX_SCHEMA_ITEMS = 1000
"""Items of a list in a JSON Schema: its check compares each with each where they cannot be sorted."""


def _compiles(pattern: str) -> str:
    try:
        re.compile(pattern)
    except (re.error, RecursionError, OverflowError) as error:
        raise ValueError(f"must be a valid regular expression ({error})") from None
    return pattern


Pattern = Annotated[str, Field(min_length=1, max_length=MAX_PATTERN_CHARS), AfterValidator(_compiles)]


def _is_absolute(path: str) -> str:
    if not path.startswith("/") or not path.isprintable():
        raise ValueError("must be an absolute path of printable characters, such as /srv/rewards/style.py")
    return path


AbsolutePath = Annotated[str, Field(min_length=1, max_length=4096), AfterValidator(_is_absolute)]


class AnswerScore(StrictModel):
    """Settings that every score of a single answer has."""

    needs_reference: ClassVar[bool] = False
    """Whether it compares the answer with the reference answer of the row."""

    type: str

    def model_post_init(self, _: Any) -> None:
        self.__pydantic_fields_set__.add("type")


class ExactMatch(AnswerScore):
    """1 where the answer equals the reference answer, else 0."""

    needs_reference = True

    type: Literal["exact_match"] = "exact_match"
    strip: bool = True
    """Ignore white space at both ends."""
    ignore_case: bool = False


class Regex(AnswerScore):
    """1 where the answer matches a regular expression, else 0. A match that takes longer than a second is none."""

    type: Literal["regex"] = "regex"
    pattern: Pattern
    """A regular expression of Python; begin it with `(?s)` where `.` is to match line breaks."""
    full_match: bool = False
    """Whether the whole answer must match, not only a part of it."""


class NumericAnswer(AnswerScore):
    """1 where the last number of the answer equals that of the reference answer, else 0."""

    needs_reference = True

    type: Literal["numeric_answer"] = "numeric_answer"
    tolerance: float = Field(default=0.0, ge=0.0, le=1e9)
    """Largest difference between two numbers that count as equal."""


def _is_small(definition: dict[str, Any]) -> dict[str, Any]:
    if len(json.dumps(definition)) > MAX_SCHEMA_CHARS:
        raise ValueError(f"must have at most {MAX_SCHEMA_CHARS:,} characters as JSON")
    level: list[Any] = [definition]
    while level:
        if any(isinstance(value, list) and len(value) > MAX_SCHEMA_ITEMS for value in level):
            raise ValueError(f"must have no list of more than {MAX_SCHEMA_ITEMS:,} items")
        level = [child for value in level for child in _children(value)]
    return definition


def _children(value: Any) -> list[Any]:
    return list(value.values()) if isinstance(value, dict) else value if isinstance(value, list) else []


class JsonSchema(AnswerScore):
    """1 where the answer is valid JSON and follows the schema, else 0."""

    type: Literal["json_schema"] = "json_schema"
    definition: Annotated[dict[str, Any], AfterValidator(_is_small)] | None = None
    """A JSON Schema (draft 2020-12); without one, any JSON text is valid. References to other documents fail."""


class PythonFile(AnswerScore):
    """Whatever a function in a Python file returns. The settings of the service list the files that may be used."""

    type: Literal["python_file"] = "python_file"
    path: AbsolutePath
    """Absolute path on the machines that train."""
    function: str = Field(default="reward", max_length=100, pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")
    """Name of the function. It gets `completions` and `references`, and returns one number for each answer."""
    sha256: str | None = Field(default=None, pattern=r"^[0-9a-f]{64}$")
    """SHA-256 of the file; filled in at the submission. A job does not run with a file of another content."""
    timeout_s: float = Field(default=60.0, gt=0.0, le=600.0)
    """Seconds that one call, for all answers of a worker, may take."""
