"""Signed URLs of this service: each allows its holder to download one dataset until it expires."""

import os
import secrets
from datetime import datetime
from typing import Self

from itsdangerous import BadData, URLSafeSerializer

from ftlab.errors import GoneError, PermissionDeniedError
from ftlab.settings import Settings

KEY_FILE = "url_key"
DATASET_CONTENT = "ftlab.dataset-content"
"""Salt of this use, so that a token signed for another use is not valid here."""


class UrlSigner:
    """Signs with a key that never leaves the home folder. If its file is removed, all existing URLs become invalid."""

    def __init__(self, key: bytes) -> None:
        self._serializer = URLSafeSerializer(key, salt=DATASET_CONTENT)

    @classmethod
    def open(cls, settings: Settings) -> Self:
        """Read the key; the first call creates it, readable by its owner only."""
        file = settings.home / KEY_FILE
        try:
            return cls(file.read_bytes())
        except FileNotFoundError:
            aside = file.with_name(f".{KEY_FILE}.{secrets.token_hex(8)}")
        descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as stream:
                stream.write(secrets.token_hex(32).encode())
                stream.flush()
                os.fsync(stream.fileno())
            os.link(aside, file)
        except FileExistsError:
            pass  # another process was first: its key counts
        finally:
            aside.unlink()
        return cls(file.read_bytes())

    def sign(self, dataset_id: str, expires_at: datetime) -> str:
        return str(self._serializer.dumps([dataset_id, int(expires_at.timestamp())]))

    def read(self, token: str, now: datetime) -> str:
        """The dataset's id.

        Raise `PermissionDeniedError` (code `signed_url_invalid`) for a token with an invalid signature, and `GoneError`
        (code `signed_url_expired`) for an expired one.
        """
        try:
            dataset_id, expires_at = self._serializer.loads(token)
        except BadData:
            raise PermissionDeniedError(
                "This download URL is not valid; request a new one.", "signed_url_invalid"
            ) from None
        if now.timestamp() >= expires_at:
            raise GoneError("This download URL has expired; request a new one.", "signed_url_expired")
        return str(dataset_id)
