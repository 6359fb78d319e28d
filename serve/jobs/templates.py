"""`/api/templates`: built-in templates, and those of the caller. Functions that are not routes block on the store."""

import json
from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Path
from starlette.responses import Response

from ftlab.errors import ConflictError, InvalidRequestError, NotFoundError, RateLimitError
from ftlab.schemas import JobConfig
from ftlab.schemas.replies import TemplateList
from ftlab.schemas.requests import TemplateText
from ftlab.schemas.templates import (
    BUILT_IN,
    STAND_INS,
    Template,
    built_in_template,
    check_template_name,
    read_settings,
    summary_of,
    template_of,
)
from serve.context import Caller, Services
from serve.http.json_body import JsonBody, JsonRoute, parse_object, validate
from serve.http.responses import reply

MAX_TEMPLATES = 200
"""Templates that one owner may save. The list comes whole."""

router = APIRouter(prefix="/api/templates", tags=["templates"], route_class=JsonRoute)

TemplateName = Annotated[str, Path(max_length=200, description="The template's name.")]


@router.get("", response_model=TemplateList, summary="List templates: built-in ones, then yours")
async def list_templates(caller: Caller) -> Response:
    return reply(await caller.call(find_templates))


@router.get("/{name}", response_model=Template, summary="Get a template")
async def get_template(caller: Caller, name: TemplateName) -> Response:
    return reply(await caller.call(find_template, name))


@router.put("/{name}", response_model=Template, summary="Save a template of your own")
async def put_template(caller: Caller, name: TemplateName, template: JsonBody[TemplateText]) -> Response:
    """Replaces the text of your template with this name. A template is part of a job's config; `model` and `dataset`
    may be left out."""
    return reply(await caller.call(save_template, name, template.text))


@router.delete("/{name}", status_code=204, summary="Delete a template of your own")
async def delete_template(caller: Caller, name: TemplateName) -> Response:
    await caller.call(remove_template, name)
    return Response(status_code=204)


def find_templates(services: Services, owner: str) -> TemplateList:
    """All templates without their texts."""
    with services.store.read() as tx:
        own = tx.templates.list(owner=owner)
    built_in = [found for found in map(built_in_template, BUILT_IN) if found is not None]
    return TemplateList(
        data=[summary_of(found.name, found.text, None) for found in built_in]
        + [summary_of(found.name, found.text, owner, found.updated_at) for found in own]
    )


def find_template(services: Services, owner: str, name: str) -> Template:
    """The built-in template of this name, else the owner's. Raises `NotFoundError`."""
    if built_in := built_in_template(name):
        return built_in
    with services.store.read() as tx:
        found = tx.templates.find(name, owner=owner)
    if found is None:
        raise _not_found(name)
    return template_of(name, found.text, owner, found.updated_at)


def save_template(services: Services, owner: str, name: str, text: str) -> Template:
    """Save a text under a name.

    Raise `ConflictError` (`template_built_in`), `RateLimitError` (`quota_exceeded`), and `InvalidRequestError` for a
    name that is not allowed, or a text that is not a part of a job's config.
    """
    check_template_name(name)
    _refuse_built_in(name)
    _check(text)
    with services.store.begin() as tx:
        tx.quotas.lock(owner)  # two requests cannot both take the last place
        if tx.templates.find(name, owner=owner) is None and tx.templates.count(owner=owner) >= MAX_TEMPLATES:
            message = f"You have {MAX_TEMPLATES} templates, which is the limit; delete one first."
            raise RateLimitError(message, "quota_exceeded")
        record = tx.templates.save(owner, name, text, now=datetime.now(UTC))
    return template_of(name, text, owner, record.updated_at)


def remove_template(services: Services, owner: str, name: str) -> None:
    """Raise `NotFoundError`, and `ConflictError` (`template_built_in`)."""
    _refuse_built_in(name)
    with services.store.begin() as tx:
        if not tx.templates.delete(name, owner=owner):
            raise _not_found(name)


def _check(text: str) -> None:
    """Apply the rules for a job's body to the text. No error repeats what the text holds."""
    try:
        settings = read_settings(text, "text")
    except InvalidRequestError as error:
        place = error.message.partition(": ")[0] if error.message.startswith("text, ") else "text"
        raise InvalidRequestError(
            f"{place}: this is not YAML that a template may have; write one mapping of settings, without aliases, tags "
            "and repeated keys.",
            error.code,
            "text",
        ) from None
    document = json.dumps(STAND_INS | settings).encode()
    parse_object(document)
    validate(JobConfig, document)


def _refuse_built_in(name: str) -> None:
    if name in BUILT_IN:
        raise ConflictError(
            "This name belongs to a built-in template, which cannot be changed; choose another name.",
            "template_built_in",
            "name",
        )


def _not_found(name: str) -> NotFoundError:
    return NotFoundError(f"There is no template {name!r}.", "template_not_found", "name")
