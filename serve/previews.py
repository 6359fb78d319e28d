"""`/api/datasets/{id}/preview`: the first rows, before and after."""

from typing import Annotated

from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import Response

from ftlab.schemas.preview import DatasetPreview
from serve import previews_service
from serve.auth import current_owner
from serve.jobs import RecordId
from serve.replies import in_thread, reply
from serve.services import services_of

router = APIRouter(prefix="/api/datasets", tags=["datasets"])

Rows = Annotated[int, Query(ge=1, le=50, description="Rows to show.")]


@router.get("/{dataset_id}/preview", response_model=DatasetPreview, summary="The first rows, before and after")
async def preview_dataset(request: Request, dataset_id: RecordId, rows: Rows = 5) -> Response:
    """Each row as it stands in the uploaded file, and as it is trained on; long texts are cut."""
    services, owner = services_of(request), current_owner(request)
    return reply(await in_thread(previews_service.preview_dataset, services, owner, dataset_id, rows))
