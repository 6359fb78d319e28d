"""What is known of the preparation of a job's data. Pure: from the data worker's answers and the clock."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum, auto

from cluster.data.requests import PrepareRequest, WorkState, WorkStatus
from ftlab.schemas import JobConfig
from ftlab.schemas.methods import Method
from ftlab.status import RETRY_CLASSES, ReasonCode, RetryClass
from train.model.base_model import LOCAL_REVISION
from train.model.preflight import ModelUse

READY_FOR_S = 1800.0
"""How long data is taken to be ready. Then it is asked for again, which keeps it, and its rows, from being evicted."""
MAX_DEATHS = 3
"""After this many deaths of the data worker over the same data, the run itself tries: it reports what is wrong."""
SILENCE_S = 120.0
"""The same after this long without an answer: a data worker that starts again is there within seconds."""
NOT_ASKED_S = 30.0
"""After this long without a question, a missing answer is no sign of trouble."""
WORKER_TROUBLE = frozenset({ReasonCode.INTERNAL_ERROR, ReasonCode.HOST_OOM, ReasonCode.STORAGE_ERROR})
"""Reasons of a failed preparation that may lie in the data worker itself."""

WORKING = WorkState(WorkStatus.WORKING)


class Progress(Enum):
    """How far a job's data is, and what the job does meanwhile."""

    READY = auto()
    """It starts. So does a job whose dataset or model is gone: the start finds out what, and fails the job."""
    LEFT_TO_RUN = auto()
    """It starts: the data worker has trouble, so the run prepares the data, or reports what is wrong."""
    IN_LINE = auto()
    """It waits: other data is prepared first."""
    WORKING = auto()
    """It waits: the data worker prepares it."""
    SOURCE_AWAY = auto()
    """It waits: what the data is made from cannot be reached at the moment."""
    INVALID = auto()
    """It fails: the data can never be prepared."""

    @classmethod
    def of(cls, answer: WorkState) -> "Progress":
        """What the data worker's answer means for the job."""
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
    model: str
    revision: str | None
    """Of a model of the hub."""
    method: Method
    use: ModelUse

    @classmethod
    def of(cls, config: JobConfig, revision: str | None) -> "DataKey":
        if revision is not None and revision.startswith(LOCAL_REVISION):
            revision = None
        return cls(
            tuple(config.datasets), config.eval_dataset, config.model, revision, config.method, ModelUse.of(config)
        )


@dataclass(eq=False)
class Preparation:
    """What is known of the data of one `DataKey`."""

    silent_since: datetime
    """Since when the data worker has not answered."""
    stuck_since: datetime
    """Since when no more rows have been done."""
    answer: WorkState = WORKING
    """The data worker's last one."""
    num_deaths: int = 0
    """Of data workers that were working on it."""
    request: PrepareRequest | None = None
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
        """Have data that became ready long ago asked for again."""
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
            return f"{self.num_deaths} data workers died over it."
        if now - self.silent_since > timedelta(seconds=SILENCE_S):
            return "The data worker does not answer."
        is_stuck = now - self.stuck_since > timedelta(seconds=stuck_timeout_s)
        return "It makes no progress." if is_stuck and self.answer.status is WorkStatus.WORKING else None
