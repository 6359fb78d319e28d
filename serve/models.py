"""`/api/models`: the models that completed jobs delivered."""

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from ftlab.schemas import Page, TunedModel
from serve import models_service
from serve.auth import current_owner
from serve.jobs import After, Limit, RecordId
from serve.replies import in_thread, reply
from serve.services import services_of

router = APIRouter(prefix="/api/models", tags=["models"])


@router.get("", response_model=Page[TunedModel], summary="List tuned models, newest first")
async def list_models(request: Request, after: After = None, limit: Limit = 20) -> Response:
    services, owner = services_of(request), current_owner(request)
    return reply(await in_thread(models_service.list_models, services, owner, after, limit))


@router.get("/{model_id}", response_model=TunedModel, summary="Get a tuned model")
async def get_model(request: Request, model_id: RecordId) -> Response:
    return reply(await in_thread(models_service.get, services_of(request), current_owner(request), model_id))
