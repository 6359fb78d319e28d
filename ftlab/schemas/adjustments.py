"""Records of the changes of a job's config that are made when the job is resumed."""

import json
from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Any

from ftlab.schemas.common import WireModel
from ftlab.schemas.failures import Change


class AdjustedBy(StrEnum):
    """Who changed the config of a job."""

    USER = "user"
    SUGGESTION = "suggestion"
    """A user, who accepted what the analysis of a failure suggested."""
    AUTOMATIC = "automatic"
    """The service, for a job with `recovery: auto`."""


BY = {
    AdjustedBy.USER: "Changed by the user",
    AdjustedBy.SUGGESTION: "Changed as suggested by the analysis of the failure",
    AdjustedBy.AUTOMATIC: "Changed by automatic recovery",
}
"""Beginning of a sentence about an adjustment."""


class Adjustment(WireModel):
    """One change of a job's config."""

    at: datetime
    by: AdjustedBy
    attempt: int
    """The newest attempt before the change; the next one has the new values."""
    changes: list[Change]
    reason: str | None = None
    """Why, in one sentence; `None` where the user gave no reason."""

    @property
    def sentence(self) -> str:
        """The changes in one line: `training.learning_rate 0.0002 -> 0.0001`."""
        return ", ".join(map(describe_change, self.changes))


def describe_change(change: Change) -> str:
    """One change as text."""
    return f"{change.field} {_shown(change.from_)} -> {_shown(change.to)}"


def _shown(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "none"}[value]
    if isinstance(value, Mapping):
        return str(value.get("type", "other settings"))
    if isinstance(value, list):
        return json.dumps(value, ensure_ascii=False)
    return f"{value:g}" if isinstance(value, float) else str(value)
