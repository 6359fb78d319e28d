"""Uploads that come in pieces, and URLs that anybody can download from."""

from datetime import datetime

from ftlab.schemas.common import WireModel


class Upload(WireModel):
    """A file that comes in pieces."""

    id: str
    owner: str
    bucket: str
    filename: str
    size_bytes: int
    """Of the whole file."""
    received_bytes: int
    """What is safe: the next piece starts here."""
    sha256: str | None = None
    """Of the whole file, if the client gave it."""
    dataset_id: str | None = None
    """The dataset that it became."""
    created_at: datetime
    expires_at: datetime
    """It is removed then, unless a piece comes before."""


class SignedUrl(WireModel):
    """A URL at which anybody can download a file, until it expires."""

    url: str
    expires_at: datetime
