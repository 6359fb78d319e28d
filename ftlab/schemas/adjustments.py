"""Records of the changes of a job's config that are made when the job is resumed."""

import json
from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Any

from pydantic import ConfigDict, Field

from ftlab.schemas.common import WireModel


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


class Change(WireModel):
    """A new value of one setting."""

    model_config = ConfigDict(extra="allow", frozen=True, validate_by_name=True, serialize_by_alias=True)

    field: str
    """Path of the setting in the job's config, for example `training.per_device_train_batch_size`."""
    from_: Any = Field(default=None, alias="from")
    """The value that the failed attempt had."""
    to: Any
    """The suggested value."""

    @property
    def text(self) -> str:
        """The change in a line: `training.learning_rate 0.0002 -> 0.0001`."""
        return f"{self.field} {_shown(self.from_)} -> {_shown(self.to)}"


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
        return ", ".join(change.text for change in self.changes)


def _shown(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "none"}[value]
    if isinstance(value, Mapping):
        return str(value.get("type", "other settings"))
    if isinstance(value, list):
        return json.dumps(value, ensure_ascii=False)
    return f"{value:g}" if isinstance(value, float) else str(value)
