"""The table of transitions hangs together."""

from collections import deque

import pytest

from ftlab.status import (
    ATTEMPT_STATUSES,
    RETRY_CLASSES,
    SENTENCES,
    TRANSITIONS,
    JobStatus,
    ReasonCode,
    RetryClass,
    StopKind,
    sources_of,
)

TERMINAL = {JobStatus.COMPLETED, JobStatus.FAILED, JobStatus.CANCELLED}


def test_every_status_has_its_row_and_its_sentence():
    assert set(TRANSITIONS) == set(SENTENCES) == set(JobStatus)
    assert len(set(SENTENCES.values())) == len(JobStatus)
    assert all(sentence.endswith(".") for sentence in SENTENCES.values())


def test_only_the_three_ends_are_terminal():
    assert {status for status in JobStatus if status.is_terminal} == TERMINAL


def test_no_status_follows_itself():
    assert all(status not in targets for status, targets in TRANSITIONS.items())


def reachable(start: JobStatus) -> set[JobStatus]:
    seen, todo = {start}, deque([start])
    while todo:
        new = TRANSITIONS[todo.popleft()] - seen
        seen |= new
        todo.extend(new)
    return seen


def test_every_status_is_reachable_from_queued():
    assert reachable(JobStatus.QUEUED) == set(JobStatus)


@pytest.mark.parametrize("status", [status for status in JobStatus if not status.is_terminal])
def test_every_living_status_can_be_cancelled_and_ends(status):
    assert JobStatus.CANCELLED in reachable(status)
    assert status is JobStatus.CANCELLING or JobStatus.CANCELLING in TRANSITIONS[status]


def test_a_cancelled_job_cannot_come_back():
    assert TRANSITIONS[JobStatus.CANCELLING] == {JobStatus.CANCELLED}


@pytest.mark.parametrize("status", sorted(ATTEMPT_STATUSES))
def test_an_attempt_can_fail_or_go_back_to_the_queue(status):
    assert {JobStatus.FAILED, JobStatus.QUEUED} <= TRANSITIONS[status]


@pytest.mark.parametrize("target", JobStatus)
def test_sources_are_the_table_read_backwards(target):
    assert set(sources_of(target)) == {status for status in JobStatus if target in TRANSITIONS[status]}


def test_every_reason_has_a_retry_class():
    assert set(RETRY_CLASSES) == set(ReasonCode)


@pytest.mark.parametrize(
    ("reason", "retry"),
    [
        (ReasonCode.CONFIG_INVALID, RetryClass.NEVER),
        (ReasonCode.DEVICE_OOM, RetryClass.NEVER),
        (ReasonCode.LOSS_DIVERGED, RetryClass.NEVER),
        (ReasonCode.USER_CANCELLED, RetryClass.NEVER),
        (ReasonCode.WORKER_CRASHED, RetryClass.BUDGET),
        (ReasonCode.WORKER_HUNG, RetryClass.BUDGET),
        (ReasonCode.NODE_LOST, RetryClass.FREE),
        (ReasonCode.SERVICE_RESTARTED, RetryClass.FREE),
    ],
)
def test_retry_class(reason, retry):
    assert RETRY_CLASSES[reason] is retry


def test_what_the_user_wants_is_more_urgent_than_what_the_service_wants():
    kinds = sorted(StopKind, key=lambda kind: kind.urgency, reverse=True)
    assert kinds == [
        StopKind.FENCED,
        StopKind.CANCEL,
        StopKind.PAUSE,
        StopKind.COST_LIMIT,
        StopKind.TIME_LIMIT,
        StopKind.PREEMPT,
        StopKind.EXTEND,
        StopKind.DRAIN,
    ]
