"""`/v1/fine_tuning/checkpoints/{checkpoint}/permissions`: refused, as checkpoints cannot be shared here."""

from typing import Annotated, NoReturn

from fastapi import APIRouter, Path

from ftlab.errors import InvalidRequestError
from serve.context import Caller, Services
from serve.openai.names import find_tuned
from serve.openai.route import OpenAiRoute

router = APIRouter(
    prefix="/v1/fine_tuning/checkpoints/{checkpoint}/permissions", tags=["OpenAI-compatible"], route_class=OpenAiRoute
)

Checkpoint = Annotated[str, Path(max_length=600, description="`ft:...`, or `ft:...:ckpt-step-N`.")]
REFUSED = "Refused: checkpoints cannot be shared"


@router.get("", status_code=400, response_model=None, response_description=REFUSED, summary=REFUSED)
async def list_permissions(caller: Caller, checkpoint: Checkpoint) -> NoReturn:
    """`400` with code `sharing_not_supported`; `404` for a model that you do not have."""
    await caller.call(refuse_sharing, checkpoint)


@router.post("", status_code=400, response_model=None, response_description=REFUSED, summary=REFUSED)
async def create_permissions(caller: Caller, checkpoint: Checkpoint) -> NoReturn:
    """`400` with code `sharing_not_supported`; `404` for a model that you do not have."""
    await caller.call(refuse_sharing, checkpoint)


@router.delete("/{permission}", status_code=400, response_model=None, response_description=REFUSED, summary=REFUSED)
async def delete_permission(caller: Caller, checkpoint: Checkpoint, permission: str) -> NoReturn:
    """`400` with code `sharing_not_supported`; `404` for a model that you do not have."""
    await caller.call(refuse_sharing, checkpoint)


def refuse_sharing(services: Services, owner: str, checkpoint: str) -> NoReturn:
    """Raise `NotFoundError` (`model_not_found`) unless the owner has the model, then `InvalidRequestError`."""
    with services.store.read() as tx:
        find_tuned(tx, owner, checkpoint)
    raise InvalidRequestError(
        "A model is its owner's alone, and cannot be shared with other users: download it, or have an admin submit the "
        "other user's job for its owner.",
        "sharing_not_supported",
    )
