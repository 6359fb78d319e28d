"""Changes of a config document: how they are given, what differs, and the way back."""

from collections.abc import Mapping, Sequence
from typing import Any

from ftlab.schemas.adjustments import Adjustment
from ftlab.schemas.config import JobConfig
from ftlab.schemas.failures import Change
from ftlab.schemas.templates import merged


def nested(adjustments: Mapping[str, Any]) -> dict[str, Any]:
    """Adjustments as part of a config document; a key may be the path of a setting, such as `training.max_steps`."""
    document: dict[str, Any] = {}
    for key, value in adjustments.items():
        *groups, field = key.split(".")
        part: Any = nested(value) if isinstance(value, Mapping) else value
        part = {field: part}
        for group in reversed(groups):
            part = {group: part}
        document = merged(document, part)
    return document


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
