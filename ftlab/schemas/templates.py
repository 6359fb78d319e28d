"""Templates: named partial job configs as YAML text, whose comments are kept.

A job is made from a template by the client: it merges its own settings over those of the template, and submits the
result as any other config.
"""

import json
import re
from collections.abc import Mapping
from datetime import datetime
from importlib.resources import files
from typing import Any

from ftlab.errors import InvalidRequestError
from ftlab.schemas.common import WireModel
from ftlab.schemas.job_file import parse_job_config, read_plain_yaml

NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
MAX_CHARS = 65_536
"""Longest text of a template."""
MAX_DESCRIPTION_CHARS = 200
BUILT_IN = (
    "basic",
    "advanced",
    "qa",
    "coding-assistant",
    "chat-personality",
    "domain-expert",
    "multilingual",
    "efficient",
)
"""Names of the templates that come with the package, in the order of the list."""
STAND_INS = {"model": "org/name", "dataset": "ds-1"}
"""Settings that a template may leave out although a job needs them."""


class TemplateSummary(WireModel):
    """A template in a list."""

    name: str
    owner: str | None
    """`None` for a built-in template."""
    description: str
    """Its first comment."""
    updated_at: datetime | None = None
    """`None` for a built-in template."""


class Template(TemplateSummary):
    """A template with its text."""

    text: str
    """The YAML text, with its comments."""
    config: dict[str, Any]
    """The settings in the text: part of a `JobConfig`."""


def summary_of(name: str, text: str, owner: str | None, updated_at: datetime | None = None) -> TemplateSummary:
    """The template without its text."""
    return TemplateSummary(name=name, owner=owner, description=description_of(text), updated_at=updated_at)


def template_of(name: str, text: str, owner: str | None, updated_at: datetime | None = None) -> Template:
    """The template with the settings in its text; those that this version does not know are kept."""
    summary = summary_of(name, text, owner, updated_at)
    return Template(**dict(summary), text=text, config=read_settings(text, f"Template {name!r}"))


def built_in_template(name: str) -> Template | None:
    """The built-in template of this name, from the files of this package."""
    if name not in BUILT_IN:
        return None
    return template_of(name, (files("ftlab.templates") / f"{name}.yaml").read_text("utf-8"), None)


def check_template_name(name: str) -> None:
    """Raise `InvalidRequestError` (code `invalid_template_name`) for a name that no template may have."""
    if not NAME.fullmatch(name):
        raise InvalidRequestError(
            "The name of a template must consist of up to 64 lowercase letters, digits, '.', '_' and '-', and begin "
            "with a letter or digit.",
            "invalid_template_name",
            "name",
        )


def check_template(text: str, source: str) -> None:
    """Check the text of a template by the rules of the service, before it is sent.

    Raises `InvalidRequestError` with the place in the text, or with the fields at fault.
    """
    if len(text) > MAX_CHARS:
        raise InvalidRequestError(
            f"{source} has {len(text):,} characters; a template has at most {MAX_CHARS:,}.", "invalid_body", "text"
        )
    parse_job_config(STAND_INS | read_settings(text, source), source)


def read_settings(text: str, source: str) -> dict[str, Any]:
    """The settings in a text, each of a type that JSON has. Raises `InvalidRequestError` for any other text."""
    settings = read_plain_yaml(text, source)
    if not isinstance(settings, dict):
        raise InvalidRequestError(f"{source} must hold settings such as 'tuning: lora'.", "invalid_config")
    plain: dict[str, Any] = json.loads(json.dumps(settings))  # keys that are numbers become texts
    return plain


def merged(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of `base`, replaced by those of `changes`, group by group.

    A group of another `type`, such as another method, replaces the whole group, as its settings differ.
    """
    result = dict(base)
    for name, value in changes.items():
        group: Any = result.get(name)
        is_group = isinstance(group, Mapping) and isinstance(value, Mapping)
        if is_group and value.get("type", group.get("type")) == group.get("type"):
            value = merged(group, value)
        result[name] = value
    return result


def description_of(text: str) -> str:
    """The first comment line, without its `#`; empty where the text has none before its first setting."""
    for line in text.lstrip("\ufeff").splitlines():
        words = line.strip().lstrip("#").strip()
        if words:
            return words[:MAX_DESCRIPTION_CHARS] if line.lstrip().startswith("#") else ""
    return ""
