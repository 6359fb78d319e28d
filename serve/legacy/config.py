"""The flat configuration of earlier clients, rewritten as a `JobConfig` document."""

from collections.abc import Iterator
from typing import Any

from ftlab.errors import InvalidRequestError
from ftlab.schemas import JobConfig, TrainingConfig
from serve.http.problems import unknown_field

CONFIG = "config"
"""Field in which earlier clients may nest the settings."""

_RENAMED: dict[str, tuple[str, ...]] = {
    "job_name": ("name",),
    "model_name": ("model",),
    "base_model": ("model",),
    "dataset_id": ("dataset",),
    "eval_dataset_id": ("eval_dataset",),
    "batch_size": ("training", "per_device_train_batch_size"),
    "num_epochs": ("training", "num_train_epochs"),
    "epochs": ("training", "num_train_epochs"),
    "lr": ("training", "learning_rate"),
}
_PATHS: dict[str, tuple[str, ...]] = (
    {name: ("training", name) for name in TrainingConfig.model_fields}
    | {name: (name,) for name in JobConfig.model_fields}
    | _RENAMED
)
"""Where each accepted key belongs in a `JobConfig`."""


def to_document(body: dict[str, Any]) -> dict[str, Any]:
    """The body as a `JobConfig` document.

    Raise `InvalidRequestError` for an unknown key, and for two keys that give one setting different values.
    """
    document: dict[str, Any] = {}
    for key, path, value in _settings(body):
        _put(document, path, value, key)
    return document


def adjustments_of(given: dict[str, Any]) -> dict[str, Any]:
    """Adjustments of a config with the short forms written out; a key with a dot is the path of a setting as it is.

    Raise `InvalidRequestError` as `to_document` does.
    """
    paths = {key: value for key, value in given.items() if "." in key}
    return to_document({key: value for key, value in given.items() if "." not in key}) | paths


def _settings(body: dict[str, Any]) -> Iterator[tuple[str, tuple[str, ...], Any]]:
    nested = body.get(CONFIG) or {}
    if not isinstance(nested, dict):
        raise InvalidRequestError("config must be an object.", "invalid_config", CONFIG)
    for prefix, level in (([], body), ([CONFIG], nested)):
        for key, value in level.items():
            if key == CONFIG and not prefix:
                continue
            if key not in _PATHS:
                raise unknown_field(prefix, key, _PATHS)
            yield from _leaves(key, _PATHS[key], value)


def _leaves(key: str, path: tuple[str, ...], value: Any) -> Iterator[tuple[str, tuple[str, ...], Any]]:
    """The settings under one key; a `training` object beside short forms is split into its fields."""
    if path == ("training",) and isinstance(value, dict):
        for name, item in value.items():
            yield f"{key}.{name}", (*path, name), item
    else:
        yield key, path, value


def _put(document: dict[str, Any], path: tuple[str, ...], value: Any, key: str) -> None:
    *parents, name = path
    for parent in parents:
        document = document.setdefault(parent, {})
        if not isinstance(document, dict):
            raise InvalidRequestError(f"{parent} must be an object.", "invalid_config", parent)
    if name in document and document[name] != value:
        setting = ".".join(path)
        raise InvalidRequestError(f"{setting} is given twice, with different values.", "invalid_config", setting)
    document[name] = value
