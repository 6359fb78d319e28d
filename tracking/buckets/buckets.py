"""The buckets named in the settings, and local copies of their files."""

from pathlib import Path
from typing import Self

from ftlab.errors import InvalidRequestError, NotFoundError
from ftlab.settings import Settings
from tracking.buckets.file_cache import FileCache
from tracking.buckets.folder import LocalFolder
from tracking.buckets.remote import RemoteFolder
from tracking.buckets.storage import Storage


class Buckets:
    """Gives access to buckets by name. Creating it is cheap: nothing connects before a bucket is used."""

    def __init__(self, storages: dict[str, Storage], cache: FileCache) -> None:
        self._storages = storages
        self._cache = cache

    @classmethod
    def open(cls, settings: Settings) -> Self:
        """All buckets of the settings."""
        storages: dict[str, Storage] = {
            name: RemoteFolder(name, url) if url else LocalFolder(settings.home / "buckets" / name)
            for name, url in settings.buckets.items()
        }
        return cls(storages, FileCache(settings.home / "cache" / "files", settings.file_cache_bytes))

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._storages)

    def check(self) -> None:
        """Raise `InvalidRequestError` when a bucket's driver is not installed."""
        for storage in self._storages.values():
            if isinstance(storage, RemoteFolder):
                storage.check()

    def sweep(self) -> None:
        """Remove partial files that killed processes left in local buckets."""
        for storage in self._storages.values():
            if isinstance(storage, LocalFolder):
                storage.sweep()

    def check_name(self, name: str) -> None:
        """Raise `InvalidRequestError` when the request names a bucket that does not exist."""
        if name not in self._storages:
            known = ", ".join(repr(known) for known in self._storages)
            raise InvalidRequestError(f"bucket must be one of {known}.", "invalid_parameter", "bucket")

    def storage(self, name: str) -> Storage:
        """Raise `NotFoundError` (code `dataset_content_missing`) for a bucket that the settings no longer have."""
        try:
            return self._storages[name]
        except KeyError:
            raise NotFoundError(
                f"Bucket {name!r} is not among the settings of this service; add it to 'buckets' again.",
                "dataset_content_missing",
            ) from None

    def cached_path(self, bucket: str, key: str) -> Path:
        """The local path of a file after `local_path` has fetched it; in a local bucket, the file itself."""
        folder = self.storage(bucket).folder
        return self._cache.path(bucket, key) if folder is None else folder / key

    def local_path(self, bucket: str, key: str) -> Path:
        """The local path of a file, fetched if necessary. This may use the network: never call it in a transaction.

        Raises `NotFoundError` (code `dataset_content_missing`) and `ServiceUnavailableError`.
        """
        storage = self.storage(bucket)
        try:
            if storage.folder is None:
                return self._cache.fetch(bucket, key, storage)
        except FileNotFoundError:
            raise content_missing() from None
        if storage.size_of(key) is None:
            raise content_missing()
        return storage.folder / key

    def forget(self, bucket: str, key: str) -> None:
        """Remove the local copy of a file that was removed from its bucket."""
        if self.storage(bucket).folder is None:
            self._cache.path(bucket, key).unlink(missing_ok=True)


def content_missing() -> NotFoundError:
    return NotFoundError("The dataset's file is no longer in its bucket.", "dataset_content_missing")
