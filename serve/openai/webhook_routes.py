"""`/v1/webhook_endpoints`: where the events of jobs are sent."""

from typing import Annotated

from fastapi import Path
from starlette.responses import Response

from serve.context import Caller
from serve.http.json_body import JsonBody
from serve.http.query import Limit
from serve.http.responses import reply
from serve.openai import webhooks
from serve.openai.objects import OpenAiDeleted, OpenAiEndpoint, OpenAiEndpointTest, OpenAiEventTypes, OpenAiList
from serve.openai.route import After, strict_router
from serve.openai.webhooks import ChangeEndpoint, CreateEndpoint, RotateSecret, TestEvent

router = strict_router("/v1")
AT_ONCE = RotateSecret()

EndpointId = Annotated[str, Path(max_length=100, description="`we_...`")]


@router.get("/webhook_event_types", response_model=OpenAiEventTypes, summary="List the events that are sent")
async def list_event_types(caller: Caller) -> Response:
    return reply(OpenAiEventTypes(data=list(webhooks.EVENT_TYPES)))


@router.post("/webhook_endpoints", response_model=OpenAiEndpoint, summary="Add a webhook endpoint")
async def create_endpoint(caller: Caller, body: JsonBody[CreateEndpoint]) -> Response:
    """The reply has the secret that signs the events, which is not shown again."""
    return reply(await caller.call(webhooks.create, body))


@router.get("/webhook_endpoints", response_model=OpenAiList[OpenAiEndpoint], summary="List webhook endpoints")
async def list_endpoints(caller: Caller, after: After = None, limit: Limit = 20) -> Response:
    return reply(await caller.call(webhooks.list_endpoints, after, limit))


@router.get("/webhook_endpoints/{endpoint}", response_model=OpenAiEndpoint, summary="Get a webhook endpoint")
async def get_endpoint(caller: Caller, endpoint: EndpointId) -> Response:
    return reply(await caller.call(webhooks.get, endpoint))


@router.post("/webhook_endpoints/{endpoint}", response_model=OpenAiEndpoint, summary="Change a webhook endpoint")
async def change_endpoint(caller: Caller, endpoint: EndpointId, body: JsonBody[ChangeEndpoint]) -> Response:
    """Also switches it on again, if it was switched off because it failed for days."""
    return reply(await caller.call(webhooks.change, endpoint, body))


@router.delete("/webhook_endpoints/{endpoint}", response_model=OpenAiDeleted, summary="Delete a webhook endpoint")
async def delete_endpoint(caller: Caller, endpoint: EndpointId) -> Response:
    return reply(await caller.call(webhooks.delete, endpoint))


@router.post("/webhook_endpoints/{endpoint}/rotate_secret", response_model=OpenAiEndpoint, summary="Replace a secret")
async def rotate_secret(caller: Caller, endpoint: EndpointId, body: JsonBody[RotateSecret] = AT_ONCE) -> Response:
    """The reply has the new secret. The old one is not used any more."""
    return reply(await caller.call(webhooks.rotate, endpoint, body))


@router.post("/webhook_endpoints/{endpoint}/test", response_model=OpenAiEndpointTest, summary="Send a test event")
async def test_endpoint(caller: Caller, endpoint: EndpointId, body: JsonBody[TestEvent]) -> Response:
    """The reply is sent after the receiver has answered; `400` unless that is with a status of 200 to 299."""
    return reply(await caller.call(webhooks.test, endpoint, body))
