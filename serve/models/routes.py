"""`/api/models`: the models that completed jobs delivered, and whether a model can be trained on."""

from fastapi import APIRouter
from starlette.responses import Response

from ftlab.schemas import ModelCheck, Page, TunedModel
from ftlab.schemas.requests import ModelReference
from serve.context import Caller
from serve.http.json_body import JsonBody, JsonRoute
from serve.http.query import After, Limit, RecordId
from serve.http.responses import reply
from serve.models import service

router = APIRouter(prefix="/api/models", tags=["models"], route_class=JsonRoute)


@router.get("", response_model=Page[TunedModel], summary="List tuned models, newest first")
async def list_models(caller: Caller, after: After = None, limit: Limit = 20) -> Response:
    return reply(await caller.call(service.list_models, after, limit))


@router.post("/check", response_model=ModelCheck, summary="Check a base model")
async def check_model(caller: Caller, reference: JsonBody[ModelReference]) -> Response:
    """What a job with this model would start from; an error where a submit would be refused for the model."""
    return reply(await service.check_model(caller.services, caller.owner, reference.model))


@router.get("/{model_id}", response_model=TunedModel, summary="Get a tuned model")
async def get_model(caller: Caller, model_id: RecordId) -> Response:
    return reply(await caller.call(service.get, model_id))
