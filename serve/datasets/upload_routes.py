"""`/api/uploads`: files in pieces, which continue after a lost connection or a restart of the service."""

import time
from collections.abc import Mapping
from typing import Annotated

import anyio
from fastapi import APIRouter, Header
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from ftlab.errors import RateLimitError, ServiceUnavailableError
from ftlab.schemas import Dataset, Upload
from ftlab.schemas.replies import UploadList
from ftlab.schemas.requests import UploadEnd, UploadStart
from serve.context import Caller
from serve.datasets import upload_sessions
from serve.datasets.receive import file_chunks
from serve.datasets.upload_sessions import OffsetError, Piece
from serve.http.errors import error_response, request_id_of
from serve.http.json_body import JsonBody, JsonRoute
from serve.http.openapi import PIECE_BODY
from serve.http.query import RecordId
from serve.http.responses import in_thread, reply

router = APIRouter(prefix="/api/uploads", tags=["uploads"], route_class=JsonRoute)

PIECE_BYTES = 4 * 1024**2
"""Bytes that are collected before they are synced and counted."""
BUSY_POLL_S = 0.5
BUSY_PATIENCE_S = 600.0
"""How long to wait for another request that is making the same dataset."""
AS_STARTED = UploadEnd()


@router.post(
    "",
    status_code=201,
    response_model=Upload,
    responses={200: {"model": Upload, "description": "An interrupted upload of the same file."}},
    summary="Start an upload",
)
async def create_upload(caller: Caller, body: JsonBody[UploadStart]) -> Response:
    """With `sha256`, an interrupted upload of the same file is found again: `200` with the bytes received so far."""
    upload, is_new = await caller.call(upload_sessions.start, body)
    return reply(upload, 201 if is_new else 200, {"location": f"/api/uploads/{upload.id}", **_offset(upload)})


@router.get("", response_model=UploadList, summary="List uploads that are not complete, newest first")
async def list_uploads(caller: Caller) -> Response:
    return reply(UploadList(data=await caller.call(upload_sessions.list_open)))


@router.head(
    "/{upload_id}",
    status_code=200,
    response_class=Response,
    summary="Get the offset of the next piece: header Upload-Offset",
)
async def head_upload(caller: Caller, upload_id: RecordId) -> Response:
    return Response(headers=_offset(await caller.call(upload_sessions.get, upload_id)))


@router.get("/{upload_id}", response_model=Upload, summary="Get an upload")
async def get_upload(caller: Caller, upload_id: RecordId) -> Response:
    upload = await caller.call(upload_sessions.get, upload_id)
    return reply(upload, headers=_offset(upload))


@router.patch("/{upload_id}", status_code=204, openapi_extra=PIECE_BODY, summary="Send a piece")
async def send_piece(
    request: Request, caller: Caller, upload_id: RecordId, upload_offset: Annotated[int, Header(ge=0, le=2**53)]
) -> Response:
    """Bytes that were received are kept, even if the connection breaks in the middle of a piece."""
    try:
        piece = await caller.call(Piece, upload_id, upload_offset)
        await _receive(request, piece)
    except OffsetError as error:
        return error_response(error, request_id_of(request), {"upload-offset": str(error.offset)})
    return Response(status_code=204, headers={"upload-offset": str(piece.offset), "cache-control": "no-store"})


@router.post(
    "/{upload_id}/complete",
    status_code=201,
    response_model=Dataset,
    responses={200: {"model": Dataset, "description": "The dataset was created before."}},
    summary="Create the dataset from a complete upload",
)
async def complete_upload(caller: Caller, upload_id: RecordId, end: JsonBody[UploadEnd] = AS_STARTED) -> Response:
    """The request may be repeated: the dataset is created once."""
    dataset = await completed(caller, upload_id, end)
    return reply(dataset, 200 if dataset.is_duplicate else 201, {"location": f"/api/datasets/{dataset.id}"})


@router.delete("/{upload_id}", status_code=204, summary="Cancel an upload")
async def delete_upload(caller: Caller, upload_id: RecordId) -> Response:
    await caller.call(upload_sessions.remove, upload_id)
    return Response(status_code=204)


async def completed(caller: Caller, upload_id: str, end: UploadEnd) -> Dataset:
    """The dataset of an upload, also where another request is making it. Raises as `upload_sessions.complete` does."""
    deadline = time.monotonic() + BUSY_PATIENCE_S
    while (dataset := await caller.call(upload_sessions.complete, upload_id, end)) is None:
        if time.monotonic() > deadline:
            raise ServiceUnavailableError("Another request is still creating this dataset; try again.")
        await anyio.sleep(BUSY_POLL_S)
    return dataset


async def _receive(request: Request, piece: Piece) -> None:
    buffer = bytearray()
    try:
        async for data in file_chunks(request):
            buffer += data
            if len(buffer) >= PIECE_BYTES:
                await in_thread(piece.write, bytes(buffer))
                buffer.clear()
    except (ClientDisconnect, RateLimitError):
        await in_thread(piece.write, bytes(buffer))
        raise
    await in_thread(piece.write, bytes(buffer))


def _offset(upload: Upload) -> Mapping[str, str]:
    return {
        "upload-offset": str(upload.received_bytes),
        "upload-length": str(upload.size_bytes),
        "cache-control": "no-store",
    }
