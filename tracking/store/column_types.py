"""Column types that give the same Python values on SQLite and on PostgreSQL."""

import json
import math
from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from enum import StrEnum
from functools import lru_cache
from typing import Any, TypeVar

from pydantic import ValidationError
from sqlalchemy import JSON, DateTime, Dialect, String
from sqlalchemy.types import TypeDecorator

from ftlab.errors import InvalidRequestError
from ftlab.schemas import AnyJobConfig, BaseJobConfig
from ftlab.schemas.adjustments import Adjustment
from ftlab.schemas.auto import auto_settings
from ftlab.schemas.job_kinds import config_class
from ftlab.schemas.problems import problems_of, summary
from tracking.store.records import UnreadableConfig

MAX_PARSED_CONFIGS = 1000
"""Parsed job configs that are kept in memory."""

EnumT = TypeVar("EnumT", bound=StrEnum)


class UtcDateTime(TypeDecorator[datetime]):
    """A timezone-aware datetime in UTC. SQLite stores no zone, so naive values are refused."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a datetime without a timezone cannot be stored")
        return value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class EnumText(TypeDecorator[EnumT]):
    """A `StrEnum`, stored as its value, so that a new member needs no migration."""

    impl = String
    cache_ok = True

    def __init__(self, enum_class: type[EnumT]) -> None:
        super().__init__()
        self.enum_class = enum_class

    def process_bind_param(self, value: EnumT | None, dialect: Dialect) -> str | None:
        return None if value is None else value.value

    def process_result_value(self, value: str | None, dialect: Dialect) -> EnumT | None:
        return None if value is None else self.enum_class(value)


class ConfigText(TypeDecorator[AnyJobConfig | UnreadableConfig]):
    """A job config as JSON text. Equal texts are parsed once."""

    impl = String
    cache_ok = True

    def process_bind_param(self, value: AnyJobConfig | UnreadableConfig | None, dialect: Dialect) -> str | None:
        if not isinstance(value, BaseJobConfig):
            return None
        assert not auto_settings(value), "a run needs values, so 'auto' is resolved before a config is stored"
        return dump_json(value.model_dump(mode="json"))

    def process_result_value(self, value: str | None, dialect: Dialect) -> AnyJobConfig | UnreadableConfig | None:
        return None if value is None else parse_config(value)


@lru_cache(MAX_PARSED_CONFIGS)
def parse_config(text: str) -> AnyJobConfig | UnreadableConfig:
    try:
        model = config_class(json.loads(text))
    except InvalidRequestError as error:
        return UnreadableConfig(error.message)
    try:
        return model.model_validate_json(text)
    except ValidationError as error:
        return UnreadableConfig(summary(problems_of(error, model)))


class AdjustmentList(TypeDecorator[tuple[Adjustment, ...]]):
    """The adjustments of a job's config, oldest first."""

    impl = JSON
    cache_ok = True

    def process_bind_param(self, value: Sequence[Adjustment] | None, dialect: Dialect) -> list[dict[str, Any]]:
        return [clean_data(adjustment.model_dump(mode="json")) for adjustment in value or ()]

    def process_result_value(self, value: list[dict[str, Any]] | None, dialect: Dialect) -> tuple[Adjustment, ...]:
        return tuple(map(Adjustment.model_validate, value or ()))


class DecimalText(TypeDecorator[Decimal]):
    """A decimal, stored as text: SQLite would make a binary fraction of it."""

    impl = String
    cache_ok = True

    def process_bind_param(self, value: Decimal | None, dialect: Dialect) -> str | None:
        return None if value is None else format(value, "f")

    def process_result_value(self, value: str | None, dialect: Dialect) -> Decimal | None:
        return None if value is None else Decimal(value)


class CleanText(TypeDecorator[str]):
    """Text of unknown origin, cleaned: a garbled error message must not prevent a failure from being recorded."""

    impl = String
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        return None if value is None else clean_text(value)


def clean_text(value: str) -> str:
    """Replace what PostgreSQL or UTF-8 does not allow: NUL by U+FFFD, lone surrogates by `?`."""
    if value.isascii() and "\x00" not in value:
        return value
    return value.replace("\x00", "\ufffd").encode("utf-8", "replace").decode("utf-8")


def clean_data(value: Any) -> Any:
    """Make data valid JSON on every database: texts as in `clean_text`, `None` for NaN and infinities."""
    if isinstance(value, dict):
        return {key: clean_data(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [clean_data(item) for item in value]
    if isinstance(value, float):
        return finite_or_none(value)
    return clean_text(value) if isinstance(value, str) else value


def dump_json(value: Any) -> str:
    """Compact JSON. NaN and infinities raise `ValueError`."""
    return json.dumps(value, separators=(",", ":"), allow_nan=False)


def finite_or_none(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
