"""Requests to the data worker, and its answers: plain values that travel between processes."""

import hashlib
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from cluster.runs.make_plan import dataset_rows
from cluster.runs.model_location import locate
from ftlab.model_ref import parse_model_ref
from ftlab.schemas import AnyJobConfig, JobConfig
from ftlab.schemas.checks import DEFAULT_MAX_FINDINGS
from ftlab.schemas.methods import Method
from ftlab.settings import Settings
from ftlab.status import FailureCause, ReasonCode
from tracking.store import Transaction
from tracking.store.records import DatasetRecord
from train.data.split_spec import SplitSpec
from train.data.tokens.sample_prompts import SampleSettings
from train.model.base_model import BaseModel, find_model
from train.model.preflight import ModelUse
from train.plan import LocalBase

if TYPE_CHECKING:
    from train.data.tokens.row_lengths import RowLengths

FINDINGS = "findings"
"""Key in the result of a preparation: the doctor's findings about the job's data, as sentences."""


class WorkStatus(StrEnum):
    WORKING = "working"
    DONE = "done"
    FAILED = "failed"


@dataclass(frozen=True)
class WorkState:
    """Progress of a piece of work. The caller repeats its request until the work has ended."""

    status: WorkStatus
    done_rows: int = 0
    total_rows: int = 0
    """0 while it is not known."""
    result: dict[str, Any] | None = None
    """Result of completed work."""
    reason: ReasonCode | None = None
    """Reason of failed work; `None` if something that it needs is temporarily unavailable, so that another try may
    succeed.
    """
    message: str = ""
    """Message of failed work: a sentence that a user can act on."""
    cause: FailureCause | None = None
    """Cause of failed work; `None` where it follows from the reason."""
    field: str | None = None
    """The setting at fault, where there is one."""
    worker: int = 0
    """Process id of the data worker that answers: another one means that the one before has died."""

    @property
    def percent(self) -> int | None:
        """`None` while the number of rows is not known."""
        return min(100, 100 * self.done_rows // self.total_rows) if self.total_rows else None


@dataclass(frozen=True)
class SourceFile:
    """The normalised rows of a dataset."""

    dataset_id: str
    bucket: str
    key: str
    """Key of the rows inside the bucket; empty if they are always at `rows`."""
    rows: Path
    """Path of the rows on this machine once they are fetched."""
    num_rows: int
    name: str = ""
    """Name of the dataset, by which people know it."""

    @property
    def label(self) -> str:
        """What messages call it: `support.jsonl (ds-4k0x9r2m7q1z)`."""
        return f"{self.name} ({self.dataset_id})" if self.name else self.dataset_id


@dataclass(frozen=True)
class BaseRef:
    """The base model whose tokenizer and chat template are used; names and folders are those of `train.plan`."""

    model: str
    models_folder: Path
    pinned_revision: str | None = None
    local: LocalBase | None = None

    def find(self) -> BaseModel:
        """The model on this machine, fetched if need be. Raises what `train.model.base_model.find_model` raises."""
        return find_model(self.model, self.models_folder, pinned=self.pinned_revision, local=self.local)


@dataclass(frozen=True)
class _Request:
    @property
    def key(self) -> str:
        """Names the work: two requests for the same have the same key."""
        return hashlib.sha256(repr(self).encode()).hexdigest()


@dataclass(frozen=True)
class PrepareRequest(_Request):
    """Make a job's rows ready for training."""

    base: BaseRef
    method: Method
    files: tuple[SourceFile, ...]
    eval_file: SourceFile | None = None
    use: ModelUse | None = None
    """Settings that must fit the base model, whose files may come to this machine only now."""
    samples: SampleSettings | None = None
    """Prompts that must fit the base model."""
    eval_split: SplitSpec | None = None
    """The split of `files` into training and evaluation rows, for a job without an `eval_file`."""

    @property
    def all_files(self) -> tuple[SourceFile, ...]:
        return (*self.files, self.eval_file) if self.eval_file else self.files


@dataclass(frozen=True)
class FetchRequest(_Request):
    """Bring the rows of datasets to this machine, for a job that reads them as they are."""

    files: tuple[SourceFile, ...]

    @property
    def all_files(self) -> tuple[SourceFile, ...]:
        return self.files


DataRequest = PrepareRequest | FetchRequest
"""What a job needs of its data before it starts."""


@dataclass(frozen=True)
class CheckRequest(_Request):
    """Check a dataset."""

    base: BaseRef
    method: Method
    file: SourceFile
    eval_file: SourceFile | None = None
    """Evaluation dataset: it must share no rows with `file`."""
    max_findings: int = DEFAULT_MAX_FINDINGS
    """Most findings that are described; all are counted."""
    rewards: tuple[str, ...] = ()
    """Types of the rewards whose reference answers are checked, sorted."""


@dataclass(frozen=True)
class TokensRequest(_Request):
    """Show the tokens of some rows."""

    base: BaseRef
    method: Method
    file: SourceFile
    first_row: int = 0
    num_rows: int = 1


@dataclass(frozen=True)
class LengthsRequest(_Request):
    """Count the tokens of the rows of some datasets."""

    base: BaseRef
    method: Method
    files: tuple[SourceFile, ...]
    eval_split: SplitSpec | None = None
    """With a split, the training rows are counted."""


class DataClient(Protocol):
    """Calls to the data worker. Each raises `ServiceUnavailableError` while it is unreachable."""

    async def check(self, request: CheckRequest) -> WorkState:
        """Check a dataset; poll with the same request until the work has ended."""

    async def tokens(self, request: TokensRequest) -> list[dict[str, Any]]:
        """The tokens of some rows, one document a row."""

    async def template_problems(self, request: TokensRequest) -> dict[int, str]:
        """What the chat template leaves out of the first `num_rows` rows, by their line in the uploaded file."""

    async def row_lengths(self, request: LengthsRequest) -> "list[RowLengths]":
        """How long the rows of each file are; a sample of those that are not prepared yet."""


def source_file(settings: Settings, dataset: DatasetRecord) -> SourceFile:
    rows = dataset_rows(settings, dataset)
    return SourceFile(dataset.id, dataset.bucket, dataset.canonical, rows, dataset.num_rows, dataset.name)


def base_ref(tx: Transaction, settings: Settings, model: str, pinned_revision: str | None = None) -> BaseRef:
    """`model` is a reference as in a job's config. Raises `NotFoundError` when nothing is there."""
    location = locate(tx, settings, parse_model_ref(model))
    return BaseRef(location.model, settings.home / "models", pinned_revision, location.local_base)


def data_request(tx: Transaction, settings: Settings, config: AnyJobConfig, pinned_revision: str | None) -> DataRequest:
    """What a job needs of its data. Raises `NotFoundError` when a dataset or the base model is gone."""
    files = tuple(source_file(settings, tx.datasets.get(dataset_id)) for dataset_id in config.datasets)
    if not isinstance(config, JobConfig):
        return FetchRequest(files)
    eval_file = source_file(settings, tx.datasets.get(config.eval_dataset)) if config.eval_dataset else None
    base = base_ref(tx, settings, config.model, pinned_revision)
    use, samples = ModelUse.of(config), SampleSettings.of(config.training)
    return PrepareRequest(base, config.method, files, eval_file, use, samples, SplitSpec.of(config))
