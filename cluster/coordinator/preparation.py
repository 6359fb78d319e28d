"""State of the preparation of a job's data. Pure: from the data worker's answers and the clock."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum, auto

from cluster.data.requests import DataRequest, WorkState, WorkStatus
from ftlab.schemas import JobConfig
from ftlab.schemas.methods import Method
from ftlab.status import RETRY_CLASSES, ReasonCode, RetryClass
from train.data.split_spec import SplitSpec
from train.data.tokens.sample_prompts import SampleSettings
from train.model.base_model import LOCAL_REVISION
from train.model.preflight import ModelUse

READY_FOR_S = 1800.0
"""How long data is taken to be ready. Then it is asked for again, which keeps it, and its rows, from being evicted."""
MAX_DEATHS = 3
"""After this many deaths of the data worker over the same data, the run itself tries: it reports what is wrong."""
SILENCE_S = 120.0
"""The run also tries after this long without an answer: a data worker that restarts is ready within seconds."""
NOT_ASKED_S = 30.0
"""After this long without a question, a missing answer does not indicate trouble."""
WORKER_TROUBLE = frozenset({ReasonCode.INTERNAL_ERROR, ReasonCode.HOST_OOM, ReasonCode.STORAGE_ERROR})
"""Reasons of a failed preparation that the data worker itself may have caused."""

WORKING = WorkState(WorkStatus.WORKING)


class Progress(Enum):
    """State of a job's data, and what the job does in the meantime."""

    READY = auto()
    """The job starts. So does a job whose dataset or model no longer exists: the start detects it and fails the job."""
    LEFT_TO_RUN = auto()
    """The job starts: the data worker has trouble, so the run prepares the data, or reports the error."""
    IN_LINE = auto()
    """The job waits: other data is prepared first."""
    WORKING = auto()
    """The job waits: the data worker is preparing its data."""
    SOURCE_AWAY = auto()
    """The job waits: the source of its data is unreachable at the moment."""
    INVALID = auto()
    """The job fails: its data can never be prepared."""

    @classmethod
    def of(cls, answer: WorkState) -> "Progress":
        """The consequence of the data worker's answer for the job."""
        if answer.status is not WorkStatus.FAILED:
            return cls.READY if answer.status is WorkStatus.DONE else cls.WORKING
        if answer.reason is None:
            return cls.SOURCE_AWAY
        may_pass = answer.reason in WORKER_TROUBLE or RETRY_CLASSES[answer.reason] is not RetryClass.NEVER
        return cls.LEFT_TO_RUN if may_pass else cls.INVALID

    @property
    def lets_start(self) -> bool:
        return self in (Progress.READY, Progress.LEFT_TO_RUN)

    @property
    def is_open(self) -> bool:
        """Whether the data worker will be asked again."""
        return self in (Progress.IN_LINE, Progress.WORKING, Progress.SOURCE_AWAY)


@dataclass(frozen=True)
class DataKey:
    """All parts of a job's config that decide its prepared data, and whether its base model fits.

    Jobs with the same key share the preparation.
    """

    datasets: tuple[str, ...]
    eval_dataset: str | None
    eval_split: SplitSpec | None
    model: str
    revision: str | None
    """Revision of a hub model."""
    method: Method
    use: ModelUse
    samples: SampleSettings | None = None

    @classmethod
    def of(cls, config: JobConfig, revision: str | None) -> "DataKey":
        if revision is not None and revision.startswith(LOCAL_REVISION):
            revision = None
        return cls(
            tuple(config.datasets),
            config.eval_dataset,
            SplitSpec.of(config),
            config.model,
            revision,
            config.method,
            ModelUse.of(config),
            SampleSettings.of(config.training),
        )


@dataclass(eq=False)
class Preparation:
    """State of the data of one `DataKey`."""

    silent_since: datetime
    """The time since which the data worker has not answered."""
    stuck_since: datetime
    """The time since which no more rows have been processed."""
    answer: WorkState = WORKING
    """The last answer of the data worker."""
    num_deaths: int = 0
    """Number of data workers that died while working on it."""
    request: DataRequest | None = None
    """`None` before the first question."""
    asked_at: datetime | None = None
    """`None` where it was not asked for in the last tick that needed it."""
    ready_at: datetime | None = None
    """`None` while it is not ready."""
    appended_at: datetime | None = None
    """When it was first seen that a running job needs it."""

    @property
    def is_ready(self) -> bool:
        return self.ready_at is not None

    def expire(self, now: datetime) -> None:
        """Mark data that became ready long ago as due for another request."""
        if self.ready_at is not None and now - self.ready_at > timedelta(seconds=READY_FOR_S):
            self.ready_at, self.asked_at = None, None
            self.answer, self.num_deaths = WORKING, 0

    def note_question(self, now: datetime) -> None:
        if self.asked_at is None or now - self.asked_at > timedelta(seconds=NOT_ASKED_S):
            self.silent_since = self.stuck_since = now
        self.asked_at = now

    def note_answer(self, answer: WorkState, now: datetime) -> None:
        if answer.done_rows != self.answer.done_rows:
            self.stuck_since = now
        self.num_deaths += self.answer.worker not in (0, answer.worker)
        self.answer, self.silent_since = answer, now

    def note_progress(self, progress: Progress, now: datetime, *, is_ready: bool) -> None:
        if progress is Progress.IN_LINE:
            self.asked_at = None
        self.ready_at = now if is_ready else None

    def trouble(self, now: datetime, stuck_timeout_s: float) -> str | None:
        """Why waiting for the data worker is pointless; `None` while it is not."""
        if self.num_deaths >= MAX_DEATHS:
            return f"{self.num_deaths} data workers died while preparing it."
        if now - self.silent_since > timedelta(seconds=SILENCE_S):
            return "The data worker does not answer."
        is_stuck = now - self.stuck_since > timedelta(seconds=stuck_timeout_s)
        return "It makes no progress." if is_stuck and self.answer.status is WorkStatus.WORKING else None
