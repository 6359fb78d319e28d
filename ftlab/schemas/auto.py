"""Settings that accept `auto`: the service derives their values from model, data and devices at the submission."""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from pydantic import GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

from ftlab.schemas.common import WireModel

if TYPE_CHECKING:
    from ftlab.schemas.base_config import BaseJobConfig

AUTO: Any = "auto"
"""Value of a setting that the service derives; its type fits every setting."""
AUTO_SETTINGS = (
    "training.num_train_epochs",
    "method.packing",
    "method.max_length",
    "training.per_device_train_batch_size",
    "training.per_device_eval_batch_size",
    "training.gradient_accumulation_steps",
    "training.gradient_checkpointing",
    "training.learning_rate",
    "training.warmup_ratio",
    "training.bf16",
    "training.fp16",
    "training.dataloader_num_workers",
)
"""Every setting that accepts `auto`."""
_AUTO_FIELDS = tuple((name, *name.split(".")) for name in AUTO_SETTINGS)
_AUTO_GROUPS = frozenset(group for _, group, _ in _AUTO_FIELDS)


class OrAuto:
    """Marks a field that accepts `auto` besides its own type.

    It stands last in an `Annotated`, so that bounds apply to other values only. The static type stays that of the
    values: a config is resolved before anything reads them, and the store refuses one that is not.
    """

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        word = core_schema.literal_schema([AUTO])
        return core_schema.union_schema([handler(source), word], mode="left_to_right")


class AutoValue(WireModel):
    """What `auto` became."""

    value: int | float | bool
    reason: str
    """One clause that says why, for example `the largest that fits 22.0 GiB (L4) at 1,024 tokens`."""

    @property
    def shown(self) -> str:
        """The value as a job file writes it."""
        if isinstance(self.value, bool):
            return str(self.value).lower()
        return f"{self.value:g}" if isinstance(self.value, float) else str(self.value)

    def describe(self, name: str) -> str:
        """The value and the reason for the setting of this name."""
        return f"{name} = {self.shown}: {self.reason}"


def is_auto(value: object) -> bool:
    """Whether a setting is left to the service."""
    return isinstance(value, str) and value == AUTO


def setting(config: "BaseJobConfig", name: str) -> Any:
    """The value of a setting by its dotted name; `None` where the kind or the method does not have it."""
    group, _, field = name.partition(".")
    return getattr(getattr(config, group, None), field, None)


def auto_settings(config: "BaseJobConfig") -> list[str]:
    """The settings of a config that are `auto`, by their dotted names."""
    groups = {group: getattr(config, group, None) for group in _AUTO_GROUPS}
    return [name for name, group, field in _AUTO_FIELDS if is_auto(getattr(groups[group], field, None))]


def as_submitted(config: "BaseJobConfig", names: Iterable[str]) -> dict[str, Any]:
    """The document of a resolved config in which the settings of these names are `auto` again."""
    return with_settings(config.model_dump(mode="json"), dict.fromkeys(names, AUTO))


def without_auto(config: Mapping[str, Any], resolved: Mapping[str, Any] | None) -> dict[str, Any]:
    """The document of a job's config, in which each `auto` is replaced by its value in the resolved one."""
    values = {name: _at(resolved or {}, name) for name in AUTO_SETTINGS if is_auto(_at(config, name))}
    return with_settings(config, {name: value for name, value in values.items() if value is not None})


def _at(document: Mapping[str, Any], name: str) -> Any:
    group, _, field = name.partition(".")
    return (document.get(group) or {}).get(field)


def with_settings(document: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of a config's document with other values of some settings, by their dotted names."""
    result = dict(document)
    for name, value in values.items():
        place = result
        *groups, field = name.split(".")
        for group in groups:
            place[group] = dict(place.get(group) or {})
            place = place[group]
        place[field] = value
    return result
