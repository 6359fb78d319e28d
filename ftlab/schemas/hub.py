"""Uploads of artifacts to a hub of models: the request, and the messages that report one while it runs."""

from typing import Annotated, Any, Literal

from pydantic import Field, SecretStr, field_validator

from ftlab.model_ref import is_hub_id
from ftlab.schemas.common import StrictModel, WireModel

MAX_TOKEN_CHARS = 200


class HubPush(StrictModel):
    """Where an artifact is uploaded, and with which token."""

    repo: str = Field(min_length=3, max_length=200)
    """Repository as `OWNER/NAME`; it is created where it does not exist."""
    private: bool = True
    """Create a private repository, and refuse an existing one that is public. Without, everybody can read the files."""
    token: SecretStr = Field(min_length=1, max_length=MAX_TOKEN_CHARS)
    """The caller's token for the hub, with the right to write. It is used for this upload and never stored."""

    @field_validator("repo")
    @classmethod
    def _is_a_repository(cls, repo: str) -> str:
        if not is_hub_id(repo):
            raise ValueError("must be OWNER/NAME, with letters, digits, '.', '-' and '_'")
        return repo

    @field_validator("token")
    @classmethod
    def _can_be_a_header(cls, token: SecretStr) -> SecretStr:
        text = token.get_secret_value()
        if not (text.isascii() and text.isprintable()) or " " in text:
            raise ValueError("must be printable ASCII without spaces")
        return token


class HubCommit(WireModel):
    """An artifact on the hub, as one commit."""

    repo: str
    url: str
    """Address of the repository."""
    commit: str
    is_new: bool
    """Whether anything changed; false where the repository had all files already."""
    num_files: int
    size_bytes: int
    """Bytes of all files; those that the hub had already were not sent."""


class PushProgress(WireModel):
    """Sent every second while an upload runs."""

    type: Literal["progress"] = "progress"
    phase: Literal["checking", "uploading", "committing"]
    """`checking` compares the files with the hashes of the export."""
    done_bytes: int
    """Bytes of the phase."""
    total_bytes: int


class PushDone(WireModel):
    """The last message of an upload that succeeded."""

    type: Literal["done"] = "done"
    result: HubCommit


class PushFailed(WireModel):
    """The last message of an upload that failed after it had begun."""

    type: Literal["failed"] = "failed"
    status: int
    """The HTTP status that the reply would have had."""
    error: dict[str, Any]
    """As in the body of an error reply."""


PushMessage = Annotated[PushProgress | PushDone | PushFailed, Field(discriminator="type")]
