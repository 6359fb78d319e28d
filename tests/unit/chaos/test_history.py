"""The oracle of the chaos tests finds what it is there for."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

import pytest

from ftlab.schemas import Event, EventKind, Job
from ftlab.status import JobStatus, ReasonCode
from tests.chaos import history
from tracking.store.records import AttemptRecord, MetricRecord

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


@dataclass
class Record:
    """A job that crashed at step 3, resumed from step 2, and finished at step 4."""

    job: Job = field(
        default_factory=lambda: Job(
            id="job-1",
            owner="local",
            name="sums",
            status=JobStatus.COMPLETED,
            message="The job is finished.",
            reason=ReasonCode.OK,
            config={},
            attempt=2,
            total_steps=4,
            last_seq=8,
            model_id="mdl-1",
            created_at=NOON,
        )
    )
    attempts: list[AttemptRecord] = field(
        default_factory=lambda: [
            attempt(1, 0, 10, ReasonCode.WORKER_CRASHED),
            attempt(2, 11, 20, ReasonCode.OK),
        ]
    )
    events: list[Event] = field(
        default_factory=lambda: [
            status(1, 0, "queued"),
            metrics(2, 1, 1),
            metrics(3, 1, 2),
            metrics(4, 1, 3),
            status(5, 1, "queued"),
            metrics(6, 2, 3),
            metrics(7, 2, 4),
            status(8, 2, "completed"),
        ]
    )
    points: list[MetricRecord] = field(
        default_factory=lambda: [point(1, 1), point(2, 1), point(3, 2), point(4, 2)],
    )

    def violations(self) -> list[str]:
        return list(history.violations(self.job, self.attempts, self.events, self.points))


def attempt(number: int, begin_s: int, end_s: int, reason: ReasonCode) -> AttemptRecord:
    return AttemptRecord(
        job_id="job-1",
        number=number,
        driver=f"run-{number}",
        cpus=1,
        gpus=0.0,
        placement_groups=(),
        pids=(),
        resumed_from_step=None,
        created_at=NOON + timedelta(seconds=begin_s),
        heartbeat_at=NOON + timedelta(seconds=end_s),
        ended_at=NOON + timedelta(seconds=end_s),
        reason=reason,
        message="It ended.",
    )


def status(seq: int, number: int, name: str) -> Event:
    return Event(job_id="job-1", seq=seq, attempt=number, at=NOON, kind=EventKind.STATUS, data={"status": name})


def metrics(seq: int, number: int, step: int) -> Event:
    data = {"step": step, "values": {"loss": 1.0}}
    return Event(job_id="job-1", seq=seq, attempt=number, at=NOON, kind=EventKind.METRICS, data=data)


def point(step: int, number: int) -> MetricRecord:
    return MetricRecord("job-1", "loss", step, 1.0, NOON, number)


def test_a_sound_record_has_no_violation() -> None:
    assert Record().violations() == []


def _with_job(**changes: object) -> Callable[[Record], None]:
    def damage(record: Record) -> None:
        record.job = record.job.model_copy(update=changes)

    return damage


def _lose_event(record: Record) -> None:
    del record.events[2]


def _double_event(record: Record) -> None:
    record.events.insert(3, record.events[2])


def _late_event(record: Record) -> None:
    record.events[6] = metrics(7, 1, 4)


def _second_end(record: Record) -> None:
    record.events[4] = status(5, 1, "failed")


def _overlap(record: Record) -> None:
    record.attempts[0] = replace(record.attempts[0], ended_at=NOON + timedelta(seconds=12))


def _two_live(record: Record) -> None:
    record.attempts[0] = replace(record.attempts[0], ended_at=None, reason=None, message=None)


def _lose_attempt(record: Record) -> None:
    del record.attempts[0]


def _no_cause(record: Record) -> None:
    record.attempts[0] = replace(record.attempts[0], reason=None)


def _lose_point(record: Record) -> None:
    del record.points[1]


def _double_point(record: Record) -> None:
    record.points.insert(2, point(2, 2))


def _old_point(record: Record) -> None:
    record.points[3] = point(4, 1)


def _backwards(record: Record) -> None:
    record.events[6] = metrics(7, 2, 3)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (_lose_event, "gap or a double"),
        (_double_event, "gap or a double"),
        (_late_event, "wrote after a newer one"),
        (_second_end, "did not end once"),
        (_overlap, "the next began"),
        (_two_live, "lives"),
        (_lose_attempt, "its attempts are"),
        (_no_cause, "attempt 1 ended for None"),
        (_lose_point, "its steps are"),
        (_double_point, "its steps are"),
        (_old_point, "measured a later step"),
        (_backwards, "measured step 3 after 3"),
        (_with_job(status=JobStatus.FAILED), "its log ends with"),
        (_with_job(message="Done"), "no sentence"),
        (_with_job(reason=None), "for the reason None"),
        (_with_job(reason=ReasonCode.WORKER_CRASHED), "for the reason worker_crashed"),
        (_with_job(model_id=None), "with the model None"),
        (_with_job(total_steps=5), "its steps are"),
    ],
)
def test_each_violation_is_told(damage: Callable[[Record], None], words: str) -> None:
    record = Record()
    damage(record)
    assert any(words in violation for violation in record.violations())
