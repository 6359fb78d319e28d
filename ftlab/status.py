"""The life of a job: kinds, statuses, allowed transitions, its run's phases, why it is stopped, and why it can end."""

from collections.abc import Mapping
from enum import StrEnum


class JobKind(StrEnum):
    """What a job does; `kind` in its config."""

    TRAINING = "training"
    """Trains a model, and delivers it."""
    EVALUATION = "evaluation"
    """Measures models on a dataset, and delivers the results."""
    EXPORT = "export"
    """Writes a tuned model for other programs, and delivers what answers like it."""
    ENGINE = "engine"
    """Keeps a base model in memory, and answers requests until there are none."""


class JobStatus(StrEnum):
    """Status of a job."""

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
        """The status of a training job in one sentence."""
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
"""The allowed transitions. `JobRepository.move` is the only writer and obeys this table."""

REOPENED = frozenset({S.COMPLETED, S.FAILED, S.CANCELLED})
"""Statuses that a job leaves for the queue although it has ended: files are appended to a completed job, or a job that
failed or was cancelled is resumed. These moves are not in the table.
"""

ATTEMPT_STATUSES = frozenset({S.PENDING, S.INITIALIZING, S.RUNNING, S.PAUSING})
LIVE_STATUSES = ATTEMPT_STATUSES | {S.CANCELLING}
"""Statuses of jobs that have devices, or are about to get or to release them."""

SENTENCES: dict[JobStatus, str] = {
    S.QUEUED: "The job is waiting for its turn.",
    S.PENDING: "The job is scheduled and waiting for its devices.",
    S.INITIALIZING: "The workers are up and are loading the model and the data.",
    S.RUNNING: "The job is training.",
    S.PAUSING: "The job is saving a checkpoint before it releases its devices.",
    S.PAUSED: "The job is paused; resume it to continue from its checkpoint.",
    S.CANCELLING: "The job is being stopped; its checkpoints are kept.",
    S.COMPLETED: "The job is finished; its model can be downloaded.",
    S.FAILED: "The job failed; the reason and what to do are in its message.",
    S.CANCELLED: "The job was cancelled; its checkpoints are kept.",
}

SENTENCES_OF_KINDS: Mapping[JobKind, Mapping[JobStatus, str]] = {
    JobKind.EVALUATION: {
        S.INITIALIZING: "The worker is up and is loading the rows and the first model.",
        S.RUNNING: "The models are being measured.",
        S.PAUSING: "The evaluation stops before it releases its devices; rows that are scored are kept.",
        S.PAUSED: "The evaluation is paused; resume it to continue with the next row.",
        S.CANCELLING: "The evaluation is being stopped.",
        S.COMPLETED: "The evaluation is finished; see its results.",
        S.CANCELLED: "The evaluation was cancelled.",
    },
    JobKind.EXPORT: {
        S.INITIALIZING: "The worker is up and is loading the model.",
        S.RUNNING: "The model is being written and compared.",
        S.PAUSING: "The export stops before it releases its devices; artifacts that are complete are kept.",
        S.PAUSED: "The export is paused; resume it to write the artifacts that are missing.",
        S.CANCELLING: "The export is being stopped.",
        S.COMPLETED: "The export is finished; its artifacts can be downloaded.",
        S.CANCELLED: "The export was cancelled; artifacts that are complete are kept.",
    },
    JobKind.ENGINE: {
        S.INITIALIZING: "The worker is up and is loading the model.",
        S.RUNNING: "The engine answers requests.",
        S.PAUSING: "The engine ends its answers before it releases its devices.",
        S.PAUSED: "The engine is paused; the next request for its model starts another one.",
        S.CANCELLING: "The engine is being stopped.",
        S.COMPLETED: "The engine has ended, as there were no requests; the next one starts another engine.",
        S.CANCELLED: "The engine was cancelled; the next request for its model starts another one.",
    },
}
"""The sentences that are different for other kinds than training."""


def sources_of(target: JobStatus) -> tuple[JobStatus, ...]:
    """The statuses from which `target` can be reached."""
    return tuple(status for status, targets in TRANSITIONS.items() if target in targets)


class Phase(StrEnum):
    """Phases of a run.

    Heartbeats follow the steps while it is training or evaluating. In the other phases they may be minutes apart: a
    download, a big file that is written and synced. An engine is answering or idle.
    """

    LOADING = "loading"
    EVALUATING = "evaluating"
    TRAINING = "training"
    SAVING = "saving"
    DELIVERING = "delivering"
    ANSWERING = "answering"
    IDLE = "idle"
    """An engine without a request for a while: its devices are for a job that waits for them."""

    @property
    def label(self) -> str:
        """Description of the phase, to follow the status of a job."""
        return PHASE_LABELS.get(self, self.value)


PHASE_LABELS = {Phase.LOADING: "loading the model", Phase.DELIVERING: "delivering the model"}


class StopKind(StrEnum):
    """Why a run is asked to stop at the end of its step, the least urgent first."""

    DRAIN = "drain"
    """The service is stopping: save, and wait in the queue until it is running again."""
    EXTEND = "extend"
    """Files were appended to the job: save, and continue at once with these files too."""
    PREEMPT = "preempt"
    """Another job needs the devices, or a node is about to leave: save, and return to the queue."""
    TIME_LIMIT = "time_limit"
    """The job's `time_limit_s` is used up: save, and end."""
    COST_LIMIT = "cost_limit"
    """The job's `max_cost` is used up: save, and end."""
    PAUSE = "pause"
    """The user paused the job: save, and wait for a resume."""
    CANCEL = "cancel"
    FENCED = "fenced"
    """A newer attempt exists: nothing this one writes counts any more."""

    @property
    def urgency(self) -> int:
        """Urgency of a stop request: only a more urgent one replaces it; requests of the user come before those of the
        service.
        """
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
    JUDGE_UNAVAILABLE = "judge_unavailable"
    CHECKPOINT_CORRUPT = "checkpoint_corrupt"
    EXPORT_DIFFERS = "export_differs"
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
    COST_LIMIT = "cost_limit"
    INTERNAL_ERROR = "internal_error"


class FailureCause(StrEnum):
    """What went wrong in an attempt that failed; finer than the reason code."""

    GPU_MEMORY = "gpu_memory"
    """The GPU's memory was used up outside a step and an evaluation: while the model was loaded, for example."""
    GPU_MEMORY_TRAINING = "gpu_memory_training"
    GPU_MEMORY_EVALUATION = "gpu_memory_evaluation"
    HOST_MEMORY = "host_memory"
    DISK_FULL = "disk_full"
    STORAGE = "storage"
    JUDGE_UNAVAILABLE = "judge_unavailable"
    """A model that rates the answers of an evaluation does not respond."""
    STUCK = "stuck"
    DIVERGED = "diverged"
    LEARNED_NOTHING = "learned_nothing"
    """The limit of time or cost was used up, and the loss had not changed since the first step."""
    TIME_LIMIT = "time_limit"
    COST_LIMIT = "cost_limit"
    BAD_DATA = "bad_data"
    BAD_CONFIG = "bad_config"
    TOKENIZER = "tokenizer"
    """The tokenizer or the chat template of the model."""
    MODEL_NOT_FOUND = "model_not_found"
    MODEL_GATED = "model_gated"
    MODEL_DAMAGED = "model_damaged"
    CHECKPOINT_DAMAGED = "checkpoint_damaged"
    EXPORT_DIFFERS = "export_differs"
    """An exported model does not answer like the tuned one."""
    CUDA_ERROR = "cuda_error"
    GPU_LOST = "gpu_lost"
    COLLECTIVE_LOST = "collective_lost"
    KILLED = "killed"
    """The process was killed from outside, or crashed in native code."""
    MACHINE_LOST = "machine_lost"
    INTERNAL_ERROR = "internal_error"


class RetryClass(StrEnum):
    """What may follow an attempt, by the reason for its end."""

    NEVER = "never"
    BUDGET = "budget"
    """Retry, as long as the job's retry budget lasts."""
    FREE = "free"
    """Retry without counting: the cause is outside the job."""


R, C = ReasonCode, FailureCause

CAUSES: dict[ReasonCode, FailureCause] = {
    R.CONFIG_INVALID: C.BAD_CONFIG,
    R.DATASET_INVALID: C.BAD_DATA,
    R.MODEL_NOT_FOUND: C.MODEL_NOT_FOUND,
    R.MODEL_ACCESS_DENIED: C.MODEL_GATED,
    R.DEVICE_OOM: C.GPU_MEMORY,
    R.HOST_OOM: C.HOST_MEMORY,
    R.DISK_FULL: C.DISK_FULL,
    R.STORAGE_ERROR: C.STORAGE,
    R.JUDGE_UNAVAILABLE: C.JUDGE_UNAVAILABLE,
    R.CHECKPOINT_CORRUPT: C.CHECKPOINT_DAMAGED,
    R.EXPORT_DIFFERS: C.EXPORT_DIFFERS,
    R.LOSS_DIVERGED: C.DIVERGED,
    R.WORKER_CRASHED: C.KILLED,
    R.WORKER_HUNG: C.STUCK,
    R.NODE_LOST: C.MACHINE_LOST,
    R.GPU_LOST: C.GPU_LOST,
    R.COLLECTIVE_ERROR: C.COLLECTIVE_LOST,
    R.RETRY_BUDGET_EXHAUSTED: C.KILLED,
    R.TIME_LIMIT: C.TIME_LIMIT,
    R.COST_LIMIT: C.COST_LIMIT,
    R.INTERNAL_ERROR: C.INTERNAL_ERROR,
}
"""The cause where nothing but the reason is known. A reason that is not among them does not count as a failure."""

RETRY_CLASSES: dict[ReasonCode, RetryClass] = dict.fromkeys(ReasonCode, RetryClass.NEVER) | {
    R.WORKER_CRASHED: RetryClass.BUDGET,
    R.WORKER_HUNG: RetryClass.BUDGET,
    R.COLLECTIVE_ERROR: RetryClass.BUDGET,
    R.GPU_LOST: RetryClass.BUDGET,
    R.JUDGE_UNAVAILABLE: RetryClass.BUDGET,
    R.NODE_LOST: RetryClass.FREE,
    R.PREEMPTED: RetryClass.FREE,
    R.SERVICE_RESTARTED: RetryClass.FREE,
}
