"""What the monitor shows, as plain data: the jobs, the connection, and one job in detail."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from ftlab.formatting import duration
from ftlab.schemas import Attempt, Checkpoint, Event, FailureAnalysis, Job, LogLine, NodeStatus, SamplePayload
from ftlab.schemas.config_changes import flat
from ftlab.status import LIVE_STATUSES, JobStatus
from ftlab.tui.series import Series

_FOR_DEVICES = re.compile(r"(?:is|are) free\.|free devices")
"""In what a job waits for: that it is devices, and not its data or a quota."""


class LinkState(StrEnum):
    """What the monitor knows of its connection to the service."""

    LOADING = "loading"
    """Nothing has arrived yet."""
    LIVE = "live"
    LOST = "disconnected"
    """The service does not answer; what is shown is old."""
    REFUSED = "refused"
    """The service refuses the key."""


@dataclass(frozen=True)
class Link:
    """The connection to the service."""

    server: str
    state: LinkState = LinkState.LOADING
    fetched_at: datetime | None = None
    """When the data that is shown arrived."""
    problem: str = ""
    """The last error, in one sentence."""


@dataclass(frozen=True)
class Trend:
    """Newest measurements of a job, for the table."""

    losses: tuple[float, ...] = ()
    learning_rate: float | None = None
    tokens_per_s: float | None = None


@dataclass(frozen=True)
class Snapshot:
    """All jobs at one moment."""

    link: Link
    jobs: tuple[Job, ...] = ()
    """In the order of the table: with devices, queued, paused, then ended ones, the newest first."""
    trends: Mapping[str, Trend] = field(default_factory=dict)
    """By job id."""
    nodes: tuple[NodeStatus, ...] = ()
    """The machines, as far as the service knows them."""

    @property
    def counts(self) -> Counter[JobStatus]:
        return Counter(job.status for job in self.jobs)


@dataclass(frozen=True)
class JobDetail:
    """One job with everything that its tabs show."""

    job: Job
    series: Mapping[str, Series] = field(default_factory=dict)
    """By metric name."""
    logs: tuple[LogLine, ...] = ()
    events: tuple[Event, ...] = ()
    """The newest ones, without metrics, progress and log lines."""
    checkpoints: tuple[Checkpoint, ...] = ()
    """Newest first."""
    samples: Mapping[int, Mapping[int, SamplePayload]] = field(default_factory=dict)
    """Answers to the prompts of the job, by number of the prompt and by step."""
    attempts: tuple[Attempt, ...] = ()
    failure: FailureAnalysis | None = None
    is_live: bool = False
    """Whether the job is followed; not once it has ended."""
    problem: str = ""
    """Why nothing or not everything could be loaded, in one sentence."""


def in_table_order(jobs: Sequence[Job]) -> tuple[Job, ...]:
    """Jobs with devices first, the longest running on top; then by place in the queue; then the newest."""

    def order(job: Job) -> tuple[int, float]:
        if job.status in LIVE_STATUSES:
            return 0, (job.started_at or job.created_at).timestamp()
        if job.status is JobStatus.QUEUED:
            return 1, job.queue_position or 10**9
        if job.status is JobStatus.PAUSED:
            return 2, -job.created_at.timestamp()
        return 3, -(job.finished_at or job.created_at).timestamp()

    return tuple(sorted(jobs, key=order))


def starts_again(job: Job) -> bool:
    """Whether a job that had an attempt before is on its way to another one: retried, preempted or resumed."""
    attempts_before = 1 if job.status in (JobStatus.PENDING, JobStatus.INITIALIZING) else 0
    return job.status in (JobStatus.QUEUED, JobStatus.PENDING, JobStatus.INITIALIZING) and job.attempt > attempts_before


def start_estimate(job: Job, snapshot: Snapshot) -> str:
    """When a queued job starts, as far as the service knows, in one sentence; empty where it does not.

    The first job in the queue starts when the only running job ends. With several running jobs, the estimate is when
    the first of them ends, since it is not known whose devices suffice. A job that waits for other jobs keeps none
    behind it from starting.
    """
    if job.status is not JobStatus.QUEUED or job.queue_position is None or _awaits_jobs(job):
        return ""
    if job.queue_position > 1:
        queued = [item for item in snapshot.jobs if (item.queue_position or job.queue_position) < job.queue_position]
        ready = (item for item in queued if not _awaits_jobs(item))
        ahead = max(ready, key=lambda item: item.queue_position or 0, default=None)
        return f"Starts after {ahead.name}." if ahead else ""
    if not _FOR_DEVICES.search(job.waiting_for or ""):
        return ""
    running = [item for item in snapshot.jobs if item.status in LIVE_STATUSES]
    timed = sorted((item for item in running if item.eta_s is not None), key=lambda item: item.eta_s or 0.0)
    if not timed or not timed[0].eta_s:
        return ""
    when = f"about {rough(timed[0].eta_s)}"
    if len(running) == 1:
        return f"Starts in {when}, after {timed[0].name}."
    return f"The next devices are released in {when}, when {timed[0].name} ends."


def _awaits_jobs(job: Job) -> bool:
    """Whether a job before it in its chain has not completed."""
    return any(parent.attempt is None for parent in job.parents)


def rough(seconds: float) -> str:
    """`40 s`, `12 min`, `3 h`, `2 d 4 h`: as exact as an estimate is."""
    if seconds < 60:
        return f"{max(1, round(seconds))} s"
    if seconds < 3600:
        return f"{round(seconds / 60)} min"
    return f"{seconds / 3600:.1f} h" if seconds < 86_400 else duration(seconds)


def flat_config(job: Job) -> dict[str, Any]:
    """Every setting of a job by its dotted name, with the defaults where the service could fill them in."""
    return flat(job.resolved_config or job.config)
