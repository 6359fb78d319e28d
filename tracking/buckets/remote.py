"""A bucket behind an fsspec URL such as `s3://bucket/folder`. Credentials come only from the environment."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO, cast

from ftlab.errors import InvalidRequestError, ServiceUnavailableError

BLOCK_BYTES = 5 * 1024**2
"""Bytes sent or read at a time: the smallest part that S3 accepts."""
TIMEOUT_S = 60
OPTIONS: dict[str, dict[str, Any]] = {
    "s3": {
        "config_kwargs": {
            "connect_timeout": 10,
            "read_timeout": TIMEOUT_S,
            "retries": {"max_attempts": 4},
            "signature_version": "s3v4",
        }
    },
}
PUT_OPTIONS: dict[str, dict[str, Any]] = {
    "s3": {"chunksize": BLOCK_BYTES, "max_concurrency": 1},
    "gcs": {"chunksize": BLOCK_BYTES},
}
"""The drivers' defaults would hold up to 500 MiB of a file in memory."""
LISTS_BY_PREFIX = frozenset({"s3", "s3a", "gs", "gcs"})
"""Storages that find keys by prefix without listing the folder."""
DRIVERS = {"s3": "s3", "s3a": "s3", "gs": "gcs", "gcs": "gcs"}
"""By URL scheme, the extra of this distribution that must be installed."""

logger = logging.getLogger(__name__)


class RemoteFolder:
    """Connects at the first use. Errors name the bucket, never the URL or the storage's reply, which may hold
    credentials."""

    def __init__(self, name: str, url: str) -> None:
        self.folder: Path | None = None
        self._name = name
        self._url = url
        self._scheme = url.partition("://")[0]
        self._driver = DRIVERS.get(self._scheme, self._scheme)

    def check(self) -> None:
        """Raise `InvalidRequestError` (code `invalid_setting`) when the package for this kind of URL is missing."""
        import fsspec

        try:
            fsspec.get_filesystem_class(self._scheme)
        except (ImportError, ValueError):
            remedy = f"; install ftlab[{self._driver}]" if self._scheme in DRIVERS else ""
            raise InvalidRequestError(
                f"Bucket {self._name!r}: there is no driver for {self._scheme}:// URLs here{remedy}.",
                "invalid_setting",
                "buckets",
            ) from None

    def size_of(self, key: str) -> int | None:
        try:
            with self._translated():
                return int(self._fs.size(self._path(key)))
        except FileNotFoundError:
            return None

    def put(self, key: str, file: Path) -> None:
        """An interrupted write may leave a file of another size, which the next one replaces."""
        num_bytes = file.stat().st_size
        if self.size_of(key) == num_bytes:
            return
        with self._translated():
            self._make_folder(key)
            try:
                self._fs.put_file(str(file), self._path(key), **PUT_OPTIONS.get(self._driver, {}))
            except FileNotFoundError:
                raise self._unavailable("it does not exist") from None
        if self.size_of(key) != num_bytes:
            raise self._unavailable("it did not store the whole file")

    def open(self, key: str) -> BinaryIO:
        with self._translated():
            file = self._fs.open(self._path(key), "rb", block_size=BLOCK_BYTES, cache_type="readahead")
        return cast("BinaryIO", _RemoteFile(file, self))

    def remove(self, key: str) -> None:
        try:
            with self._translated():
                self._fs.rm_file(self._path(key))
        except FileNotFoundError:
            return

    def keys(self, prefix: str) -> list[str]:
        folder, _, start = prefix.rpartition("/")
        try:
            with self._translated():
                if self._scheme in LISTS_BY_PREFIX:
                    found = self._fs.find(self._path(folder), prefix=start)
                else:
                    found = self._fs.glob(self._path(f"{prefix}*"))
        except FileNotFoundError:
            return []
        return sorted(f"{folder}/{path.rpartition('/')[2]}" for path in found)

    def signed_url(self, key: str, expires_s: int, filename: str) -> str | None:
        if self._scheme not in ("s3", "s3a"):
            return None
        with self._translated():
            disposition = f"attachment; filename*=UTF-8''{filename}"
            url = self._fs.sign(self._path(key), expiration=expires_s, ResponseContentDisposition=disposition)
        return str(url)

    @cached_property
    def _fs(self) -> Any:
        import fsspec

        self.check()
        # Cached listings would hide files written by other processes.
        options = {"use_listings_cache": False, **OPTIONS.get(self._driver, {})}
        return fsspec.core.url_to_fs(self._url, **options)[0]

    @cached_property
    def _root(self) -> str:
        return str(self._fs._strip_protocol(self._url)).rstrip("/")

    def _path(self, key: str) -> str:
        return f"{self._root}/{key}"

    def _make_folder(self, key: str) -> None:
        """Object stores have no folders, and `makedirs` would try to create the bucket itself."""
        if self._scheme not in LISTS_BY_PREFIX:
            self._fs.makedirs(self._path(key).rpartition("/")[0], exist_ok=True)

    @contextmanager
    def _translated(self) -> Iterator[None]:
        """Translate every error of a driver, except a missing file, into `ServiceUnavailableError`."""
        try:
            yield
        except (FileNotFoundError, InvalidRequestError, ServiceUnavailableError):
            raise
        except Exception as error:
            # Every driver has its own exceptions; this is the boundary to them.
            logger.warning("Bucket %s: %s", self._name, type(error).__name__)
            raise self._unavailable(type(error).__name__) from None

    def _unavailable(self, why: str) -> ServiceUnavailableError:
        return ServiceUnavailableError(
            f"Bucket {self._name!r} does not work at the moment ({why}). Check its URL and the credentials in the"
            " service's environment, or try again.",
            "bucket_unavailable",
        )


class _RemoteFile:
    """A file of a remote bucket, with the errors of its bucket."""

    def __init__(self, file: Any, storage: RemoteFolder) -> None:
        self._file = file
        self._storage = storage

    def read(self, num_bytes: int = -1) -> bytes:
        with self._storage._translated():
            return bytes(self._file.read(num_bytes))

    def seek(self, position: int) -> int:
        return int(self._file.seek(position))

    def close(self) -> None:
        self._file.close()

    def __enter__(self) -> "_RemoteFile":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
