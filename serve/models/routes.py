"""`/api/models`: the models that completed jobs delivered, and whether a model can be trained on."""

import re
from pathlib import Path
from typing import Any

from fastapi import APIRouter
from starlette.responses import Response

from ftlab.errors import FineTuneLabError
from ftlab.files import free_bytes
from ftlab.model_ref import ModelRef, parse_model_ref
from ftlab.schemas import ModelCheck, Page, TunedModel
from ftlab.schemas.replies import ModelPrune
from ftlab.schemas.requests import ModelChange, ModelReference, ModelRule
from ftlab.settings import Settings
from serve.context import Caller, Services
from serve.http.json_body import JsonBody, JsonRoute
from serve.http.query import After, Limit, RecordId
from serve.http.responses import in_thread, reply, to_page
from serve.models import deletion
from serve.models.base_model import UNCHECKED, Tuned, ask_huggingface, check, find_tuned
from train.model.base_model import base_of_adapter
from train.model.files import ModelFacts
from train.model.folder import adapter_size, facts_of

router = APIRouter(prefix="/api/models", tags=["models"], route_class=JsonRoute)

_COMMIT = re.compile(r"[0-9a-f]{40}")


@router.get("", response_model=Page[TunedModel], summary="List tuned models, newest first")
async def list_models(caller: Caller, after: After = None, limit: Limit = 20) -> Response:
    return reply(await caller.call(find_models, after, limit))


@router.post("/check", response_model=ModelCheck, summary="Check a base model")
async def check_model(caller: Caller, reference: JsonBody[ModelReference]) -> Response:
    """What a job with this model would start from; an error where a submission would be refused for the model."""
    return reply(await check_reference(caller, reference.model))


@router.post("/prune", response_model=ModelPrune, summary="Delete tuned models by a rule")
async def prune_models(caller: Caller, rule: JsonBody[ModelRule]) -> Response:
    """Those that are old enough, except the newest and the best of each base model, those of jobs with a pinned
    checkpoint, and those that are still needed. With `dry_run`, nothing is deleted."""
    return reply(await caller.call(deletion.prune, rule))


@router.get("/{model_id}", response_model=TunedModel, summary="Get a tuned model")
async def get_model(caller: Caller, model_id: RecordId) -> Response:
    return reply(await caller.call(find_model, model_id))


@router.patch("/{model_id}", response_model=TunedModel, summary="Pin a tuned model, or take the pin off")
async def change_model(caller: Caller, model_id: RecordId, change: JsonBody[ModelChange]) -> Response:
    """A pinned model stays: neither a rule nor a delete removes it, and its job cannot be deleted."""
    return reply(await caller.call(set_pinned, model_id, change.is_pinned))


def find_models(services: Services, owner: str, after: str | None, limit: int) -> Page[TunedModel]:
    """Blocks on the store."""
    with services.store.read() as tx:
        records = tx.models.list(owner=owner, after=after, limit=limit + 1)
    return to_page([TunedModel.of(record) for record in records], limit)


def find_model(services: Services, owner: str, model_id: str) -> TunedModel:
    """Blocks on the store."""
    with services.store.read() as tx:
        return TunedModel.of(tx.models.resolve(model_id, owner=owner))


def set_pinned(services: Services, owner: str, model_id: str, is_pinned: bool) -> TunedModel:
    """Blocks on the store. Raise `NotFoundError`."""
    with services.store.read() as tx:
        found = tx.models.resolve(model_id, owner=owner)
    with services.store.begin() as tx:
        tx.checkpoints.lock(found.job_id)  # a deletion holds the job
        tx.models.get(found.id)
        tx.models.set_pinned(found.id, is_pinned)
        return TunedModel.of(tx.models.get(found.id))


async def check_reference(caller: Caller, text: str) -> ModelCheck:
    """What a job with this model would start from. Raises what a submission raises."""
    ref = parse_model_ref(text)
    if ref.kind in ("hub", "path"):
        return await _check_base(caller.services, text)
    tuned = await caller.call(_find_tuned, ref)
    own_bytes = await in_thread(adapter_size, tuned.folder)
    if own_bytes is None:
        return await in_thread(_report_folder, str(tuned.ref), tuned.ref.kind, tuned.folder)
    try:
        below = await _check_base_of(caller.services, tuned)
    except FineTuneLabError as error:
        raise type(error)(f"The adapter's base model: {error.message}", error.code, "model") from None
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


async def _check_base_of(services: Services, adapter: Tuned) -> ModelCheck:
    """The base model of an adapter, at the revision that it was trained on."""
    if (base := adapter.local_base) is not None:
        return await in_thread(_report_folder, base.name, "path", base.folder)
    name = await in_thread(base_of_adapter, adapter.folder)
    assert name is not None
    if not name.startswith("/") and _COMMIT.fullmatch(adapter.base_revision or ""):
        name = f"{name}@{adapter.base_revision}"
    return await _check_base(services, name)


async def _check_base(services: Services, text: str) -> ModelCheck:
    answer = await ask_huggingface(services, text)
    checked = await in_thread(check, text, services.settings, answer)
    report = ModelCheck(
        model=str(checked.ref),
        kind=checked.ref.kind,
        is_checked=not answer.is_away,
        is_local=checked.is_here,
        revision=checked.revision,
        base_model=checked.base,
        warnings=[UNCHECKED] if answer.is_away else [],
    )
    if checked.facts is None:
        return report
    size_bytes = checked.facts.size_bytes + (checked.adapter.size_bytes if checked.adapter else 0)
    shortage = [] if checked.is_here else _shortage(services.settings, size_bytes)
    return report.model_copy(update=_described(checked.facts, shortage) | {"size_bytes": size_bytes})


def _find_tuned(services: Services, owner: str, ref: ModelRef) -> Tuned:
    with services.store.read() as tx:
        tuned = find_tuned(ref, tx, services.settings, owner)
    assert tuned is not None
    return tuned


def _report_folder(name: str, kind: str, folder: Path) -> ModelCheck:
    report = ModelCheck(model=name, kind=kind, is_checked=True, is_local=True)
    return report.model_copy(update=_described(facts_of(folder), []))


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
