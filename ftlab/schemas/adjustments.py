"""Records of the changes of a job's config that are made when the job is resumed."""

from datetime import datetime
from enum import StrEnum

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
        return ", ".join(change.text for change in self.changes)
