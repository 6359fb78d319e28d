"""JSON schemas of the tools' arguments, and of the settings of a job group by group."""

from collections.abc import Iterable
from functools import cache
from typing import Any

from ftlab.errors import InvalidRequestError
from ftlab.schemas import JobConfig
from ftlab.schemas.common import StrictModel, did_you_mean
from ftlab.schemas.field_texts import add_descriptions
from ftlab.schemas.methods import METHODS

GROUPS: dict[str, str] = {
    "job": "JobConfig",
    "lora": "LoraConfig",
    "training": "TrainingConfig",
    "resources": "Resources",
    **{method.model_fields["type"].default: method.__name__ for method in METHODS},
}
"""Groups of settings, and the classes that define them; a method is one of the forms of the group `method`."""
_GROUPS_OF_A_JOB = ("lora", "training", "resources", "method")


def arguments_schema(arguments: type[StrictModel]) -> dict[str, Any]:
    """The JSON schema of a tool's arguments. That of a config names the settings of a job and its groups."""
    schema = arguments.model_json_schema()
    add_descriptions({arguments.__name__: schema})
    schema.pop("description", None)
    if "config" in schema.get("properties", {}):
        config = schema["properties"]["config"]
        config["properties"] = _short_settings()
    found: dict[str, Any] = _simplified(schema)
    return found


def settings_schema(group: str) -> dict[str, Any]:
    """The JSON schema of a group of settings, with the meaning of each. Raises `InvalidRequestError`."""
    if group not in GROUPS:
        hint = did_you_mean(group, list(GROUPS))
        raise InvalidRequestError(
            f"{group!r} is not a group of settings.{hint} The groups are {', '.join(GROUPS)}.",
            "invalid_parameter",
            "group",
        )
    if group == "job":
        return {"properties": _short_settings(), "required": _job_schema()["required"]}
    definitions = _job_schema()["$defs"]
    schema = definitions[GROUPS[group]]
    nested = {name: definitions[name] for name in _references(schema, definitions)}
    found: dict[str, Any] = _simplified(schema | ({"$defs": nested} if nested else {}))
    return found


@cache
def _job_schema() -> dict[str, Any]:
    schema = JobConfig.model_json_schema()
    add_descriptions({"JobConfig": schema, **schema["$defs"]})
    return schema


@cache
def _short_settings() -> dict[str, Any]:
    """The settings of a job; a group is described by the names of its settings."""
    schema = _job_schema()
    found = {}
    for name, field in schema["properties"].items():
        if name in _GROUPS_OF_A_JOB:
            found[name] = {"type": "object", "description": _group_text(name, schema["$defs"])}
        else:
            found[name] = field
    settings: dict[str, Any] = _simplified(found)
    return settings


def _group_text(name: str, definitions: dict[str, Any]) -> str:
    if name == "method":
        types = [group for group in GROUPS if group not in ("job", *_GROUPS_OF_A_JOB)]
        return f"Training method: `type` is one of {', '.join(types)} (default sft); describe_settings has the rest."
    return f"Settings: {', '.join(definitions[GROUPS[name]]['properties'])}."


def _references(schema: Any, definitions: dict[str, Any], seen: tuple[str, ...] = ()) -> Iterable[str]:
    """The names of all definitions that a schema refers to, directly or through another one."""
    if isinstance(schema, dict):
        name = str(schema.get("$ref", "")).removeprefix("#/$defs/")
        if name and name not in seen:
            return {name, *_references(definitions[name], definitions, (*seen, name))}
    children = schema.values() if isinstance(schema, dict) else schema if isinstance(schema, list) else ()
    return {name for child in children for name in _references(child, definitions, seen)}


def _simplified(schema: Any) -> Any:
    """The schema without what a model does not need: titles that repeat names, and `null` for what may be left out."""
    if isinstance(schema, list):
        return [_simplified(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    found = {name: _simplified(item) for name, item in schema.items() if not _is_noise(name, item)}
    kinds = [kind for kind in found.get("anyOf", ()) if kind != {"type": "null"}]
    if len(kinds) == 1:
        return kinds[0] | {name: item for name, item in found.items() if name != "anyOf"}
    return found | {"anyOf": kinds} if kinds else found


def _is_noise(name: str, item: Any) -> bool:
    return (name == "title" and isinstance(item, str)) or (name == "default" and item is None)
