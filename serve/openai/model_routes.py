"""`/v1/models`: the names that a job can be given as its base model."""

from typing import Annotated

from fastapi import Path
from starlette.responses import Response

from serve.context import Caller
from serve.http.responses import reply
from serve.jobs.changes.deletion import when_released
from serve.openai import models
from serve.openai.objects import OpenAiDeleted, OpenAiList, OpenAiModel
from serve.openai.route import strict_router

router = strict_router("/v1/models")

ModelName = Annotated[str, Path(max_length=600, description="`ft:...`, or the name of a base model.")]


@router.get("", response_model=OpenAiList[OpenAiModel], summary="List models")
async def list_models(caller: Caller) -> Response:
    """Models that your jobs delivered, each with the checkpoints of its job, and the base models of this service."""
    return reply(await caller.call(models.list_models))


@router.get("/{model:path}", response_model=OpenAiModel, summary="Get a model")
async def get_model(caller: Caller, model: ModelName) -> Response:
    """The name may contain a slash. Checkpoints (`ft:...:ckpt-step-N`) of jobs without a model can be got, but are not
    listed."""
    return reply(await caller.call(models.get_model, model))


@router.delete("/{model:path}", response_model=OpenAiDeleted, summary="Delete a fine-tuned model")
async def delete_model(caller: Caller, model: ModelName) -> Response:
    """The job, its record and its checkpoints stay; a base model cannot be deleted here."""
    return reply(await when_released(caller, models.delete_model, model))
