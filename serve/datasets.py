"""`/api/datasets`: upload, list, look at, download and delete datasets."""

from typing import Annotated

from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import FileResponse, Response

from ftlab.schemas import Dataset, Page
from ftlab.schemas.common import Name
from serve import datasets_service
from serve.auth import current_owner
from serve.datasets_service import SOURCE, Bucket
from serve.jobs import After, Limit, RecordId
from serve.middleware import MULTIPART_OVERHEAD_BYTES
from serve.openapi import FILE_BODY
from serve.replies import in_thread, reply
from serve.services import services_of
from serve.upload import receive

router = APIRouter(prefix="/api/datasets", tags=["datasets"])


@router.post("", status_code=201, response_model=Dataset, openapi_extra=FILE_BODY, summary="Upload a dataset")
async def create_dataset(
    request: Request,
    name: Annotated[Name | None, Query(description="Name to show; default: the file's name.")] = None,
    bucket: Bucket = Bucket.TRAINING_FILES,
) -> Response:
    """A `.jsonl` or `.json` file of chat messages, ShareGPT, Alpaca or prompt/completion rows."""
    services, owner = services_of(request), current_owner(request)
    declared = request.headers.get("content-length", "")
    num_bytes = max(0, int(declared[:20]) - MULTIPART_OVERHEAD_BYTES) if declared.isdecimal() else 0
    folder = await in_thread(datasets_service.make_incoming, services, owner, bucket, num_bytes)
    try:
        upload = await receive(request, folder / SOURCE, services.settings.max_upload_bytes)
    except BaseException:
        datasets_service.discard(folder)
        raise
    dataset = await in_thread(datasets_service.accept, services, owner, bucket, upload, name)
    return reply(dataset, 201, {"location": f"/api/datasets/{dataset.id}"})


@router.get("", response_model=Page[Dataset], summary="List datasets, newest first")
async def list_datasets(request: Request, after: After = None, limit: Limit = 20) -> Response:
    services, owner = services_of(request), current_owner(request)
    return reply(await in_thread(datasets_service.list_datasets, services, owner, after, limit))


@router.get("/{dataset_id}", response_model=Dataset, summary="Get a dataset")
async def get_dataset(request: Request, dataset_id: RecordId) -> Response:
    services, owner = services_of(request), current_owner(request)
    return reply(await in_thread(datasets_service.get, services, owner, dataset_id))


@router.delete("/{dataset_id}", status_code=204, summary="Delete a dataset that no waiting or running job uses")
async def delete_dataset(request: Request, dataset_id: RecordId) -> Response:
    await in_thread(datasets_service.remove, services_of(request), current_owner(request), dataset_id)
    return Response(status_code=204)


@router.get("/{dataset_id}/content", response_class=FileResponse, summary="Download the file as it was uploaded")
async def get_content(request: Request, dataset_id: RecordId) -> Response:
    services, owner = services_of(request), current_owner(request)
    path, name = await in_thread(datasets_service.content, services, owner, dataset_id)
    return FileResponse(path, media_type="application/octet-stream", filename=name)
