"""`/api/datasets`: upload, list, look at, download, move and delete datasets."""

from anyio import CancelScope
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from ftlab.schemas import Dataset, Page, SignedUrl
from ftlab.schemas.requests import DatasetMove, UrlRequest
from serve.accounts.quotas import check_upload
from serve.context import services_of
from serve.datasets import intake, service
from serve.datasets.content import content_response
from serve.datasets.intake import SOURCE
from serve.datasets.options import DatasetOptions, QueryOptions
from serve.datasets.receive import receive
from serve.http.caller import current_owner
from serve.http.json_body import read_object, read_optional_object, validate
from serve.http.middleware import MULTIPART_OVERHEAD_BYTES
from serve.http.openapi import FILE_BODY, body_of
from serve.http.query import After, Limit, RecordId
from serve.http.responses import in_thread, reply

router = APIRouter(prefix="/api/datasets", tags=["datasets"])
downloads = APIRouter(prefix=service.DOWNLOADS, tags=["datasets"])


@router.post("", status_code=201, response_model=Dataset, openapi_extra=FILE_BODY, summary="Upload a dataset")
async def create_dataset(request: Request, options: QueryOptions) -> Response:
    """A file of rows in any of the formats and shapes, as one form field or as the body."""
    return await _upload(request, options)


@router.put("", status_code=201, response_model=Dataset, openapi_extra=FILE_BODY, summary="Upload a dataset, as PUT")
async def put_dataset(request: Request, options: QueryOptions) -> Response:
    """The same: there is a new dataset each time."""
    return await _upload(request, options)


@router.get("", response_model=Page[Dataset], summary="List datasets, newest first")
async def list_datasets(request: Request, after: After = None, limit: Limit = 20) -> Response:
    services, owner = services_of(request), current_owner(request)
    return reply(await in_thread(service.list_datasets, services, owner, after, limit))


@router.get("/{dataset_id}", response_model=Dataset, summary="Get a dataset")
async def get_dataset(request: Request, dataset_id: RecordId) -> Response:
    services, owner = services_of(request), current_owner(request)
    return reply(await in_thread(service.get, services, owner, dataset_id))


@router.delete("/{dataset_id}", status_code=204, summary="Delete a dataset that no waiting or running job uses")
async def delete_dataset(request: Request, dataset_id: RecordId) -> Response:
    await in_thread(service.remove, services_of(request), current_owner(request), dataset_id)
    return Response(status_code=204)


@router.head("/{dataset_id}/content", include_in_schema=False)
@router.get("/{dataset_id}/content", response_class=StreamingResponse, summary="Download the file as it was uploaded")
async def get_content(request: Request, dataset_id: RecordId) -> Response:
    """`Range` and `If-Range` resume a download that was cut."""
    services, owner = services_of(request), current_owner(request)
    return content_response(request, await in_thread(service.content, services, owner, dataset_id))


@router.post(
    "/{dataset_id}/move", response_model=Dataset, openapi_extra=body_of(DatasetMove), summary="Move to another bucket"
)
async def move_dataset(request: Request, dataset_id: RecordId) -> Response:
    """Its id stays. Answered when the files are there."""
    body = validate(DatasetMove, await read_object(request))
    services, owner = services_of(request), current_owner(request)
    return reply(await in_thread(service.move, services, owner, dataset_id, body.bucket))


@router.post(
    "/{dataset_id}/url",
    response_model=SignedUrl,
    openapi_extra=body_of(UrlRequest, required=False),
    summary="Make a URL at which anybody can download the file for a while",
)
async def create_url(request: Request, dataset_id: RecordId) -> Response:
    body = validate(UrlRequest, await read_optional_object(request))
    services, owner = services_of(request), current_owner(request)
    base_url = str(request.base_url)
    return reply(await in_thread(service.signed_url, services, owner, dataset_id, body.expires_s, base_url))


@downloads.head("/{token}", include_in_schema=False)
@downloads.get("/{token}", response_class=StreamingResponse, summary="Download what a signed URL stands for")
async def get_signed(request: Request, token: str) -> Response:
    """Needs no key: who has the URL may download, until it expires."""
    return content_response(request, await in_thread(service.signed_content, services_of(request), token))


async def _upload(request: Request, options: DatasetOptions) -> Response:
    services, owner = services_of(request), current_owner(request)
    declared = request.headers.get("content-length", "")
    num_bytes = max(0, int(declared[:20]) - MULTIPART_OVERHEAD_BYTES) if declared.isdecimal() else 0
    folder = await in_thread(intake.make_incoming, services, owner, options, num_bytes)
    try:
        upload = await receive(request, folder / SOURCE, services.settings.max_upload_bytes)
        dataset = await in_thread(
            intake.accept,
            services,
            owner,
            upload,
            options,
            lambda tx, _: check_upload(tx, services.settings, owner, upload.size_bytes),
        )
    finally:
        # Also for a request that is given up: the file may be large, and to remove it takes a while.
        with CancelScope(shield=True):
            await in_thread(intake.discard, folder)
    return reply(dataset, 201, {"location": f"/api/datasets/{dataset.id}"})
