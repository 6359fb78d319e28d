"""Which events become which notifications."""

from dataclasses import replace

import pytest

from ftlab.schemas import FailurePayload, NoticePayload, StatusPayload
from ftlab.schemas.adjustments import AdjustedBy, Change
from ftlab.schemas.events import ALARMS, CONFIG_ADJUSTED, FAILURE_ANALYSED, AdjustedPayload
from ftlab.schemas.failures import FailureAnalysis, Suggestion
from ftlab.schemas.notifications import NotificationKind
from ftlab.status import JobKind, JobStatus, ReasonCode
from tests.unit.tracking.samples import NOW
from tracking.notifications.wording import MAX_MESSAGE_CHARS, notifications_of
from tracking.store.notifications import JobCursor
from tracking.store.records import EventRecord

S, K = JobStatus, NotificationKind
JOB = JobCursor("job-1", "local", "support-v3", S.RUNNING, 99, 0)
ANALYSIS = FailureAnalysis(
    cause="gpu_memory",
    reason=ReasonCode.DEVICE_OOM,
    attempt=1,
    confidence="certain",
    sentence="The GPU ran out of memory.",
    suggestions=[
        Suggestion(
            changes=[Change(field="training.per_device_train_batch_size", from_=8, to=4)], reason="r", effect="e"
        )
    ],
)
ANALYSED = FailurePayload(code=FAILURE_ANALYSED, message="Cause.", analysis=ANALYSIS)
RECOVERED = AdjustedPayload(code=CONFIG_ADJUSTED, message="Changed.", by=AdjustedBy.AUTOMATIC)
CHANGED = AdjustedPayload(code=CONFIG_ADJUSTED, message="Changed.", by=AdjustedBy.USER)


def to(status, message="A sentence.", reason=None):
    return StatusPayload(status=status, message=message, reason=reason)


def made(payloads, previous, job=JOB):
    events = [
        EventRecord("job-1", seq, 1, NOW, each.kind, each.to_data(), "local", seq)
        for seq, each in enumerate(payloads, 1)
    ]
    return list(notifications_of(job, events, previous))


@pytest.mark.parametrize(
    ("previous", "payloads", "kinds"),
    [
        (None, [to(S.QUEUED)], [K.SUBMITTED]),
        (S.QUEUED, [to(S.PENDING), to(S.INITIALIZING), to(S.RUNNING)], [K.STARTED]),
        (S.RUNNING, [to(S.COMPLETED)], [K.COMPLETED]),
        (S.RUNNING, [to(S.CANCELLING), to(S.CANCELLED)], [K.CANCELLED]),
        (S.RUNNING, [to(S.PAUSING), to(S.PAUSED), to(S.QUEUED)], [K.PAUSED, K.RESUMED]),
        (S.FAILED, [CHANGED, to(S.QUEUED)], [K.RESUMED]),
        (S.RUNNING, [ANALYSED, to(S.FAILED)], [K.FAILED]),
        (S.RUNNING, [ANALYSED, to(S.QUEUED)], [K.RETRIED]),
        (S.RUNNING, [ANALYSED, RECOVERED, to(S.QUEUED)], [K.RECOVERED]),
        (S.PAUSING, [to(S.QUEUED)], [K.REQUEUED]),
        (S.RUNNING, [NoticePayload(code=code, message="Look.") for code in sorted(ALARMS)], [K.ALARM] * len(ALARMS)),
        (S.RUNNING, [NoticePayload(code="data_checked", message="Fine.")], []),
    ],
)
def test_each_life_event_becomes_one_notification(previous, payloads, kinds):
    assert [each.kind for each in made(payloads, previous)] == kinds


def test_a_failure_names_its_cause_and_what_to_change():
    [failed] = made([ANALYSED, to(S.FAILED, "It ran out of memory.", ReasonCode.DEVICE_OOM)], S.RUNNING)
    assert (failed.title, failed.reason, failed.cause) == ("support-v3 failed", ReasonCode.DEVICE_OOM, "gpu_memory")
    assert (failed.job_id, failed.job_name, failed.event_seq) == ("job-1", "support-v3", 2)
    assert failed.message == (
        "It ran out of memory. The GPU ran out of memory. Suggested change: "
        "training.per_device_train_batch_size 8 -> 4. 'ftlab why job-1' shows the evidence."
    )


def test_an_analysis_belongs_to_the_next_status_only():
    kinds = [each.kind for each in made([ANALYSED, to(S.QUEUED), to(S.PENDING), to(S.QUEUED)], S.RUNNING)]
    assert kinds == [K.RETRIED, K.REQUEUED]


def test_of_an_engine_only_a_failure_is_notified_of():
    engine = replace(JOB, kind=JobKind.ENGINE)
    life = [to(S.QUEUED), to(S.RUNNING), to(S.QUEUED), to(S.RUNNING), to(S.COMPLETED)]
    assert made(life, None, engine) == []
    assert [each.kind for each in made([*life[:2], to(S.FAILED)], None, engine)] == [K.FAILED]


def test_long_messages_are_cut():
    [failed] = made([to(S.FAILED, "x" * 10_000)], S.RUNNING)
    assert len(failed.message) == MAX_MESSAGE_CHARS + 3
