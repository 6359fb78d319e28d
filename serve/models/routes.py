"""`/api/models`: the models that completed jobs delivered, and whether a model can be trained on."""

import json
import re
from typing import Any

from fastapi import APIRouter
from starlette.responses import Response

from ftlab.errors import FineTuneLabError, NotFoundError
from ftlab.files import free_bytes
from ftlab.model_ref import ModelRef, parse_model_ref
from ftlab.schemas import ModelCheck, Page, TunedModel
from ftlab.schemas.requests import ModelReference
from ftlab.settings import Settings
from serve.context import Caller, Services
from serve.http.json_body import JsonBody, JsonRoute
from serve.http.query import After, Limit, RecordId
from serve.http.responses import in_thread, reply, to_page
from serve.models.base_model import UNCHECKED, Tuned, ask_huggingface, check, find_tuned
from train.model.files import ADAPTER_CONFIG, MAX_SMALL_BYTES, ModelFacts
from train.model.folder import FolderFiles, adapter_size, facts_of

router = APIRouter(prefix="/api/models", tags=["models"], route_class=JsonRoute)

_COMMIT = re.compile(r"[0-9a-f]{40}")


@router.get("", response_model=Page[TunedModel], summary="List tuned models, newest first")
async def list_models(caller: Caller, after: After = None, limit: Limit = 20) -> Response:
    return reply(await caller.call(find_models, after, limit))


@router.post("/check", response_model=ModelCheck, summary="Check a base model")
async def check_model(caller: Caller, reference: JsonBody[ModelReference]) -> Response:
    """What a job with this model would start from; an error where a submit would be refused for the model."""
    return reply(await check_reference(caller, reference.model))


@router.get("/{model_id}", response_model=TunedModel, summary="Get a tuned model")
async def get_model(caller: Caller, model_id: RecordId) -> Response:
    return reply(await caller.call(find_model, model_id))


def find_models(services: Services, owner: str, after: str | None, limit: int) -> Page[TunedModel]:
    """Blocks on the store."""
    with services.store.read() as tx:
        records = tx.models.list(owner=owner, after=after, limit=limit + 1)
    return to_page([TunedModel.of(record) for record in records], limit)


def find_model(services: Services, owner: str, model_id: str) -> TunedModel:
    """Blocks on the store."""
    with services.store.read() as tx:
        return TunedModel.of(tx.models.resolve(model_id, owner=owner))


async def check_reference(caller: Caller, text: str) -> ModelCheck:
    """What a job with this model would start from. Raises what a submit raises."""
    ref = parse_model_ref(text)
    if ref.kind in ("hub", "path"):
        return await _check_base(caller.services, text)
    tuned = await caller.call(_find_tuned, ref)
    base = await in_thread(_base_of, tuned)
    if base is None:
        return await in_thread(_report_full, tuned)
    try:
        below = await _check_base(caller.services, base)
    except FineTuneLabError as error:
        raise type(error)(f"The adapter's base model: {error.message}", error.code, "model") from None
    own_bytes = adapter_size(tuned.folder) or 0
    known = {"size_bytes": below.size_bytes + own_bytes} if below.size_bytes is not None else {}
    return below.model_copy(
        update={
            "model": str(tuned.ref),
            "kind": tuned.ref.kind,
            "base_model": below.model,
            "revision": tuned.base_revision,
            **known,
        }
    )


async def _check_base(services: Services, text: str) -> ModelCheck:
    answer = await ask_huggingface(services, text)
    checked = await in_thread(check, text, services.settings, answer)
    report = ModelCheck(
        model=str(checked.ref),
        kind=checked.ref.kind,
        is_checked=not answer.is_away,
        is_local=checked.is_here,
        revision=checked.revision,
        warnings=[UNCHECKED] if answer.is_away else [],
    )
    if checked.facts is None:
        return report
    shortage = [] if checked.is_here else _shortage(services.settings, checked.facts.size_bytes)
    return report.model_copy(update=_described(checked.facts, shortage))


def _find_tuned(services: Services, owner: str, ref: ModelRef) -> Tuned:
    with services.store.read() as tx:
        tuned = find_tuned(ref, tx, services.settings, owner)
    assert tuned is not None
    return tuned


def _base_of(tuned: Tuned) -> str | None:
    """Reference of an adapter's base model, at the revision that it was trained on; `None` for a full model."""
    if adapter_size(tuned.folder) is None:
        return None
    try:
        config = json.loads(FolderFiles(tuned.folder).read(ADAPTER_CONFIG, MAX_SMALL_BYTES))
        name = str(config["base_model_name_or_path"])
    except (OSError, ValueError, KeyError, TypeError):
        raise NotFoundError("The adapter's files do not name its base model.", "model_not_found", "model") from None
    if not name.startswith("/") and _COMMIT.fullmatch(tuned.base_revision or ""):
        return f"{name}@{tuned.base_revision}"
    return name


def _report_full(tuned: Tuned) -> ModelCheck:
    report = ModelCheck(model=str(tuned.ref), kind=tuned.ref.kind, is_checked=True, is_local=True)
    return report.model_copy(update=_described(facts_of(tuned.folder), []))


def _described(facts: ModelFacts, warnings: list[str]) -> dict[str, Any]:
    """The fields of a `ModelCheck` that describe the model."""
    found = {name: value for name, value in vars(facts).items() if name in ModelCheck.model_fields}
    if facts.layers is not None:
        found |= {"target_modules": facts.layers.linear_names, "max_positions": facts.layers.max_positions}
    return found | {"warnings": [*facts.warnings, *warnings]}


def _shortage(settings: Settings, size_bytes: int) -> list[str]:
    free = free_bytes(settings.home)
    if size_bytes < free:
        return []
    return [f"Fetching the model takes {size_bytes:,} bytes, and the disk of the data folder has {free:,} free."]
