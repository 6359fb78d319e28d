"""`/api/datasets`: upload, list, get, download, move and delete datasets."""

from collections.abc import Callable, Generator
from typing import Any

from anyio import CancelScope
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from ftlab.schemas import Dataset, Page, SignedUrl
from ftlab.schemas.requests import DatasetMove, UrlRequest
from serve.accounts.quotas import check_upload
from serve.context import Caller, services_of
from serve.datasets import intake, service
from serve.datasets.intake import SOURCE
from serve.datasets.options import DatasetOptions, QueryOptions
from serve.datasets.receive import Upload, declared_bytes, receive
from serve.datasets.service import Content
from serve.http.body_limit import MULTIPART_OVERHEAD_BYTES
from serve.http.json_body import JsonBody, JsonRoute
from serve.http.multipart import MultipartFile
from serve.http.openapi import FILE_BODY, PART
from serve.http.query import After, Limit, RecordId
from serve.http.ranges import CHUNK_BYTES, file_response
from serve.http.responses import in_thread, reply

router = APIRouter(prefix="/api/datasets", tags=["datasets"], route_class=JsonRoute)
FOR_A_DAY = UrlRequest()
KNOWN: dict[int | str, dict[str, Any]] = {
    200: {"model": Dataset, "description": "The dataset of the same file, with the same name and options, from before."}
}
downloads = APIRouter(prefix=service.DOWNLOADS, tags=["datasets"])


@router.post(
    "", status_code=201, response_model=Dataset, responses=KNOWN, openapi_extra=FILE_BODY, summary="Upload a dataset"
)
async def create_dataset(request: Request, caller: Caller, options: QueryOptions) -> Response:
    """A file of rows in any of the formats and shapes, as one form field or as the body.

    Replies 200 with the earlier dataset when the same file was uploaded before with the same name and options.
    """
    return await _upload(request, caller, options)


@router.put(
    "",
    status_code=201,
    response_model=Dataset,
    responses=KNOWN,
    openapi_extra=FILE_BODY,
    summary="Upload a dataset with PUT",
)
async def put_dataset(request: Request, caller: Caller, options: QueryOptions) -> Response:
    """The same as `POST /api/datasets`."""
    return await _upload(request, caller, options)


@router.get("", response_model=Page[Dataset], summary="List datasets, newest first")
async def list_datasets(caller: Caller, after: After = None, limit: Limit = 20) -> Response:
    return reply(await caller.call(service.list_datasets, after, limit))


@router.get("/{dataset_id}", response_model=Dataset, summary="Get a dataset")
async def get_dataset(caller: Caller, dataset_id: RecordId) -> Response:
    return reply(await caller.call(service.get, dataset_id))


@router.delete("/{dataset_id}", status_code=204, summary="Delete a dataset that no waiting or running job uses")
async def delete_dataset(caller: Caller, dataset_id: RecordId) -> Response:
    await caller.call(service.remove, dataset_id)
    return Response(status_code=204)


@router.head("/{dataset_id}/content", include_in_schema=False)
@router.get(
    "/{dataset_id}/content",
    response_class=StreamingResponse,
    responses=PART,
    summary="Download the file as it was uploaded",
)
async def get_content(request: Request, caller: Caller, dataset_id: RecordId) -> Response:
    """`Range` and `If-Range` resume a download that was cut."""
    return content_response(request, await caller.call(service.content, dataset_id))


@router.post("/{dataset_id}/move", response_model=Dataset, summary="Move a dataset to another bucket")
async def move_dataset(caller: Caller, dataset_id: RecordId, target: JsonBody[DatasetMove]) -> Response:
    """The dataset keeps its id. The reply is sent after the files have been moved."""
    return reply(await caller.call(service.move, dataset_id, target.bucket))


@router.post(
    "/{dataset_id}/url",
    response_model=SignedUrl,
    summary="Create a temporary URL at which anyone can download the file",
)
async def create_url(
    request: Request, caller: Caller, dataset_id: RecordId, body: JsonBody[UrlRequest] = FOR_A_DAY
) -> Response:
    return reply(await caller.call(service.signed_url, dataset_id, body.expires_s, str(request.base_url)))


@downloads.head("/{token}", include_in_schema=False)
@downloads.get(
    "/{token}", response_class=StreamingResponse, responses=PART, summary="Download the file of a signed URL"
)
async def get_signed(request: Request, token: str) -> Response:
    """No API key is needed: anyone who has the URL can download the file until it expires."""
    return content_response(request, await in_thread(service.signed_content, services_of(request), token))


async def _upload(request: Request, caller: Caller, options: DatasetOptions) -> Response:
    dataset = await uploaded(request, caller, options)
    return reply(dataset, 200 if dataset.is_duplicate else 201, {"location": f"/api/datasets/{dataset.id}"})


async def uploaded(
    request: Request,
    caller: Caller,
    options: DatasetOptions,
    form: MultipartFile | None = None,
    choose: Callable[[Upload], DatasetOptions] | None = None,
) -> Dataset:
    """Receive the request's file and make it a dataset. `choose` may look at the file for other options; it blocks."""
    services, owner = caller.services, caller.owner
    num_bytes = max(0, declared_bytes(request) - MULTIPART_OVERHEAD_BYTES)
    folder = await caller.call(intake.make_incoming, options, num_bytes)
    try:
        upload = await receive(request, folder / SOURCE, services.settings.max_upload_bytes, form)
        if choose is not None:
            options = await in_thread(choose, upload)
        return await caller.call(
            intake.accept,
            upload,
            options,
            lambda tx, _: check_upload(tx, services.settings, owner, upload.size_bytes),
        )
    finally:
        # Also when the request is cancelled: the file may be large, and removing it takes a while.
        with CancelScope(shield=True):
            await in_thread(intake.discard, folder)


def content_response(request: Request, content: Content) -> Response:
    """Send the file, or the part that is asked for; only the headers for HEAD."""

    def pieces(start: int, stop: int) -> Generator[bytes, None, None]:
        with content.storage.open(content.key) as file:
            file.seek(start)
            while start < stop and (piece := file.read(min(CHUNK_BYTES, stop - start))):
                start += len(piece)
                yield piece

    return file_response(request, pieces, num_bytes=content.num_bytes, etag=content.etag, filename=content.filename)
