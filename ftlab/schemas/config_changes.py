"""Changes of a config document: how they are given, what differs, and the way back."""

from collections.abc import Mapping, Sequence
from typing import Any

from ftlab.errors import InvalidRequestError
from ftlab.schemas.adjustments import Adjustment, Change
from ftlab.schemas.config import JobConfig
from ftlab.schemas.templates import merged

MAX_PATH_PARTS = 4
"""Longest path of a setting; those of a config have two parts."""


def nested(adjustments: Mapping[str, Any]) -> dict[str, Any]:
    """Adjustments as part of a config document; a key may be the path of a setting, such as `training.max_steps`.

    Raise `InvalidRequestError` (`invalid_body`) for an empty name and a path of more than `MAX_PATH_PARTS`, and
    (`invalid_config`) where a setting gets two values.
    """
    document: dict[str, Any] = {}
    for key, value in adjustments.items():
        *groups, field = key.split(".")
        if not all((*groups, field)) or len(groups) >= MAX_PATH_PARTS:
            raise InvalidRequestError(
                "config_adjustments has a name that is not the path of a setting; write it like "
                "'training.learning_rate'.",
                "invalid_body",
                "config_adjustments",
            )
        part: Any = nested(value) if isinstance(value, Mapping) else value
        part = {field: part}
        for group in reversed(groups):
            part = {group: part}
        _refuse_second_value(document, part, "")
        document = merged(document, part)
    return document


def flat(document: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Every setting of a config document by its path; `nested` is the way back."""
    found: dict[str, Any] = {}
    for name, value in document.items():
        found |= flat(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {f"{prefix}{name}": value}
    return found


def _refuse_second_value(document: Mapping[str, Any], part: Mapping[str, Any], path: str) -> None:
    """A path and a group may both name a setting."""
    for name in document.keys() & part.keys():
        one, other = document[name], part[name]
        if isinstance(one, Mapping) and isinstance(other, Mapping):
            _refuse_second_value(one, other, f"{path}{name}.")
        elif one != other:
            field = f"{path}{name}"
            raise InvalidRequestError(
                f"config_adjustments has two values for {field}; give one.", "invalid_config", field
            )


def adjusted(document: Mapping[str, Any], adjustments: Mapping[str, Any]) -> dict[str, Any]:
    """The config document with other values; it is not checked."""
    return merged(document, nested(adjustments))


def changes_between(before: JobConfig, after: JobConfig) -> list[Change]:
    """The settings that differ, with the defaults filled in that depend on other settings.

    Another method is one change of the whole group, as its settings differ.
    """
    then, now = before.resolved().model_dump(mode="json"), after.resolved().model_dump(mode="json")
    changes = []
    for name, old in then.items():
        new = now[name]
        is_group = isinstance(old, dict) and isinstance(new, dict) and old.get("type") == new.get("type")
        parts = [(f"{name}.{part}", old.get(part), new.get(part)) for part in new] if is_group else [(name, old, new)]
        changes += [Change(field=field, from_=one, to=other) for field, one, other in parts if one != other]
    return changes


def undone(document: Mapping[str, Any], adjustments: Sequence[Adjustment]) -> dict[str, Any]:
    """The config document without the adjustments: as it was submitted. The newest one is undone first."""
    for adjustment in reversed(adjustments):
        for change in adjustment.changes:
            document = adjusted(document, {change.field: change.from_})
    return dict(document)
