"""Uploads and downloads, which resume where they were interrupted."""

import asyncio
from dataclasses import replace
from pathlib import Path

from ftlab.client import uploads
from ftlab.client._async.transport import AsyncTransport
from ftlab.client.downloads import PartFile
from ftlab.client.retry import Failure, Retries
from ftlab.client.wire import Fault, OnProgress, Request, UploadOptions
from ftlab.files import sha256_of
from ftlab.schemas import Dataset, Upload


async def upload(
    transport: AsyncTransport, path: Path, options: UploadOptions, on_progress: OnProgress | None = None
) -> Dataset:
    """Upload a file. An upload that was begun before, by this process or by another, resumes where it was cut.

    Raises `InvalidRequestError` when there is no such file, and with the code `dataset_invalid` for bad rows.
    """
    size_bytes = uploads.size_of(path)
    if size_bytes < uploads.PIECES_FROM_BYTES:
        return await transport.read(Dataset, uploads.whole(path, size_bytes, options, on_progress))
    sha256 = await asyncio.to_thread(sha256_of, path)
    begun = await transport.read(Upload, uploads.begin(path, size_bytes, sha256, options))
    await _send_rest(transport, path, begun, on_progress)
    return await transport.read(Dataset, uploads.complete(begun))


async def download(
    transport: AsyncTransport, request: Request, target: Path, on_progress: OnProgress | None = None
) -> Path:
    """Fetch a file and return its path. Nothing is left at the target, nor beside it, when that fails.

    Raises `OSError` when the file cannot be written.
    """
    part = await asyncio.to_thread(PartFile, target)
    retries = Retries(transport.endpoint, request)
    try:
        while True:
            before = part.size_bytes
            failure = await _fetch_rest(transport, request, part, on_progress)
            if failure is None:
                break
            if part.size_bytes > before:
                retries.restart()
            await transport.sleep(0.0 if part.restart_if_refused(failure) else retries.after(failure))
        await asyncio.to_thread(part.publish)
    finally:
        part.discard()
    return target


async def _send_rest(transport: AsyncTransport, path: Path, begun: Upload, on_progress: OnProgress | None) -> None:
    offset = begun.received_bytes
    retries = Retries(transport.endpoint, uploads.piece(path, begun, offset, None))
    while offset < begun.size_bytes:
        try:
            reply: Failure = await transport.send(uploads.piece(path, begun, offset, on_progress))
        except Fault as fault:
            reply = fault
        received = uploads.next_offset(reply)
        if received is None or received <= offset:
            # What came of the piece counts before its failure is judged.
            if await _received_bytes(transport, begun) > offset:
                retries.restart()
            await transport.sleep(retries.after(reply))
            # Once more: the service may have noticed only now that the connection was cut, and kept the rest.
            received = await _received_bytes(transport, begun)
        if received > offset:
            retries.restart()
        offset = received


async def _received_bytes(transport: AsyncTransport, begun: Upload) -> int:
    found = await transport.read(Upload, uploads.progress(begun))
    return found.received_bytes


async def _fetch_rest(
    transport: AsyncTransport, request: Request, part: PartFile, on_progress: OnProgress | None
) -> Failure | None:
    """Append the missing bytes to the file; return the failure that prevented it."""
    try:
        async with transport.stream(replace(request, headers=part.headers())) as response:
            if not response.is_success:
                return response
            part.begin(response)
            async for chunk in response.aiter_raw():
                await asyncio.to_thread(part.write, chunk)
                if on_progress:
                    on_progress(part.size_bytes, part.total_bytes)
        part.end()
    except Fault as fault:
        return fault
    return None
