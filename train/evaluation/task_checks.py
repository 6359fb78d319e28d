"""Check of the tasks that an evaluation names, at its submission and again in its run. No code of theirs is run."""

import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from ftlab.errors import InvalidRequestError
from ftlab.files import sha256_of
from ftlab.schemas.bench_tasks import MAX_TASKS, BenchTask
from ftlab.schemas.evaluation_results import AvailableTask
from train.evaluation.task_files import Function, TaskFile, TaskFolder, stamp

PACKAGE = "lm_eval"
INSTALL = "lm-eval is not installed on the service: run pip install 'ftlab[bench]' there"
DATA_FORMATS = frozenset({"json", "csv", "parquet", "arrow", "text"})
"""Values of `dataset_path` that stand for files named in `dataset_kwargs`."""
_WILDCARDS = frozenset("*?[")


@dataclass(frozen=True)
class Task:
    """A task whose data is on this machine."""

    file: TaskFile
    data: Mapping[str, Any]
    """`dataset_path` and `dataset_kwargs` with absolute paths."""
    sha256: str
    """Of its files: definition, Python files beside it, and data."""


def has_package() -> bool:
    """Whether lm-eval is installed."""
    return find_spec(PACKAGE) is not None


def package_version() -> str:
    """The version of lm-eval, on which the results of tasks depend."""
    return version(PACKAGE)


def checked_tasks(tasks: Sequence[BenchTask], folder: Path | None) -> list[BenchTask]:
    """The tasks of all named groups and tags, with the hash of their files.

    Raise `InvalidRequestError` for a name that the folder does not define, for a task that this service does not run,
    and for one whose files have a different hash from the given one.
    """
    if not tasks:
        return []
    if folder is None:
        raise _refused(0, "the service has no tasks; its setting lm_eval_tasks names a folder of them")
    if not has_package():
        raise _refused(0, INSTALL)
    known = TaskFolder.read(folder)
    found: dict[str, BenchTask] = {}
    for place, task in enumerate(tasks):
        try:
            for name in known.expand(task.name):
                if name in found:
                    raise ValueError(f"task '{name}' is named twice, so leave one out")
                found[name] = task.model_copy(update={"name": name, "sha256": _digest_of(task, known.tasks[name])})
        except ValueError as error:
            raise _refused(place, str(error)) from None
        if len(found) > MAX_TASKS:
            raise _refused(place, f"there are more than {MAX_TASKS} tasks with it, so measure them apart")
    return list(found.values())


def find_tasks(tasks: Sequence[BenchTask], folder: Path | None) -> list[Task]:
    """The tasks of a checked config in their order. Raises what `checked_tasks` raises."""
    checked = checked_tasks(tasks, folder)
    assert folder is not None or not checked
    known = TaskFolder.read(folder) if folder else None
    return [task_of(known.tasks[task.name]) for task in checked] if known else []


def available_tasks(folder: Path) -> list[AvailableTask]:
    """What evaluations may name, with the reason where it would be refused."""
    known = TaskFolder.read(folder)
    problems: dict[str, str | None] = {}
    for name, file in known.tasks.items():
        try:
            task_of(file)
        except ValueError as error:
            problems[name] = _sentence(error)
        else:
            problems[name] = None
    found = [AvailableTask(name=name, kind="task", problem=problem) for name, problem in problems.items()]
    for name in {*known.groups, *known.tags} - problems.keys():
        kind: Literal["group", "tag"] = "group" if name in known.groups else "tag"
        try:
            tasks, problem = known.expand(name), None
        except ValueError as error:
            tasks, problem = [], _sentence(error)
        problem = problem or next(filter(None, map(problems.get, tasks)), None)
        found.append(AvailableTask(name=name, kind=kind, num_tasks=len(tasks), problem=problem))
    return sorted(found, key=lambda each: each.name)


def _sentence(error: ValueError) -> str:
    text = str(error)
    return f"{text[0].upper()}{text[1:]}."


def task_of(file: TaskFile) -> Task:
    """Raise `ValueError` with a clause that says why this service does not run the task."""
    document, name = file.document, file.document["task"]
    for key, why in _UNSUPPORTED.items():
        if document.get(key):
            raise ValueError(f"task '{name}' {why}")
    metrics = document.get("metric_list") or []
    if not isinstance(metrics, list):
        raise ValueError(f"task '{name}' has a metric_list that is not a list")
    for metric in metrics:
        _check_metric(name, metric)
    data, data_files = _data(name, document, file.path.parent)
    beside = [path for folder in {each.parent for each in file.files} for path in folder.glob("*.py")]
    return Task(file, data, _digest(file.path.parent, [*file.files, *beside, *data_files]))


_UNSUPPORTED = {
    "class": "is written in Python, so it cannot be known where its rows come from; define it in YAML",
    "custom_dataset": "makes its rows by a Python function, so it cannot be known where they come from; name files",
    "unsafe_code": "runs code that the models write, which this service does not do",
    "doc_to_image": "shows images, which this service does not measure",
    "doc_to_audio": "plays sounds, which this service does not measure",
}


def _check_metric(name: str, metric: object) -> None:
    """Raise `ValueError` for a metric that lm-eval would download."""
    from lm_eval.api import metrics
    from lm_eval.api.registry import metric_registry

    assert metrics  # its import fills the registry
    if not isinstance(metric, dict) or "metric" not in metric:
        raise ValueError(f"task '{name}' has an entry without 'metric' in metric_list")
    called = metric["metric"]
    if isinstance(called, Function):
        return
    if metric.get("hf_evaluate") or not isinstance(called, str) or called not in metric_registry:
        raise ValueError(f"metric '{called}' of task '{name}' would be downloaded; use one of lm-eval, or a function")


def _data(name: str, document: Mapping[str, Any], folder: Path) -> tuple[dict[str, Any], list[Path]]:
    """The fields that name the rows, with absolute paths, and the files that hold them."""
    path, options = document.get("dataset_path"), document.get("dataset_kwargs") or {}
    if not isinstance(path, str):
        raise ValueError(f"task '{name}' has no dataset_path")
    if not isinstance(options, dict):
        raise ValueError(f"task '{name}' has dataset_kwargs that are not fields")
    if path in DATA_FORMATS:
        if not options.get("data_files"):
            raise ValueError(f"task '{name}' names no data_files in dataset_kwargs")
        given = _absolute(name, options["data_files"], folder)
        return {"dataset_path": path, "dataset_kwargs": options | {"data_files": given}}, list(_files_in(name, given))
    local = (folder / path).resolve()
    if "://" in path or not local.is_dir() or not (path.startswith((".", "/"))):
        raise ValueError(
            f"the rows of task '{name}' would be downloaded (dataset_path '{path}'); save them as files, and name them "
            "in dataset_kwargs.data_files with dataset_path 'json'"
        )
    files = sorted(each for each in local.rglob("*") if each.is_file())
    return {"dataset_path": str(local), "dataset_kwargs": options}, files


def _absolute(name: str, given: Any, folder: Path) -> Any:
    """`data_files` with paths relative to the task's own folder made absolute."""
    if isinstance(given, dict):
        return {split: _absolute(name, files, folder) for split, files in given.items()}
    if isinstance(given, list):
        return [_absolute(name, each, folder) for each in given]
    if not isinstance(given, str):
        raise ValueError(f"data_files of task '{name}' must be paths")
    if "://" in given:
        raise ValueError(f"the rows of task '{name}' would be downloaded ({given}); save them as a file")
    return str(folder / given)


def _files_in(name: str, given: Any) -> Iterator[Path]:
    if isinstance(given, dict):
        given = list(given.values())
    if isinstance(given, list):
        for each in given:
            yield from _files_in(name, each)
        return
    path = Path(given)
    if _WILDCARDS.isdisjoint(given):
        found = [path] if path.is_file() else []
    else:
        found = sorted(each for each in Path(path.anchor).glob(str(path.relative_to(path.anchor))) if each.is_file())
    if not found:
        raise ValueError(f"task '{name}' has no file {given}")
    yield from found


def _digest_of(task: BenchTask, file: TaskFile) -> str:
    digest = task_of(file).sha256
    if task.sha256 not in (None, digest):
        name = file.document["task"]
        what = f"their SHA-256 is {digest}, and not that of the config"
        raise ValueError(f"the files of task '{name}' have changed: {what}")
    return digest


def _digest(folder: Path, files: Sequence[Path]) -> str:
    contents = {os.path.relpath(file, folder): _sha256(file, *stamp(file)) for file in files}
    return hashlib.sha256(json.dumps(contents, sort_keys=True).encode()).hexdigest()


@lru_cache(maxsize=20_000)
def _sha256(file: Path, _time_ns: int, _size: int) -> str:
    return sha256_of(file)


def _refused(place: int, what: str) -> InvalidRequestError:
    return InvalidRequestError(f"tasks.{place}: {what}.", "invalid_config", f"tasks.{place}.name")
