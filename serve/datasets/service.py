"""List, get, move, remove and share datasets. Every function blocks on the store or a bucket.

`dataset` is an id or a unique name.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from urllib.parse import quote

from ftlab.schemas import Dataset, Page, SignedUrl
from ftlab.schemas.dataset_files import with_suffixes
from serve.context import Services
from serve.datasets.receive import display_name
from serve.datasets.signed_urls import UrlSigner
from serve.http.responses import to_page
from tracking.buckets import Storage, blob_key
from tracking.buckets.buckets import content_missing
from tracking.store.records import DatasetRecord

DOWNLOADS = "/api/downloads"


@dataclass(frozen=True)
class Content:
    """A file in a bucket, and a name to save it under."""

    storage: Storage
    key: str
    num_bytes: int
    filename: str
    etag: str
    """Strong: files with the same tag are the same, byte for byte."""


def list_datasets(services: Services, owner: str, after: str | None, limit: int) -> Page[Dataset]:
    with services.store.read() as tx:
        records = tx.datasets.list(owner=owner, after=after, limit=limit + 1)
    return to_page([Dataset.of(record) for record in records], limit)


def get(services: Services, owner: str, dataset: str) -> Dataset:
    return Dataset.of(_record(services, owner, dataset))


def remove(services: Services, owner: str, dataset: str) -> None:
    """Remove the record and the files; raise `ConflictError` while a job that has not ended uses it."""
    services.dataset_files.remove(_record(services, owner, dataset).id, owner=owner)


def move(services: Services, owner: str, dataset: str, bucket: str) -> Dataset:
    """Move the files into another bucket; raise `ConflictError` while a job that has not ended uses them."""
    services.buckets.check_name(bucket)
    record = _record(services, owner, dataset)
    return Dataset.of(services.dataset_files.move(record.id, owner=owner, bucket=bucket))


def content(services: Services, owner: str, dataset: str) -> Content:
    """The uploaded file."""
    return _content(services, _record(services, owner, dataset))


def signed_url(services: Services, owner: str, dataset: str, expires_s: int, base_url: str) -> SignedUrl:
    """A URL at which anyone can read the uploaded file: one that the bucket signs, or else one of this service."""
    record = _record(services, owner, dataset)
    found = _content(services, record)
    expires_at = datetime.now(UTC) + timedelta(seconds=expires_s)
    url = found.storage.signed_url(found.key, expires_s, quote(found.filename, safe=""))
    if url is None:
        token = UrlSigner.open(services.settings).sign(record.id, expires_at)
        url = f"{base_url.rstrip('/')}{DOWNLOADS}/{token}"
    return SignedUrl(url=url, expires_at=expires_at)


def signed_content(services: Services, token: str) -> Content:
    """The uploaded file behind a signed URL of this service; raise `GoneError` or `PermissionDeniedError`."""
    dataset_id = UrlSigner.open(services.settings).read(token, datetime.now(UTC))
    with services.store.read() as tx:
        record = tx.datasets.get(dataset_id)
    return _content(services, record)


def _content(services: Services, record: DatasetRecord) -> Content:
    storage, key = services.buckets.storage(record.bucket), blob_key(record.sha256)
    num_bytes = storage.size_of(key)
    if num_bytes is None:
        raise content_missing()
    filename = with_suffixes(display_name(record.name) or "dataset", record.format, record.compression)
    return Content(storage, key, num_bytes, filename, f'"{record.sha256}"')


def _record(services: Services, owner: str, dataset: str) -> DatasetRecord:
    with services.store.read() as tx:
        return tx.datasets.resolve(dataset, owner=owner)
