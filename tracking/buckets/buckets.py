"""The buckets of the settings, and copies of their files on this machine."""

from pathlib import Path
from typing import Self

from ftlab.errors import InvalidRequestError, NotFoundError
from ftlab.settings import Settings
from tracking.buckets.file_cache import FileCache
from tracking.buckets.folder import LocalFolder
from tracking.buckets.remote import RemoteFolder
from tracking.buckets.storage import Storage


class Buckets:
    """Opens a bucket by its name. Cheap to make: nothing connects before a bucket is used."""

    def __init__(self, storages: dict[str, Storage], cache: FileCache) -> None:
        self._storages = storages
        self._cache = cache

    @classmethod
    def open(cls, settings: Settings) -> Self:
        """Every bucket of the settings."""
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
        """Remove what killed processes were writing into local buckets."""
        for storage in self._storages.values():
            if isinstance(storage, LocalFolder):
                storage.sweep()

    def check_name(self, name: str, param: str) -> None:
        """Raise `InvalidRequestError` for a name that somebody has chosen and that no bucket has."""
        if name not in self._storages:
            known = ", ".join(repr(known) for known in self._storages)
            raise InvalidRequestError(f"{param} must be one of {known}.", "invalid_parameter", param)

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
        """Where a file lies on this machine once `local_path` has been called; the file itself in a local bucket."""
        folder = self.storage(bucket).folder
        return self._cache.path(bucket, key) if folder is None else folder / key

    def local_path(self, bucket: str, key: str) -> Path:
        """The file on this machine, fetched if need be: a network call, never to be made inside a transaction.

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
        """Remove the copy on this machine of a file that has been removed."""
        if self.storage(bucket).folder is None:
            self._cache.path(bucket, key).unlink(missing_ok=True)


def content_missing() -> NotFoundError:
    return NotFoundError("The dataset's file is no longer in its bucket.", "dataset_content_missing")
