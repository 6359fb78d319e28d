"""Turn `CONFIG.yaml`, `--template` and `--set` into a checked job config and the dataset files that it names."""

import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ftlab.errors import InvalidRequestError
from ftlab.schemas import AnyJobConfig, JobConfig, Template
from ftlab.schemas.dataset_files import looks_like_file
from ftlab.schemas.job_file import parse_any_config, read_yaml, read_yaml_documents
from ftlab.schemas.templates import STAND_INS, merged

if TYPE_CHECKING:
    from ftlab.cli.session import Session

DATASET_FIELDS = ("dataset", "eval_dataset")


@dataclass(frozen=True)
class JobSource:
    """A config that is valid except for the dataset files, which have no ids yet."""

    config: AnyJobConfig
    named: dict[str, list[str | Path]]
    """By field: the datasets that it names, each a local file to upload, or an id or name."""

    @property
    def files(self) -> list[Path]:
        """All local files, each once."""
        return list(dict.fromkeys(item for items in self.named.values() for item in items if isinstance(item, Path)))

    @property
    def missing_files(self) -> list[str]:
        """Names of datasets that look like files, though there are no local files of these names."""
        eval_dataset = self.config.eval_dataset if isinstance(self.config, JobConfig) else None
        eval_names = [eval_dataset] if eval_dataset else []
        local = {item.name[:200] for item in self.files}
        return [name for name in [*self.config.datasets, *eval_names] if looks_like_file(name) and name not in local]

    def with_ids(self, ids: Mapping[Path, str]) -> AnyJobConfig:
        """The config with the ids of the files."""
        return self.config.model_copy(update=self.document(ids))

    def document(self, names: Mapping[Path, str]) -> dict[str, str | list[str]]:
        """The dataset fields with a name for each file; a single dataset stays a plain string."""
        named = {
            field: [names[item] if isinstance(item, Path) else item for item in items]
            for field, items in self.named.items()
        }
        return {
            field: items if isinstance(getattr(self.config, field), list) else items[0]
            for field, items in named.items()
        }


@dataclass(frozen=True)
class JobFile:
    """What a job file holds, not checked yet."""

    source: str
    """Name of the file for messages."""
    folder: Path
    """Folder that dataset files are named relative to."""
    documents: list[Any]
    """One for each job."""

    @property
    def is_chain(self) -> bool:
        return len(self.documents) > 1


def read_file(path: Path) -> JobFile:
    """The documents of a job file; `-` is the standard input. Raises `InvalidRequestError`."""
    is_input = str(path) == "-"
    source = "standard input" if is_input else str(path)
    return JobFile(source, Path.cwd() if is_input else path.parent, read_yaml_documents(read_text(path), source))


def read_chain(file: JobFile) -> list[JobSource]:
    """Check a file with several jobs, each as `read_job` checks one."""
    return [
        source_of(_settings_in(document, f"{file.source}, job {place}"), file.folder, f"{file.source}, job {place}")
        for place, document in enumerate(file.documents, start=1)
    ]


def read_job(
    file: JobFile | None,
    assignments: Sequence[str],
    *,
    template: Template | None = None,
    options: Mapping[str, Any] | None = None,
) -> JobSource:
    """Check a job file with one job. Without a file, a template is needed.

    Each takes precedence over the one before: the template, the file, the options, the assignments. Raises
    `InvalidRequestError` with one line on what is wrong and where.
    """
    source, document = _merged_with(file, template)
    folder = Path.cwd() if file is None else file.folder
    document = merged(document, options or {})
    for assignment in assignments:
        assign(document, assignment)
    if template is not None:
        _require_the_rest(document, template)
    return source_of(document, folder, source)


def source_of(document: Mapping[str, Any], folder: Path, source: str) -> JobSource:
    """Check a document whose dataset files are named relative to `folder`; `source` names it in errors."""
    named: dict[str, list[str | Path]] = {}
    stand_ins = dict(document)
    for field in DATASET_FIELDS:
        given = document.get(field)
        items: list[Any] = given if isinstance(given, list) else [given]
        found = [dataset_file(item, folder, source) or item for item in items]
        if any(isinstance(item, Path) for item in found):
            named[field] = found
            shown = [item.name[:200] if isinstance(item, Path) else item for item in found]
            stand_ins[field] = shown if isinstance(given, list) else shown[0]
    return JobSource(parse_any_config(stand_ins, source), named)


def _merged_with(file: JobFile | None, template: Template | None) -> tuple[str, dict[str, Any]]:
    """The name of the source for messages, and its settings."""
    base = template.config if template else {}
    if file is None:
        assert template is not None
        return f"Template {template.name!r}", dict(base)
    return file.source, merged(base, _settings_in(next(iter(file.documents), None), file.source))


def _settings_in(document: Any, source: str) -> dict[str, Any]:
    if not isinstance(document, dict):
        raise InvalidRequestError(f"{source} must hold settings such as 'model: org/name'.", "invalid_config")
    return document


def _require_the_rest(document: Mapping[str, Any], template: Template) -> None:
    missing = [name for name in STAND_INS if name not in document]
    if missing:
        raise InvalidRequestError(
            f"Template {template.name!r} leaves out {' and '.join(missing)}; add "
            f"{' and '.join(f'--{name}' for name in missing)}.",
            "invalid_config",
            missing[0],
        )


def assign(document: dict[str, Any], assignment: str) -> None:
    """Carry out one `--set a.b=value`; the value is read as YAML."""
    name, equals, text = assignment.partition("=")
    path = name.strip().split(".")
    if not equals or not all(path):
        raise InvalidRequestError(f"--set {assignment!r} must look like training.max_steps=10.", "invalid_option")
    place = document
    for part in path[:-1]:
        below = place.setdefault(part, {})
        if not isinstance(below, dict):
            raise InvalidRequestError(f"--set {assignment!r}: {part!r} is not a group of settings.", "invalid_option")
        place = below
    place[path[-1]] = _assigned_value(text, f"--set {name}")


def _assigned_value(text: str, source: str) -> Any:
    """The value of an assignment. Raises `InvalidRequestError` where YAML would take the end of it for a comment."""
    value = read_yaml(text, source)
    if (comment := re.search(r"(?:^|\s)#.*", text)) and _is_ignored(text, comment.start(), value):
        raise InvalidRequestError(
            f"{source}: YAML takes {comment.group().strip()!r} for a comment; put the value in quotes of its own,"
            " as in --set 'name=\"run #3\"'.",
            "invalid_option",
        )
    return value


def _is_ignored(text: str, start: int, value: Any) -> bool:
    """Whether YAML reads the same value without what follows `start`; inside quotes, it does not."""
    try:
        return bool(read_yaml(text[:start], "The value") == value)
    except InvalidRequestError:
        return False


def read_text(path: Path) -> str:
    """The text of a file; `-` is the standard input. Raises `InvalidRequestError`."""
    if str(path) == "-":
        return sys.stdin.read()
    try:
        return path.read_text("utf-8")
    except FileNotFoundError:
        raise InvalidRequestError(f"There is no file {str(path)!r}.", "file_not_found") from None
    except IsADirectoryError:
        raise InvalidRequestError(f"{str(path)!r} is a folder, not a file.", "file_not_found") from None
    except UnicodeDecodeError:
        raise InvalidRequestError(f"{str(path)!r} is not a text file in UTF-8.", "invalid_yaml") from None


def dataset_file(value: object, folder: Path, source: str) -> Path | None:
    """The local file of this name; `None` when there is none, so that an id or the name of a dataset is meant.

    Raises `InvalidRequestError` for the path of a file that does not exist.
    """
    if not isinstance(value, str) or not value:
        return None
    try:
        file = folder / Path(value).expanduser()
    except RuntimeError:  # there is no such user
        file = folder / value
    if file.is_file():
        return file
    if "/" in value:
        raise InvalidRequestError(f"{source}: there is no dataset file {str(file)!r}.", "file_not_found", "dataset")
    return None


def model_reference(session: "Session", text: str) -> str:
    """The reference of a model. A word without a colon or slash is a job: its id, a unique id prefix or its name."""
    return text if ":" in text or "/" in text else f"job:{session.client.jobs.get(text).id}"
