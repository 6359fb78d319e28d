"""What a user can do with a job: when it is possible, and how it is requested. Nothing here draws."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from ftlab.cli.download import target_file
from ftlab.cli.job_source import assign
from ftlab.client import AsyncClient
from ftlab.client.wire import OnProgress
from ftlab.schemas import Job
from ftlab.schemas.failures import Suggestion
from ftlab.status import TRANSITIONS, JobStatus


class Action(StrEnum):
    """A change of a job, or a download."""

    PAUSE = "pause"
    RESUME = "resume"
    CANCEL = "cancel"
    PRIORITY = "priority"
    FRONT = "move to front"
    DOWNLOAD = "download"


RESUMABLE = (JobStatus.PAUSED, JobStatus.FAILED, JobStatus.CANCELLED)


def why_not(action: Action, job: Job, *, is_readonly: bool) -> str | None:
    """Why an action is not possible now, in one sentence; `None` where it is."""
    if is_readonly and action is not Action.DOWNLOAD:
        return "This monitor is read-only: it was started with --readonly."
    after = TRANSITIONS[job.status]
    can_pause = bool({JobStatus.PAUSED, JobStatus.PAUSING} & after) and job.status is not JobStatus.PAUSING
    is_possible = {
        Action.PAUSE: can_pause,
        Action.RESUME: job.status in RESUMABLE,
        Action.CANCEL: JobStatus.CANCELLING in after,
        Action.PRIORITY: job.status in (JobStatus.QUEUED, JobStatus.PAUSED),
        Action.FRONT: job.status is JobStatus.QUEUED,
        Action.DOWNLOAD: job.attempt > 0,
    }[action]
    needs = {
        Action.PAUSE: "only a job that waits or runs can be paused",
        Action.RESUME: "only a paused, failed or cancelled job can be resumed",
        Action.CANCEL: "it cannot be cancelled any more",
        Action.PRIORITY: "only the priority of a queued or paused job can be changed",
        Action.FRONT: "only a queued job can be moved",
        Action.DOWNLOAD: "there is nothing to download before its first attempt",
    }[action]
    state = "has failed" if job.status is JobStatus.FAILED else f"is {job.status}"
    return None if is_possible else f"Job {job.name!r} {state}: {needs}."


@dataclass(frozen=True)
class ResumeChoice:
    """How a job is resumed."""

    changes: str = ""
    """Settings with new values, one `path = value` a line."""
    checkpoint: str = ""
    """Name of a checkpoint, `best` or `latest`; empty for the newest intact one."""
    is_original: bool = False
    """Undo the changes of the config since the submission."""


@dataclass(frozen=True)
class DownloadChoice:
    """What is downloaded, and where to."""

    what: str
    """`model`, `logs`, or the name of a checkpoint."""
    path: str


def changes_text(suggestion: Suggestion | None) -> str:
    """A suggestion as text to edit: one `path = value` a line."""
    from ftlab.schemas.job_file import write_yaml

    lines = []
    for change in suggestion.changes if suggestion else ():
        value = write_yaml({"value": change.to}).strip().removeprefix("value:").strip()
        lines.append(f"{change.field} = {value}")
    return "\n".join(lines)


def changes_in(text: str) -> dict[str, object]:
    """The settings of an edited text. Raises `InvalidRequestError` for a line that cannot be read."""
    changes: dict[str, object] = {}
    for entry in text.splitlines():
        if entry.strip():
            assign(changes, entry.strip())
    return changes


async def resume(client: AsyncClient, job: Job, choice: ResumeChoice) -> str:
    """Resume the job; returns a sentence about it."""
    changes = changes_in(choice.changes)
    resumed = await client.jobs.resume(
        job.id, choice.checkpoint or None, config_adjustments=changes or None, original=choice.is_original
    )
    fresh = resumed.adjustments[len(job.adjustments) :]
    return " ".join([resumed.message, *(f"Changed: {adjustment.sentence}." for adjustment in fresh)])


async def download(client: AsyncClient, job: Job, choice: DownloadChoice, on_progress: OnProgress) -> Path:
    """Save the model, a checkpoint or the logs as a ZIP file."""
    path = target_file(Path(choice.path).expanduser(), default_file(job, choice.what))
    if choice.what == "logs":
        return await client.jobs.download_logs(job.id, path, on_progress)
    checkpoint = None if choice.what == "model" else choice.what
    return await client.jobs.download_model(job.id, path, checkpoint, on_progress)


def default_file(job: Job, what: str) -> str:
    """The name of the file that a download gets."""
    return f"{job.id}.zip" if what == "model" else f"{job.id}-{what}.zip"


def downloadable(job: Job, checkpoints: Sequence[str]) -> list[str]:
    """What can be downloaded of a job, the most wanted first."""
    return [*(["model"] if job.model_id else []), *checkpoints, "logs"]
