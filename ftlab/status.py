"""The life of a job: its statuses, what may follow what, its run's phases, why it is stopped, and why it can end."""

from enum import StrEnum


class JobStatus(StrEnum):
    """Where a job stands."""

    QUEUED = "queued"
    PENDING = "pending"
    INITIALIZING = "initializing"
    RUNNING = "running"
    PAUSING = "pausing"
    PAUSED = "paused"
    CANCELLING = "cancelling"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_terminal(self) -> bool:
        return not TRANSITIONS[self]

    @property
    def sentence(self) -> str:
        """One sentence for people."""
        return SENTENCES[self]


S = JobStatus

TRANSITIONS: dict[JobStatus, frozenset[JobStatus]] = {
    S.QUEUED: frozenset({S.PENDING, S.PAUSED, S.CANCELLING, S.FAILED}),
    S.PENDING: frozenset({S.INITIALIZING, S.QUEUED, S.PAUSING, S.CANCELLING, S.FAILED}),
    S.INITIALIZING: frozenset({S.RUNNING, S.QUEUED, S.PAUSING, S.CANCELLING, S.COMPLETED, S.FAILED}),
    S.RUNNING: frozenset({S.COMPLETED, S.FAILED, S.QUEUED, S.PAUSING, S.CANCELLING}),
    S.PAUSING: frozenset({S.PAUSED, S.QUEUED, S.CANCELLING, S.COMPLETED, S.FAILED}),
    S.PAUSED: frozenset({S.QUEUED, S.CANCELLING}),
    S.CANCELLING: frozenset({S.CANCELLED}),
    S.COMPLETED: frozenset(),
    S.FAILED: frozenset(),
    S.CANCELLED: frozenset(),
}
"""What may follow what. `JobRepository.move` is the only writer and obeys this table."""

REOPENING = (S.COMPLETED, S.QUEUED)
"""The one move that is not in the table: files that are appended to a completed job re-open it."""

ATTEMPT_STATUSES = frozenset({S.PENDING, S.INITIALIZING, S.RUNNING, S.PAUSING})

SENTENCES: dict[JobStatus, str] = {
    S.QUEUED: "The job is waiting for its turn.",
    S.PENDING: "The job was chosen and waits for its devices.",
    S.INITIALIZING: "The workers are up and load the model and the data.",
    S.RUNNING: "The job is training.",
    S.PAUSING: "The job saves a checkpoint and gives its devices back.",
    S.PAUSED: "The job is paused; resume it to go on from its checkpoint.",
    S.CANCELLING: "The job is being stopped; its checkpoints are kept.",
    S.COMPLETED: "The job is finished; its model can be downloaded.",
    S.FAILED: "The job failed; the reason and what to do are in its message.",
    S.CANCELLED: "The job was cancelled; its checkpoints are kept.",
}


def sources_of(target: JobStatus) -> tuple[JobStatus, ...]:
    """The statuses from which `target` can be reached."""
    return tuple(status for status, targets in TRANSITIONS.items() if target in targets)


class Phase(StrEnum):
    """Phases of a run.

    Heartbeats follow the steps while it is training or evaluating. In the other phases they may be minutes apart: a
    download, a big file that is written and synced.
    """

    LOADING = "loading"
    EVALUATING = "evaluating"
    TRAINING = "training"
    SAVING = "saving"
    DELIVERING = "delivering"

    @property
    def label(self) -> str:
        """Words for people, to follow the status of a job."""
        return PHASE_LABELS.get(self, self.value)


PHASE_LABELS = {Phase.LOADING: "loading the model", Phase.DELIVERING: "delivering the model"}


class StopKind(StrEnum):
    """Why a run is asked to stop at the end of its step, the least urgent first."""

    DRAIN = "drain"
    """The service goes down: save, and wait in the queue for it to come back."""
    EXTEND = "extend"
    """Files were appended to the job: save, and go on at once with these too."""
    PREEMPT = "preempt"
    """A job of higher priority needs the devices, or a node is going away: save, and go back to the queue."""
    TIME_LIMIT = "time_limit"
    """The job's `time_limit_s` is used up: save, and end."""
    PAUSE = "pause"
    """The user wants it to rest: save, and wait for a resume."""
    CANCEL = "cancel"
    FENCED = "fenced"
    """A newer attempt exists: nothing this one writes counts any more."""

    @property
    def urgency(self) -> int:
        """A wish to stop gives way to more urgent ones only: what the user wants goes before what the service wants."""
        return list(StopKind).index(self)


class ReasonCode(StrEnum):
    """Why a job, or one attempt of it, ended."""

    OK = "ok"
    USER_CANCELLED = "user_cancelled"
    CONFIG_INVALID = "config_invalid"
    DATASET_INVALID = "dataset_invalid"
    MODEL_NOT_FOUND = "model_not_found"
    MODEL_ACCESS_DENIED = "model_access_denied"
    DEVICE_OOM = "device_oom"
    HOST_OOM = "host_oom"
    DISK_FULL = "disk_full"
    STORAGE_ERROR = "storage_error"
    CHECKPOINT_CORRUPT = "checkpoint_corrupt"
    LOSS_DIVERGED = "loss_diverged"
    WORKER_CRASHED = "worker_crashed"
    WORKER_HUNG = "worker_hung"
    NODE_LOST = "node_lost"
    GPU_LOST = "gpu_lost"
    COLLECTIVE_ERROR = "collective_error"
    PREEMPTED = "preempted"
    SERVICE_RESTARTED = "service_restarted"
    RETRY_BUDGET_EXHAUSTED = "retry_budget_exhausted"
    TIME_LIMIT = "time_limit"
    INTERNAL_ERROR = "internal_error"


class RetryClass(StrEnum):
    """What may follow an attempt that ended for some reason."""

    NEVER = "never"
    BUDGET = "budget"
    """Again, as long as the job's retry budget lasts."""
    FREE = "free"
    """Again, without counting: the cause lies outside the job."""


R = ReasonCode

RETRY_CLASSES: dict[ReasonCode, RetryClass] = dict.fromkeys(ReasonCode, RetryClass.NEVER) | {
    R.WORKER_CRASHED: RetryClass.BUDGET,
    R.WORKER_HUNG: RetryClass.BUDGET,
    R.COLLECTIVE_ERROR: RetryClass.BUDGET,
    R.GPU_LOST: RetryClass.BUDGET,
    R.NODE_LOST: RetryClass.FREE,
    R.PREEMPTED: RetryClass.FREE,
    R.SERVICE_RESTARTED: RetryClass.FREE,
}
