"""Task files of lm-evaluation-harness in the folder of the setting `lm_eval_tasks`: what they define, as data.

A task file may name Python functions. Only a run executes them; here they stay names.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from ftlab.schemas.bench_tasks import TASK_NAME
from ftlab.schemas.common import did_you_mean

MAX_LISTED = 10
"""Names that a message lists."""
GROUP_FIELDS = frozenset({"group", "group_alias", "task", "aggregate_metric_list", "metadata", "tag", "include"})
"""Fields of a group; others would change the settings of its tasks."""


@dataclass(frozen=True)
class Function:
    """A Python function that a task file names."""

    name: str


@dataclass(frozen=True)
class TaskFile:
    """One task or group."""

    path: Path
    document: Mapping[str, Any]
    """Its fields, with those of the files that it includes."""
    files: tuple[Path, ...]
    """The file, and those that it includes."""


@dataclass(frozen=True)
class TaskFolder:
    """The tasks, groups and tags of a folder by name."""

    tasks: Mapping[str, TaskFile]
    groups: Mapping[str, TaskFile]
    tags: Mapping[str, Sequence[str]]
    problems: Sequence[str] = field(default=())
    """Files that could not be read, with the reason."""

    @classmethod
    def read(cls, folder: Path) -> "TaskFolder":
        """Read all `*.yaml` files below the folder. Where two define the same name, the first one by path counts."""
        tasks: dict[str, TaskFile] = {}
        groups: dict[str, TaskFile] = {}
        tags: dict[str, list[str]] = {}
        problems: list[str] = []
        for path in sorted(folder.rglob("*.yaml")):
            try:
                document, files = _merged(path)
            except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
                problems.append(f"{path.relative_to(folder)}: {_one_line(error)}")
                continue
            found = TaskFile(path, document, files)
            name = document.get("group") or document.get("task")
            if not isinstance(name, str):
                continue  # only for other files to include
            if not re.match(TASK_NAME, name):
                problems.append(f"{path.relative_to(folder)}: a name may have letters, digits and _ - . + only")
            elif "group" in document:
                groups.setdefault(name, found)
            elif name not in tasks:
                tasks[name] = found
                for tag in _listed(document.get("tag")):
                    tags.setdefault(tag, []).append(name)
        return cls(tasks, groups, tags, problems)

    @property
    def names(self) -> list[str]:
        """What an evaluation may name."""
        return sorted({*self.tasks, *self.groups, *self.tags})

    def expand(self, name: str) -> list[str]:
        """The tasks that a name stands for, each once. Raise `ValueError` with a clause about what is wrong."""
        found: dict[str, None] = {}
        self._expand(name, found, ())
        return list(found)

    def _expand(self, name: str, found: dict[str, None], inside: tuple[str, ...]) -> None:
        if name in inside:
            raise ValueError(f"group '{name}' contains itself")
        if name in self.tasks:
            found[name] = None
        elif name in self.groups:
            for member in self._members(name):
                self._expand(member, found, (*inside, name))
        elif name in self.tags:
            found.update(dict.fromkeys(self.tags[name]))
        else:
            raise ValueError(self._unknown(name))

    def _members(self, name: str) -> list[str]:
        document = self.groups[name].document
        members = _listed(document.get("task"))
        if not members or set(document) - GROUP_FIELDS:
            raise ValueError(f"group '{name}' changes the settings of its tasks, so name its tasks one by one instead")
        return members

    def _unknown(self, name: str) -> str:
        hint = did_you_mean(name, self.names).removesuffix("?")
        shown = ", ".join(self.names[:MAX_LISTED]) + (", ..." if len(self.names) > MAX_LISTED else "")
        num_unread = len(self.problems)
        unread = f"; {num_unread} files could not be read, the first is {self.problems[0]}" if num_unread else ""
        known = f";{hint}" if hint else f"; it has: {shown or 'none'}"
        return f"the folder of lm_eval_tasks has no task, group or tag '{name}'{known}{unread}"


def _merged(path: Path, inside: tuple[Path, ...] = ()) -> tuple[dict[str, Any], tuple[Path, ...]]:
    """The fields of a file over those of the files that it includes, as lm-evaluation-harness merges them."""
    path = path.resolve()
    if path in inside:
        raise ValueError("it includes itself")
    own = dict(_parsed(path, *stamp(path)))
    merged: dict[str, Any] = {}
    files: list[Path] = [path]
    for include in _listed(own.pop("include", None)):
        fields, included = _merged(path.parent / include, (*inside, path))
        fields.pop("task_list", None)
        merged |= fields
        files += included
    return merged | own, tuple(dict.fromkeys(files))


@lru_cache(maxsize=20_000)
def _parsed(path: Path, _time_ns: int, _size: int) -> Mapping[str, Any]:
    """The fields of one file; while it does not change, it is not parsed again."""
    document = yaml.load(path.read_text("utf-8"), _Loader)
    if not isinstance(document, dict):
        raise ValueError("it must hold fields such as 'task: my_task'")
    return document


def stamp(path: Path) -> tuple[int, int]:
    """What changes with the content of a file: the time of its last change, and its size."""
    status = path.stat()
    return status.st_mtime_ns, status.st_size


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """Reads `!function` as a name."""


_Loader.add_constructor("!function", lambda loader, node: Function(loader.construct_scalar(node)))


def _listed(value: object) -> list[str]:
    """A field that holds one name or several; nothing where it holds anything else."""
    items: list[Any] = value if isinstance(value, list) else [value]
    return items if all(isinstance(item, str) for item in items) else []


def _one_line(error: Exception) -> str:
    if isinstance(error, OSError):
        return (error.strerror or str(error)).lower()
    return " ".join(str(error).split())[:200]
