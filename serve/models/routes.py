"""`/api/models`: the models that completed jobs delivered, and whether a model can be trained on."""

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from ftlab.schemas import ModelCheck, Page, TunedModel
from ftlab.schemas.requests import ModelReference
from serve.context import services_of
from serve.http.caller import current_owner
from serve.http.json_body import read_object, validate
from serve.http.openapi import body_of
from serve.http.query import After, Limit, RecordId
from serve.http.responses import in_thread, reply
from serve.models import service

router = APIRouter(prefix="/api/models", tags=["models"])


@router.get("", response_model=Page[TunedModel], summary="List tuned models, newest first")
async def list_models(request: Request, after: After = None, limit: Limit = 20) -> Response:
    services, owner = services_of(request), current_owner(request)
    return reply(await in_thread(service.list_models, services, owner, after, limit))


@router.post("/check", response_model=ModelCheck, openapi_extra=body_of(ModelReference), summary="Check a base model")
async def check_model(request: Request) -> Response:
    """What a job with this model would start from; an error where a submit would be refused for the model."""
    wanted = validate(ModelReference, await read_object(request))
    services, owner = services_of(request), current_owner(request)
    return reply(await service.check_model(services, owner, wanted.model))


@router.get("/{model_id}", response_model=TunedModel, summary="Get a tuned model")
async def get_model(request: Request, model_id: RecordId) -> Response:
    return reply(await in_thread(service.get, services_of(request), current_owner(request), model_id))
