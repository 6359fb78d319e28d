"""Job configs as YAML files, read by the rules of YAML 1.2.

PyYAML follows YAML 1.1, where `2e-4` is a string, `no` is false and `1:30` is ninety. None of that is meant
in a job file, so scalars are resolved by the core schema of YAML 1.2 instead, when reading and when writing.
"""

import json
import re
from collections.abc import Hashable
from typing import Any, TypeVar, cast

import yaml
from pydantic import BaseModel, ValidationError

from ftlab.errors import InvalidRequestError
from ftlab.schemas.base_config import BaseJobConfig
from ftlab.schemas.config import JobConfig
from ftlab.schemas.job_kinds import AnyJobConfig, config_class
from ftlab.schemas.methods import GrpoMethod
from ftlab.schemas.problems import problems_of, summary

Model = TypeVar("Model", bound=BaseModel)

_SCALARS: tuple[tuple[str, str, str], ...] = (
    ("null", r"^(?:~|null|Null|NULL|)$", "~nN"),
    ("bool", r"^(?:true|True|TRUE|false|False|FALSE)$", "tTfF"),
    ("int", r"^[-+]?[0-9]+$", "-+0123456789"),
    (
        "float",
        r"^(?:[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$",
        "-+.0123456789",
    ),
)
"""Tag, pattern and possible first characters (YAML 1.2.2, section 10.3.2)."""


class _Loader(yaml.SafeLoader):
    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012  PyYAML's own way to set resolvers

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        """Refuse a duplicate key; PyYAML would silently keep the last one."""
        seen: set[str] = set()
        for key in (key for key, _ in node.value if isinstance(key, yaml.ScalarNode)):
            if key.value in seen:
                raise yaml.MarkedYAMLError(None, None, f"key {key.value!r} is given twice", key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)


class _PlainLoader(_Loader):
    """Refuse aliases, which let a few lines stand for gigabytes, and tags, which make types that JSON does not have."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        event: Any = self.peek_event()  # type: ignore[no-untyped-call]
        if isinstance(event, yaml.AliasEvent) or getattr(event, "tag", None) is not None:
            kind = "an alias (*name)" if isinstance(event, yaml.AliasEvent) else "a tag (!name)"
            raise yaml.MarkedYAMLError(problem=f"{kind} is not accepted here", problem_mark=event.start_mark)
        return super().compose_node(parent, index)


class _Dumper(yaml.SafeDumper):
    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012


for _kind, _pattern, _first in _SCALARS:
    _characters = [*_first, ""] if _kind == "null" else list(_first)
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_kind}", re.compile(_pattern), _characters)
    _Dumper.add_implicit_resolver(f"tag:yaml.org,2002:{_kind}", re.compile(_pattern), _characters)


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    """Quote text with Unicode line breaks, which PyYAML writes as they are and reads back as spaces."""
    style = '"' if any(char in text for char in "\x85\u2028\u2029") else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style)


def _construct_int(loader: _Loader, node: yaml.ScalarNode) -> int:
    return int(loader.construct_scalar(node))


_Dumper.add_representer(str, _represent_text)
_Loader.add_constructor("tag:yaml.org,2002:int", _construct_int)


def read_yaml(text: str, source: str) -> Any:
    """Raise `InvalidRequestError` with line and column for text that is not one YAML document."""
    return _read(text, source, _Loader)


def read_yaml_documents(text: str, source: str) -> list[Any]:
    """The documents of a YAML file, separated by lines of `---`; blank ones are left out.

    Raises what `read_yaml` raises for one that cannot be read.
    """
    return list(_read(text, source, _Loader, several=True))


def read_plain_yaml(text: str, source: str) -> Any:
    """Read text of unknown origin as values of the types that JSON has. Raises what `read_yaml` raises."""
    return _read(text, source, _PlainLoader)


def _read(text: str, source: str, loader: type[_Loader], *, several: bool = False) -> Any:
    try:
        if several:
            return [document for document in yaml.load_all(text, loader) if document is not None]
        return yaml.load(text, loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise InvalidRequestError(f"{source}{place}: {error.problem}.", "invalid_yaml") from None
    except (yaml.YAMLError, ValueError) as error:
        raise InvalidRequestError(f"{source}: {' '.join(str(error).split())}.", "invalid_yaml") from None
    except RecursionError:
        raise InvalidRequestError(f"{source} is nested too deeply.", "invalid_yaml") from None


def write_yaml(value: Any) -> str:
    """One YAML document that `read_yaml` turns into an equal value."""
    return yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)


def parse_job_config(value: Any, source: str = "The job config") -> JobConfig:
    """Check a decoded document of a training job by the service's own rules.

    Raises `InvalidRequestError` that names every field at fault, in one line.
    """
    return value if isinstance(value, JobConfig) else cast("JobConfig", _parse(JobConfig, value, source))


def parse_any_config(value: Any, source: str = "The job config") -> AnyJobConfig:
    """Check a decoded document of a job of any kind. Raises what `parse_job_config` raises."""
    if isinstance(value, BaseJobConfig):
        return cast("AnyJobConfig", value)
    return _parse(config_class(value) if isinstance(value, dict) else JobConfig, value, source)


def _parse(model: type[AnyJobConfig], value: Any, source: str) -> AnyJobConfig:
    if not isinstance(value, dict):
        raise InvalidRequestError(f"{source} must be a mapping of settings, such as 'model: org/name'.", "invalid_body")
    return read_document(model, value, source)


def read_document(model: type[Model], document: dict[str, Any], source: str) -> Model:
    """The document as a `model`. Raises `InvalidRequestError` that names every field at fault."""
    try:
        # Over JSON, as the service reads it, so that both judge alike.
        return model.model_validate_json(json_of(document, source))
    except ValidationError as error:
        problems = problems_of(error, model)
        message = f"{source}: {summary(problems)}"
        raise InvalidRequestError(message, "invalid_config", problems[0].field or None) from None


def json_of(value: Any, source: str) -> str:
    """A decoded document as JSON. Raise `InvalidRequestError` for what YAML can hold and JSON cannot."""
    try:
        return json.dumps(value, default=str)
    except (TypeError, ValueError, RecursionError):
        raise InvalidRequestError(
            f"{source} must have texts as names of settings, and no alias (*name) that contains itself.", "invalid_yaml"
        ) from None


def short_document(config: JobConfig) -> dict[str, Any]:
    """The settings of a config that differ from their defaults; those of a method, and each reward, with their type."""
    document = config.model_dump(mode="json", exclude_defaults=True)
    if "method" in document:
        document["method"] = {"type": config.method.type} | document["method"]
        if isinstance(config.method, GrpoMethod):
            rewards = zip(config.method.rewards, document["method"]["rewards"], strict=True)
            document["method"]["rewards"] = [{"type": reward.type} | given for reward, given in rewards]
    return document
