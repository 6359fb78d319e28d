"""Uploads in pieces. Every function blocks on the store or the disk.

The record says how many bytes are safe. A piece is written, made safe and then counted under a lock of the upload's
file: where two requests send the same piece, the second finds that the count has moved on and writes nothing.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from ftlab.errors import ConflictError, NotFoundError, PayloadTooLargeError, RateLimitError
from ftlab.files import check_space, sha256_of
from ftlab.schemas import Dataset, Upload
from ftlab.schemas.requests import UploadEnd, UploadStart
from serve.accounts.quotas import check_upload
from serve.context import Services
from serve.datasets import intake
from serve.datasets.intake import SOURCE, STALE_UPLOAD, check_options, discard, uploads_folder
from serve.datasets.options import DatasetOptions
from serve.datasets.receive import Upload as ReceivedFile
from serve.datasets.receive import display_name
from tracking.store import Transaction
from tracking.store.ids import new_id
from tracking.store.records import UploadRecord
from train.data.formats.source import named_format

MAX_OPEN = 100
"""Open uploads of one owner."""
LOCK = "lock"
"""Held while the dataset is being made."""


class OffsetError(ConflictError):
    """The piece does not begin where the next one must; `offset` says where that is."""

    default_code = "upload_offset_mismatch"

    def __init__(self, message: str, offset: int) -> None:
        super().__init__(message)
        self.args = (message, offset)
        self.offset = offset


def start(services: Services, owner: str, body: UploadStart) -> tuple[Upload, bool]:
    """Begin an upload, or continue one of the same file; the second value says whether it is new.

    Raise `DatasetInvalidError` for a name with an unknown suffix, `PayloadTooLargeError`, `RateLimitError` (code
    `quota_exceeded`), and `ServiceUnavailableError` (code `disk_full`).
    """
    options = DatasetOptions.of_start(body)
    check_options(services, options)
    named_format(display_name(body.filename))
    if body.size_bytes > services.settings.max_upload_bytes:
        raise PayloadTooLargeError(f"The file is larger than {services.settings.max_upload_bytes} bytes.")
    intake.try_to_sweep(services)
    now = datetime.now(UTC)
    with services.store.begin() as tx:
        same = _same_file(tx, owner, body)
        if same is not None:
            again = replace(same, filename=body.filename, options=_kept(options), updated_at=now)
            tx.uploads.restart(again)
            return _to_upload(again), False
        if len(tx.uploads.open_of(owner)) >= MAX_OPEN:
            raise RateLimitError(
                f"You have {MAX_OPEN} open uploads, which is the limit; complete or cancel one.", "quota_exceeded"
            )
        check_upload(tx, services.settings, owner, body.size_bytes)
        record = UploadRecord(
            id=new_id("up"),
            owner=owner,
            bucket=body.bucket,
            filename=body.filename,
            size_bytes=body.size_bytes,
            sha256=body.sha256,
            received_bytes=0,
            options=_kept(options),
            dataset_id=None,
            created_at=now,
            updated_at=now,
        )
        check_space(services.settings.home, body.size_bytes)
        tx.uploads.add(record)
    return _to_upload(record), True


def get(services: Services, owner: str, upload_id: str) -> Upload:
    return _to_upload(_record(services, owner, upload_id))


def list_open(services: Services, owner: str) -> list[Upload]:
    """Uploads that are not complete, newest first."""
    with services.store.read() as tx:
        return [_to_upload(record) for record in tx.uploads.open_of(owner)]


def remove(services: Services, owner: str, upload_id: str) -> None:
    """Abandon an upload and remove its file."""
    with services.store.begin() as tx:
        tx.uploads.get(upload_id, owner=owner)
        tx.uploads.remove(upload_id)
    discard(_folder(services, upload_id))


class Piece:
    """One piece while it is received."""

    def __init__(self, services: Services, owner: str, upload_id: str, offset: int) -> None:
        """Raise `OffsetError` when the next piece does not begin at `offset`."""
        self._record = _record(services, owner, upload_id)
        self._services = services
        self.offset = self._record.received_bytes
        if offset != self.offset or self._record.dataset_id is not None:
            raise _misplaced(self._record)
        folder = _folder(services, upload_id)
        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / SOURCE

    def write(self, data: bytes) -> None:
        """Append bytes and make them safe.

        Raise `PayloadTooLargeError` for more bytes than declared, `OffsetError` when another request has appended
        meanwhile, `ServiceUnavailableError` (code `disk_full`), and `NotFoundError` when the upload was abandoned or
        its file is missing, which ends the upload.
        """
        if not data:
            return
        stop = self.offset + len(data)
        if stop > self._record.size_bytes:
            raise PayloadTooLargeError(f"The upload declared {self._record.size_bytes} bytes, but more were sent.")
        try:
            self._append(data, stop)
        except FileNotFoundError:
            raise _given_up() from None
        self.offset = stop

    def _append(self, data: bytes, stop: int) -> None:
        record, store = self._record, self._services.store
        check_space(self._path.parent, len(data))
        with opened(self._path) as descriptor:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            with store.read() as tx:
                now_there = tx.uploads.get(record.id, owner=record.owner)
            if now_there.received_bytes != self.offset:
                raise _misplaced(now_there)
            if os.fstat(descriptor).st_size < self.offset:
                remove(self._services, record.owner, record.id)
                raise _file_missing()
            _write_at(descriptor, data, self.offset)
            os.fsync(descriptor)
            with store.begin() as tx:
                if not tx.uploads.advance(record.id, start=self.offset, stop=stop, now=datetime.now(UTC)):
                    raise _misplaced(tx.uploads.get(record.id, owner=record.owner))


def complete(services: Services, owner: str, upload_id: str, end: UploadEnd) -> Dataset | None:
    """Make the dataset, or find the one that was made before; `None` while another request is making it.

    Raise `ConflictError` (code `upload_incomplete`) while bytes are missing, `DatasetInvalidError` for bad rows (the
    upload stays, to be completed with other options), and `InvalidRequestError` (code `checksum_mismatch`), with which
    the upload ends.
    """
    record = _record(services, owner, upload_id)
    if record.dataset_id is not None:
        with services.store.read() as tx:
            return Dataset.of(tx.datasets.get(record.dataset_id, owner=owner))
    if record.received_bytes != record.size_bytes:
        raise ConflictError(
            f"{record.received_bytes} of {record.size_bytes} bytes have been received; send the rest first.",
            "upload_incomplete",
        )
    try:
        with opened(_folder(services, upload_id) / LOCK) as descriptor:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return _complete(services, record, end)
    except BlockingIOError:
        return None
    except FileNotFoundError:
        if _record(services, owner, upload_id).dataset_id is not None:
            return None  # another request has made the dataset meanwhile and removed the files
        remove(services, owner, upload_id)
        raise _file_missing() from None


def _complete(services: Services, record: UploadRecord, end: UploadEnd) -> Dataset | None:
    """Make the dataset. The caller holds the lock."""
    with services.store.begin() as tx:
        # Renews the upload, so that it is not swept; the last holder of the lock may have completed it.
        if not tx.uploads.advance(record.id, start=record.size_bytes, stop=record.size_bytes, now=datetime.now(UTC)):
            return None
    folder = _folder(services, record.id)
    source = folder / SOURCE
    received = ReceivedFile(source, record.filename, record.size_bytes, sha256_of(source))
    if record.sha256 not in (None, received.sha256):
        remove(services, record.owner, record.id)
        raise intake.checksum_mismatch()
    options = replace(
        DatasetOptions(record.bucket, sha256=record.sha256, **record.options), **end.model_dump(exclude_none=True)
    )

    def claim(tx: Transaction, dataset_id: str) -> None:
        if not tx.uploads.complete(record.id, dataset_id, now=datetime.now(UTC)):
            raise _given_up()
        check_upload(tx, services.settings, record.owner, record.size_bytes)

    dataset = intake.accept(services, record.owner, received, options, claim)
    discard(folder)
    return dataset


def _to_upload(record: UploadRecord) -> Upload:
    return Upload.of(record, expires_at=record.updated_at + STALE_UPLOAD)


def _same_file(tx: Transaction, owner: str, body: UploadStart) -> UploadRecord | None:
    """The open upload of the same file, by hash, into the same bucket."""
    if body.sha256 is None:
        return None
    key = (body.sha256, body.size_bytes, body.bucket)
    opened = tx.uploads.open_of(owner)
    return next((each for each in opened if (each.sha256, each.size_bytes, each.bucket) == key), None)


def _kept(options: DatasetOptions) -> dict[str, object]:
    return {
        "name": options.name,
        "shape": options.shape,
        "columns": options.columns,
        "accept_partial": options.accept_partial,
    }


def _record(services: Services, owner: str, upload_id: str) -> UploadRecord:
    with services.store.read() as tx:
        return tx.uploads.get(upload_id, owner=owner)


def _folder(services: Services, upload_id: str) -> Path:
    """The folder of an upload. `upload_id` comes from a record, never from a request."""
    return uploads_folder(services) / upload_id


def _file_missing() -> NotFoundError:
    return NotFoundError("The upload's file is no longer on the disk; start a new upload.", "upload_not_found")


def _given_up() -> NotFoundError:
    return NotFoundError("The upload was removed in the meantime.", "upload_not_found")


def _misplaced(record: UploadRecord) -> OffsetError:
    return OffsetError(f"The next piece must begin at byte {record.received_bytes}.", record.received_bytes)


@contextmanager
def opened(path: Path) -> Iterator[int]:
    """A descriptor of a file of an upload, for writing or to lock it; made if it does not exist, unlike its folder."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _write_at(descriptor: int, data: bytes, offset: int) -> None:
    view = memoryview(data)
    while view:
        num_bytes = os.pwrite(descriptor, view, offset)
        view, offset = view[num_bytes:], offset + num_bytes
