"""Job configs that set every setting to a value other than its default, generated from the schema."""

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ftlab.errors import InvalidRequestError
from ftlab.schemas import JobConfig
from ftlab.schemas.job_file import parse_job_config

Schema = dict[str, Any]


@dataclass(frozen=True)
class Setting:
    """One setting, and values that may fit. `path` includes the method that the setting belongs to."""

    path: tuple[str, ...]
    values: tuple[Any, ...]
    variant: Mapping[tuple[str, ...], Any]
    """Discriminators of the unions that it is inside of, and what these require, by path."""


def configs_with_every_setting(chosen: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Valid configs; every setting has a value other than its default in at least one of them.

    Several are needed, as some settings exclude each other. `chosen` has values by dotted name, which come first where
    they fit, for settings that must name something that exists; required ones are in every config. A setting that fits
    no config is an `AssertionError`.
    """
    schema = JobConfig.model_json_schema()
    pending = list(_settings(schema, schema["$defs"], (), {}))
    unknown = chosen.keys() - {".".join(setting.path) for setting in pending}
    assert not unknown, f"there is no setting {unknown}"
    configs = []
    while pending:
        document = {name: chosen[name] for name in schema["required"]}
        left = []
        for setting in pending:
            name = ".".join(setting.path)
            values = (chosen[name], *setting.values) if name in chosen else setting.values
            document, is_set = _with(document, setting, values)
            left += [] if is_set else [setting]
        assert len(left) < len(pending), f"no value fits {['.'.join(setting.path) for setting in left]}"
        configs.append(document)
        pending = left
    return configs


def _with(document: dict[str, Any], setting: Setting, values: tuple[Any, ...]) -> tuple[dict[str, Any], bool]:
    """The document with the first of the values that makes it a valid config; as it was where none does."""
    for value in values:
        trial = copy.deepcopy(document)
        for path, assigned in (*setting.variant.items(), (setting.path, value)):
            place = trial
            for part in path[:-1]:
                place = place.setdefault(part, {})
            place[path[-1]] = assigned
        try:
            parse_job_config(trial)
        except InvalidRequestError:
            continue
        return trial, True
    return document, False


def _settings(
    schema: Schema, definitions: Schema, path: tuple[str, ...], variant: Mapping[tuple[str, ...], Any]
) -> Iterator[Setting]:
    for name, field in schema["properties"].items():
        here = (*path, name)
        groups = [_resolved(branch, definitions) for branch in field.get("oneOf", ())]
        if groups and all("properties" in group for group in groups):
            for group in groups:
                given = {(*here, key): value for key, value in _required(group, definitions).items()}
                yield from _settings(group, definitions, here, {**variant, **given})
            continue
        group = _resolved(field, definitions)
        if "properties" in group:
            yield from _settings(group, definitions, here, variant)
        elif "const" not in group:
            values = tuple(value for value in _values(group, definitions) if value != field.get("default"))
            yield Setting(here, values, variant)


def _values(schema: Schema, definitions: Schema) -> Iterator[Any]:
    """Values that may fit the schema."""
    schema = _resolved(schema, definitions)
    for branch in (*schema.get("anyOf", ()), *schema.get("oneOf", ())):
        yield from _values(branch, definitions)
    yield from schema.get("enum", ())
    yield from (schema["const"],) if "const" in schema else ()
    lowest = schema.get("minimum", schema.get("exclusiveMinimum", 0))
    match schema.get("type"):
        case "boolean":
            yield from (True, False)
        case "integer":
            yield from (lowest + 7, lowest + 1, lowest, lowest + 1000)
        case "number":
            yield from (1 / 3, lowest + 1 / 3, lowest + 1.5)
        case "string":
            yield from ("no", "word")
        case "array":
            first = next(_values(schema["items"], definitions))
            yield from ([first, "q_proj: #1"], [first])
        case "object" if "properties" in schema:
            yield _required(schema, definitions)


def _required(group: Schema, definitions: Schema) -> dict[str, Any]:
    """The discriminator of a branch of a union, and a value for every field that it requires."""
    names = ["type", *group.get("required", ())]
    properties = group["properties"]
    return {name: _value(properties[name], definitions) for name in dict.fromkeys(names)}


def _value(schema: Schema, definitions: Schema) -> Any:
    """A value for a required field; of a list, one with a single item."""
    values = _values(schema, definitions)
    return [*values][-1] if schema.get("type") == "array" else next(values)


def _resolved(schema: Schema, definitions: Schema) -> Schema:
    reference = schema.get("$ref")
    return definitions[reference.rpartition("/")[2]] if reference else schema
