"""Where the time of a job went, from its statuses, its attempts, and the times that its events carry."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import pairwise

from ftlab.schemas.analytics import TimeUse
from ftlab.schemas.events import RunPart
from ftlab.status import RETRY_CLASSES, JobStatus, ReasonCode, RetryClass
from train.analytics.series import kept_steps

NOT_RECORDED = "The parts of the steps were not recorded by the version of the service that ran the job."
NOT_RECORDED_BY_ALL = (
    "The parts of the steps cover only some attempts: others ran with a version of the service that did not record "
    "them; their time is in other_s."
)


CRASHES = frozenset(
    reason for reason, retry in RETRY_CLASSES.items() if retry is RetryClass.BUDGET or reason is ReasonCode.NODE_LOST
)
"""Reasons of attempts that were retried and did not end in order: the time after their last checkpoint is lost."""


@dataclass(frozen=True)
class AttemptSpan:
    """One attempt in time."""

    number: int
    resumed_from: int | None
    began: datetime
    ended: datetime | None
    """`None` while it is alive."""
    reason: ReasonCode | None
    reached: int | None
    """The newest step that it reported."""


@dataclass(frozen=True)
class Reading:
    """An event that carries the times of its attempt."""

    attempt: int
    step: int
    at: datetime
    times_s: Mapping[str, float]
    """Seconds by `RunPart`; empty in events of an older version."""


@dataclass(frozen=True)
class StatusChange:
    """A status event. `attempt` is the newest attempt at that time."""

    at: datetime
    status: JobStatus
    attempt: int


@dataclass
class _Sums:
    starting: float = 0.0
    finishing: float = 0.0
    lost: float = 0.0
    other: float = 0.0
    lost_steps: int = 0
    parts: dict[str, float] = field(default_factory=dict)
    has_parts: list[bool] = field(default_factory=list)
    """For each attempt with kept steps, whether its parts are known."""


def time_use_of(
    created: datetime,
    until: datetime,
    statuses: Sequence[StatusChange],
    attempts: Sequence[AttemptSpan],
    readings: Sequence[Reading],
) -> TimeUse:
    """Where the time from `created` to `until` went; `until` is the end of the job, or now."""
    kept = kept_steps({attempt.number: attempt.resumed_from for attempt in attempts})
    sums = _Sums()
    running_s = 0.0
    for attempt in attempts:
        end = attempt.ended or until
        running_s += _seconds(attempt.began, end)
        _add(sums, attempt, end, kept[attempt.number], statuses, readings)
    paused_s, ended_s = _idle_times(created, until, statuses)
    queued_s = max(0.0, _seconds(created, until) - ended_s - paused_s - running_s)
    parts = {f"{part}_s": sums.parts.get(part, 0.0) if any(sums.has_parts) else None for part in RunPart}
    known = (queued_s, paused_s, sums.starting, sums.finishing, sums.lost, sums.other, *sums.parts.values())
    missing = None if all(sums.has_parts) else NOT_RECORDED_BY_ALL if any(sums.has_parts) else NOT_RECORDED
    return TimeUse(
        total_s=math.fsum(known),
        queued_s=queued_s,
        paused_s=paused_s,
        starting_s=sums.starting,
        **parts,
        finishing_s=sums.finishing,
        lost_s=sums.lost,
        other_s=sums.other,
        lost_steps=sums.lost_steps,
        missing=missing,
    )


def _add(
    sums: _Sums,
    attempt: AttemptSpan,
    end: datetime,
    kept: float,
    statuses: Sequence[StatusChange],
    readings: Sequence[Reading],
) -> None:
    """Add the time of one attempt, whose work is kept up to the step `kept`."""
    wall_s = _seconds(attempt.began, end)
    first = attempt.resumed_from or 0
    reached = first if attempt.reached is None else attempt.reached
    if kept <= first:
        sums.lost += wall_s
        sums.lost_steps += max(0, reached - first)
        return
    # An attempt also reports checkpoints of an earlier one that had no time to do so; their times are not its own.
    mine = [
        each
        for each in readings
        if each.attempt == attempt.number and each.step <= kept and (each.times_s or each.step > first)
    ]
    started = next(
        (each.at for each in statuses if each.attempt == attempt.number and each.status is JobStatus.RUNNING), None
    )
    starting_s = min(wall_s, _seconds(attempt.began, started or end))
    sums.starting += starting_s
    if not mine:
        sums.other += wall_s - starting_s
        return
    newest = max(mine, key=lambda reading: reading.at)
    timed = {part: time_s for part, time_s in newest.times_s.items() if part in set(RunPart)}
    for part, time_s in timed.items():
        sums.parts[part] = sums.parts.get(part, 0.0) + time_s
    sums.has_parts.append(bool(timed))
    after_s = min(wall_s - starting_s, _seconds(newest.at, end))
    sums.other += max(0.0, wall_s - starting_s - after_s - math.fsum(timed.values()))
    if kept < reached or (math.isfinite(kept) and attempt.reason in CRASHES):
        sums.lost += after_s
        sums.lost_steps += max(0, int(reached - kept))
    elif newest.step == kept or attempt.reason is ReasonCode.OK:
        sums.finishing += after_s
    else:
        sums.other += after_s


def _idle_times(created: datetime, until: datetime, statuses: Sequence[StatusChange]) -> tuple[float, float]:
    """Seconds in which the job was paused, and in which it had ended before it was reopened."""
    first = StatusChange(created, JobStatus.QUEUED, 0)
    last = StatusChange(until, JobStatus.QUEUED, 0)
    paused_s = ended_s = 0.0
    for change, following in pairwise([first, *statuses, last]):
        time_s = _seconds(change.at, following.at)
        paused_s += time_s if change.status is JobStatus.PAUSED else 0.0
        ended_s += time_s if change.status.is_terminal else 0.0
    return paused_s, ended_s


def _seconds(begin: datetime, end: datetime) -> float:
    return max(0.0, (end - begin).total_seconds())
