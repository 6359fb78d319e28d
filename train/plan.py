"""Messages between the run driver and a training process: the plan of an attempt, and its reports."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol

from ftlab.schemas import AnyJobConfig, EngineConfig, EvaluationConfig, EventPayload, ExportConfig, JobConfig
from ftlab.schemas.evaluation_results import RESULTS_FOLDER
from ftlab.schemas.export_results import ARTIFACTS_FOLDER
from ftlab.schemas.judge_servers import JudgeServer
from ftlab.status import FailureCause, JobKind, Phase, ReasonCode, StopKind
from train.export.tuned_facts import TunedFacts

__all__ = [
    "Beat",
    "DataFile",
    "Ending",
    "EnginePlan",
    "EngineReady",
    "EvaluationPlan",
    "ExportPlan",
    "Failure",
    "LocalBase",
    "MeasuredModel",
    "ModelLoaded",
    "Outcome",
    "Phase",
    "RunLink",
    "RunPlan",
    "RunReport",
    "StopKind",
    "TrainingPlan",
]


@dataclass(frozen=True)
class DataFile:
    """One dataset of a job."""

    dataset_id: str
    rows: Path
    """Its normalised rows."""


@dataclass(frozen=True)
class LocalBase:
    """A base model in a folder of this machine that its name does not lead to."""

    name: str
    """Name for its owner: a model reference, or a hub id; never a path."""
    folder: Path
    download: str | None = None
    """The command that downloads its files; `None` for a model that the service did not train."""


@dataclass(frozen=True, kw_only=True)
class RunPlan:
    """What the process of a run of any kind needs to know about its attempt."""

    job_id: str
    attempt: int
    config: AnyJobConfig
    job_folder: Path
    """Folder of the job's checkpoints, logs and results."""
    models_folder: Path
    """Base models on this machine, one folder `<org>--<name>` each."""
    cache_folder: Path
    """Folder for data of all jobs that can be recreated, mainly prepared data."""
    threads: int
    """CPU threads of one worker."""
    recorded_step: int = 0
    """Newest step that is in the record."""
    use_cuda: bool = False
    cuda_device: str | None = None
    """The GPU to use where Ray did not choose it already (standby runs)."""
    gpu_fraction: float | None = None
    """The share of the GPU's memory that the run may use; `None` is all of it."""
    time_left_s: float | None = None
    """Seconds until the job's `time_limit_s` or `max_cost` is used up; the run then saves and stops."""
    limit: StopKind = StopKind.TIME_LIMIT
    """The limit that is used up first."""

    @property
    def kind(self) -> JobKind:
        return JobKind(self.config.kind)

    @property
    def log_file(self) -> Path:
        return self.job_folder / "logs" / f"attempt-{self.attempt}.jsonl"


@dataclass(frozen=True, kw_only=True)
class TrainingPlan(RunPlan):
    """What a training process needs to know."""

    config: JobConfig
    model: str
    """Base model: a hub id (`org/name` or `org/name@revision`), or the path of a local folder or adapter."""
    pinned_revision: str | None
    """The revision that the job's first attempt found."""
    train_files: tuple[DataFile, ...]
    """Files to train on, one after another."""
    eval_rows: Path | None
    model_number: int = 1
    """How often the job will have completed with this attempt; every time it delivers a model of its own."""
    recorded_eval_step: int = -1
    """Newest step whose evaluation is in the record; -1 before the first."""
    recorded_checkpoints: tuple[int, ...] = ()
    """Steps of the checkpoints in the record."""
    resume_from: str | None = None
    """Name of the checkpoint to resume from, removing the newer ones; `None` means the newest intact one."""
    local_base: LocalBase | None = None
    """The base model if it is in a folder that its name does not lead to, such as that of a former job."""

    @property
    def eval_file(self) -> DataFile | None:
        """The dataset to evaluate on."""
        return DataFile(str(self.config.eval_dataset), self.eval_rows) if self.eval_rows else None

    @property
    def checkpoints_folder(self) -> Path:
        return self.job_folder / "checkpoints"

    @property
    def writing_folder(self) -> Path:
        """Folder in which the attempt writes its checkpoints before they are committed."""
        return self.checkpoints_folder / f".tmp-{self.attempt}"

    @property
    def model_folder(self) -> Path:
        return self.job_folder / ("model" if self.model_number == 1 else f"model-{self.model_number}")


@dataclass(frozen=True, kw_only=True)
class EnginePlan(RunPlan):
    """What an engine needs to know."""

    config: EngineConfig
    model: str
    """Base model: a hub id, or the path of a local folder."""
    pinned_revision: str | None
    """The revision that its requests are meant for."""
    inference_folder: Path
    """Folder of the environment of vLLM, if it is installed."""
    local_base: LocalBase | None = None
    """The base model if it is in a folder that its name does not lead to."""


@dataclass(frozen=True)
class MeasuredModel:
    """One model of an evaluation."""

    name: str
    """Name for its owner: a reference as in the config, or the name of a base model."""
    key: str
    """Short name in metrics: `base` or `model`, numbered where there are several."""
    model: str
    """A hub id, or the path of a local folder or adapter, as in `TrainingPlan`."""
    pinned_revision: str | None = None
    """The commit of a hub model, or of the base model of an adapter; `None` for that which is found."""
    local_base: LocalBase | None = None
    base: int | None = None
    """The place of its base model among the models; `None` for a base model."""


@dataclass(frozen=True, kw_only=True)
class EvaluationPlan(RunPlan):
    """What the process of an evaluation needs to know."""

    config: EvaluationConfig
    dataset: DataFile | None
    """`None` where only tasks are measured."""
    models: tuple[MeasuredModel, ...]
    """Base models first."""
    tasks_folder: Path | None = None
    """Folder of the tasks of lm-evaluation-harness that this service has."""
    judges: Mapping[str, JudgeServer] = field(default_factory=dict)
    """The judges that the metrics name, without their keys."""
    identities: tuple[str, ...] | None = None
    """What the models were at the submission, if that was known: they must be the same now."""

    @property
    def results_folder(self) -> Path:
        return self.job_folder / RESULTS_FOLDER


@dataclass(frozen=True, kw_only=True)
class ExportPlan(RunPlan):
    """What the process of an export needs to know."""

    config: ExportConfig
    name: str
    """Name of the exported model for its owner, a reference as in the config."""
    model: str
    """The path of a tuned model or an adapter, as in `TrainingPlan`."""
    pinned_revision: str | None
    """The revision that its adapter was trained on."""
    local_base: LocalBase | None = None
    """The base model of an adapter if it is in a folder that its name does not lead to."""
    facts: TunedFacts = field(default_factory=TunedFacts)
    """What its model card says."""
    quantizer: Path | None = None
    """The program that makes K-quants, which some types of weights need."""

    @property
    def artifacts_folder(self) -> Path:
        return self.job_folder / ARTIFACTS_FOLDER


@dataclass(frozen=True)
class Beat:
    """The newest heartbeat of a run."""

    count: int
    """Heartbeats so far: a count that stays the same means that there is no progress."""
    step: int
    median_step_s: float | None
    """Median time of the newest steps; `None` before the second step of the attempt, as the first is slower."""
    phase: Phase


class Ending(StrEnum):
    """How a training loop ended."""

    FINISHED = "finished"
    STOPPED = "stopped"


@dataclass(frozen=True)
class Outcome:
    """Result of a run that ended without an error."""

    ending: Ending
    step: int
    stop: StopKind | None = None
    has_saved: bool = False
    """Whether the stop committed a checkpoint; if not, there was nothing new to save."""
    saved_step: int | None = None
    """Step of the newest checkpoint, where a resume continues; `None` if there is none."""
    delivered_step: int | None = None
    """Step of the checkpoint that `job_folder/model` was made from; `None` where the run delivered no model."""
    ended_early: str | None = None
    """Sentence about why the run ended before its last scheduled step; `None` where it did not."""
    kept: str | None = None
    """Clause about what a stop keeps, for a kind of jobs without checkpoints."""
    base_model: str | None = None
    base_revision: str | None = None


@dataclass(frozen=True)
class Failure:
    """Why a run failed, for the user and for the retry policy."""

    reason: ReasonCode
    message: str
    traceback: str = ""
    cause: FailureCause | None = None
    """`None` where it follows from the reason."""
    field: str | None = None
    """The setting at fault, for example `training.dtype`; `None` where there is none, or it is not known."""
    notes: tuple[str, ...] = ()
    """Evidence that is lost with the run, one sentence each: the rows of the step, what Ray and the kernel report."""
    rank: int | None = None
    """Worker that reported it; `None` where the run's driver found it."""

    def to_details(self) -> dict[str, Any]:
        """What the record of the attempt keeps besides reason and message, as JSON values."""
        details = {"cause": self.cause, "field": self.field, "notes": list(self.notes), "traceback": self.traceback}
        return details if self.rank is None else details | {"rank": self.rank}

    @classmethod
    def from_details(cls, reason: ReasonCode, message: str, details: Mapping[str, Any]) -> "Failure":
        """Undo `to_details`."""
        known = {cause.value for cause in FailureCause}
        cause = FailureCause(details["cause"]) if details.get("cause") in known else None
        notes = tuple(map(str, details.get("notes", ())))
        return cls(
            reason,
            message,
            str(details.get("traceback", "")),
            cause,
            details.get("field"),
            notes,
            rank=details.get("rank"),
        )


@dataclass(frozen=True)
class ModelLoaded:
    """The model is in memory and the work begins: the job is running now."""

    revision: str | None = None
    """Revision of the base model, to be kept for the job's later attempts; `None` where there is nothing to keep."""
    num_tokens: int | None = None
    """Tokens of all steps of the job, as an estimate counts them; of an evaluation, those that its models read."""
    num_answer_tokens: int = 0
    """Most tokens that the models of an evaluation generate."""


@dataclass(frozen=True)
class EngineReady:
    """The engine of the attempt answers requests from now on."""

    address: str
    """URL of its HTTP server."""
    token: str
    """What it expects of its callers; kept out of all events and logs."""


RunReport = EventPayload | ModelLoaded | EngineReady
"""What a run reports: events for its user, and messages for the record only."""


class RunLink(Protocol):
    """Connection of a run to its driver. Its calls never block the training step."""

    @property
    def host(self) -> str:
        """The address at which the other machines of the service reach this one."""

    def emit(self, payload: RunReport) -> None:
        """Hand over one event."""

    def beat(self, beat: Beat) -> None:
        """Keep the newest heartbeat, to be sent along with the next events."""

    def stop_requested(self) -> StopKind | None:
        """The requested stop, if any: the run saves and stops."""

    def save_requested(self) -> bool:
        """Whether a checkpoint is requested now, without a stop. The request is cleared.

        Every rank polls once at the end of every step, so this may be a barrier.
        """

    def report_checkpoint(self, step: int, folder: Path) -> None:
        """Report a committed checkpoint to the launcher. Every rank calls it, after the commit."""
