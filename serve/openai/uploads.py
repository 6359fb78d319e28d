"""Uploads of `/v1`, in parts that may arrive in any order. Every function blocks on the store or the disk.

An upload is one of ours: its parts wait as files in its folder, and are put together when the client names their order.
"""

import fcntl
import hashlib
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from pydantic import Field

from ftlab.errors import InvalidRequestError, PayloadTooLargeError
from ftlab.files import check_space
from ftlab.schemas import Dataset, Upload
from ftlab.schemas.common import StrictModel
from ftlab.schemas.requests import MAX_BYTES, UploadEnd, UploadStart
from serve.context import Services
from serve.datasets import upload_sessions
from serve.datasets.intake import SOURCE, uploads_folder
from serve.datasets.receive import Upload as ReceivedFile
from serve.http.ranges import CHUNK_BYTES
from serve.openai.files import check_purpose, no_expiry, read_options, to_file
from serve.openai.ids import public_upload_id, seconds
from serve.openai.objects import OpenAiUpload, OpenAiUploadPart
from tracking.store.ids import new_id
from tracking.store.records import UploadRecord

MAX_PART_BYTES = 64 * 1024**2
"""Largest part, as at OpenAI."""
MAX_PARTS = 10_000

_PART = re.compile(r"part_[0-9a-z]{12}")

UploadState = Literal["pending", "completed", "cancelled"]


class CreateUpload(StrictModel):
    """A file to upload in parts."""

    bytes: int = Field(ge=1, le=MAX_BYTES)
    """Size of the whole file."""
    filename: str = Field(min_length=1, max_length=4096)
    mime_type: str = Field(max_length=255)
    """Accepted, without effect: the format follows from the name and the content."""
    purpose: str = Field(max_length=100)
    """`fine-tune`."""
    expires_after: object = None
    """Refused: files do not expire here."""


class CompleteUpload(StrictModel):
    """The order of the parts."""

    part_ids: list[str] = Field(min_length=1, max_length=MAX_PARTS)
    md5: str | None = Field(default=None, pattern=r"^[0-9a-fA-F]{32}$")
    """MD5 of the whole file."""


@dataclass(frozen=True)
class NewPart:
    """A part that is about to be received."""

    id: str
    path: Path
    max_bytes: int


def start(services: Services, owner: str, body: CreateUpload) -> OpenAiUpload:
    """Begin an upload. Raises what `upload_sessions.start` raises."""
    check_purpose(body.purpose)
    if body.expires_after is not None:
        raise no_expiry()
    own = UploadStart(filename=body.filename, size_bytes=body.bytes)
    upload, _ = upload_sessions.start(services, owner, own)
    return to_upload(upload, "pending")


def new_part(services: Services, owner: str, upload: str) -> NewPart:
    """A place for the next part. Raises `NotFoundError`, and `PayloadTooLargeError` when enough parts are there."""
    record = _open_record(services, owner, upload)
    folder = uploads_folder(services) / record.id
    folder.mkdir(parents=True, exist_ok=True)
    there = [path.stat().st_size for path in folder.glob("part_*")]
    # A part that was sent twice may be there twice.
    if sum(there) > 2 * record.size_bytes or len(there) >= MAX_PARTS:
        raise PayloadTooLargeError("The parts hold more than twice the bytes of the upload; complete or cancel it.")
    part = new_id("part").replace("-", "_")
    return NewPart(part, folder / f".{part}", min(MAX_PART_BYTES, record.size_bytes))


def keep_part(services: Services, owner: str, upload: str, part: NewPart, received: ReceivedFile) -> OpenAiUploadPart:
    """Keep a part that has been received. Raises `NotFoundError` when the upload was cancelled meanwhile."""
    record, now = _open_record(services, owner, upload), datetime.now(UTC)
    received.path.rename(part.path.with_name(part.id))
    _renew(services, record, record.received_bytes, now)
    return OpenAiUploadPart(id=part.id, created_at=seconds(now), upload_id=public_upload_id(record.id))


def assemble(services: Services, owner: str, upload: str, body: CompleteUpload) -> UploadEnd:
    """Write the file of an upload from its parts, unless it has been made a dataset, or is being made one.

    Returns how the file is to be read. Raises `InvalidRequestError` for parts that do not exist or do not make up the
    file, and for another MD5.
    """
    with services.store.read() as tx:
        record = tx.uploads.get(upload, owner=owner)
    if record.dataset_id is not None:
        return UploadEnd()
    folder = uploads_folder(services) / record.id
    parts = _parts(folder, body.part_ids, record.size_bytes)
    with upload_sessions.opened(folder / upload_sessions.LOCK) as descriptor:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return UploadEnd()
        check_space(folder, record.size_bytes)
        whole = folder / "whole"
        md5 = _join(parts, whole)
        if body.md5 is not None and md5 != body.md5.lower():
            raise InvalidRequestError("The parts do not have this md5; send them again.", "checksum_mismatch", "md5")
        whole.replace(folder / SOURCE)
        _renew(services, record, record.size_bytes, datetime.now(UTC))
        return read_options(folder / SOURCE)


def cancel(services: Services, owner: str, upload: str) -> OpenAiUpload:
    """Discard an upload that is not complete, with its parts."""
    record = _open_record(services, owner, upload)
    described = upload_sessions.get(services, owner, upload)
    upload_sessions.remove(services, owner, record.id)
    return to_upload(described, "cancelled")


def to_upload(upload: Upload, status: UploadState, dataset: Dataset | None = None) -> OpenAiUpload:
    return OpenAiUpload(
        id=public_upload_id(upload.id),
        bytes=upload.size_bytes,
        created_at=seconds(upload.created_at),
        expires_at=seconds(upload.expires_at),
        filename=upload.filename,
        status=status,
        file=None if dataset is None else to_file(dataset),
    )


def _open_record(services: Services, owner: str, upload: str) -> UploadRecord:
    with services.store.read() as tx:
        record = tx.uploads.get(upload, owner=owner)
    if record.dataset_id is not None:
        raise InvalidRequestError("The upload is complete; it takes no more parts.", "upload_completed", "upload_id")
    return record


def _renew(services: Services, record: UploadRecord, received: int, now: datetime) -> None:
    """Record how many bytes of the file are there, and that the upload is in use, so that it is not swept."""
    with services.store.begin() as tx:
        tx.uploads.advance(record.id, start=record.received_bytes, stop=received, now=now)


def _parts(folder: Path, ids: Sequence[str], size_bytes: int) -> list[Path]:
    if len(set(ids)) != len(ids):
        raise InvalidRequestError("part_ids must name each part once.", "invalid_parts", "part_ids")
    paths = [folder / part for part in ids if _PART.fullmatch(part)]
    if len(paths) != len(ids) or not all(path.is_file() for path in paths):
        raise InvalidRequestError("part_ids names a part that this upload does not have.", "invalid_parts", "part_ids")
    total = sum(path.stat().st_size for path in paths)
    if total != size_bytes:
        message = f"The parts hold {total} bytes together, and the upload was declared with {size_bytes}."
        raise InvalidRequestError(message, "upload_incomplete", "part_ids")
    return paths


def _join(parts: Sequence[Path], target: Path) -> str:
    """Write the parts one after another, and sync the file; returns the MD5 of all of it."""
    md5 = hashlib.md5(usedforsecurity=False)
    with target.open("wb") as file:
        for path in parts:
            with path.open("rb") as part:
                while piece := part.read(CHUNK_BYTES):
                    md5.update(piece)
                    file.write(piece)
        file.flush()
        os.fsync(file.fileno())
    return md5.hexdigest()
