"""`/v1/chat/completions` and `/v1/completions`: answers of base models, tuned models and checkpoints."""

from starlette.requests import Request
from starlette.responses import Response

from ftlab.errors import InvalidRequestError, NotFoundError
from ftlab.schemas.chat import ChatCompletion, ChatRequest, CompletionRequest, TextCompletion
from serve.context import Caller
from serve.engines.proxy import forward
from serve.engines.targets import Target, find_target
from serve.http.json_body import JsonBody
from serve.models.base_model import ask_huggingface
from serve.openai.names import own_reference
from serve.openai.route import strict_router

router = strict_router("/v1")


@router.post("/chat/completions", response_model=ChatCompletion, summary="Answer a conversation")
async def create_chat_completion(request: Request, caller: Caller, body: JsonBody[ChatRequest]) -> Response:
    """The first request for a model starts its engine, a job of the queue; until it runs, the status is 503."""
    return await forward(caller, request, await _target(caller, body.model), "/v1/chat/completions", body)


@router.post("/completions", response_model=TextCompletion, summary="Continue a text")
async def create_completion(request: Request, caller: Caller, body: JsonBody[CompletionRequest]) -> Response:
    """The text is continued as it is, without the chat template of the model."""
    return await forward(caller, request, await _target(caller, body.model), "/v1/completions", body)


async def _target(caller: Caller, name: str) -> Target:
    try:
        reference = await caller.call(own_reference, name)
        answer = await ask_huggingface(caller.services, reference)
        return await caller.call(find_target, reference, answer)
    except InvalidRequestError as error:
        if error.code in ("model_not_found", "invalid_model_id"):
            raise NotFoundError(error.message, "model_not_found", "model") from None
        raise
