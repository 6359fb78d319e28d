"""Graders of OpenAI that mean the same as one of our rewards."""

from typing import Any

from ftlab.errors import InvalidRequestError


def rewards_of(grader: dict[str, Any], field: str) -> list[dict[str, Any]]:
    """The rewards of a job's config. Raises `InvalidRequestError` (`unsupported_grader`)."""
    raise InvalidRequestError("Graders are not supported.", "unsupported_grader", field)
