"""Where the time of a job went: every second is in one part."""

from datetime import UTC, datetime, timedelta

import pytest

from ftlab.status import JobStatus, ReasonCode
from train.analytics.time_use import NOT_RECORDED, AttemptSpan, Reading, StatusChange, time_use_of

CREATED = datetime(2030, 1, 1, tzinfo=UTC)
S = JobStatus


def at(seconds: float) -> datetime:
    return CREATED + timedelta(seconds=seconds)


def span(
    number: int,
    began: float,
    ended: float | None,
    *,
    resumed_from: int | None = None,
    reached: int | None = None,
    reason: ReasonCode | None = ReasonCode.OK,
) -> AttemptSpan:
    return AttemptSpan(number, resumed_from, at(began), None if ended is None else at(ended), reason, reached)


def status(seconds: float, status: JobStatus, attempt: int = 1) -> StatusChange:
    return StatusChange(at(seconds), status, attempt)


def reading(attempt: int, step: int, seconds: float, **times_s: float) -> Reading:
    return Reading(attempt, step, at(seconds), times_s)


def test_an_undisturbed_job():
    use = time_use_of(
        CREATED,
        at(100),
        [status(0, S.QUEUED, 0), status(10, S.PENDING), status(20, S.RUNNING), status(100, S.COMPLETED)],
        [span(1, 10, 100, reached=50)],
        [reading(1, 25, 50, forward=10.0), reading(1, 50, 90, data=2.0, forward=20.0, backward=30.0, saving=5.0)],
    )
    assert (use.queued_s, use.starting_s, use.finishing_s, use.lost_s) == (10, 10, 10, 0)
    assert (use.data_s, use.forward_s, use.backward_s, use.saving_s, use.evaluation_s) == (2, 20, 30, 5, 0)
    assert use.other_s == pytest.approx(13)
    assert use.total_s == pytest.approx(100)
    assert use.missing is None


def test_what_an_attempt_did_after_the_checkpoint_that_was_resumed_is_lost():
    use = time_use_of(
        CREATED,
        at(200),
        [status(5, S.RUNNING, 1), status(110, S.RUNNING, 2)],
        [
            span(1, 0, 60, reached=30, reason=ReasonCode.WORKER_CRASHED),
            span(2, 100, 200, resumed_from=20, reached=50),
        ],
        [
            reading(1, 20, 40, forward=30.0),
            reading(1, 30, 58, forward=45.0),
            reading(2, 50, 190, forward=70.0),
        ],
    )
    assert use.forward_s == 100  # 30 up to the checkpoint, and 70 of the second attempt
    assert (use.lost_s, use.lost_steps) == (20, 10)
    assert (use.queued_s, use.starting_s, use.finishing_s) == (40, 15, 10)
    assert use.total_s == pytest.approx(200)


def test_an_attempt_of_which_nothing_was_kept_is_lost_as_a_whole():
    attempts = [
        span(1, 0, 30, reached=8, reason=ReasonCode.WORKER_CRASHED),
        span(2, 30, 50, reason=ReasonCode.WORKER_CRASHED),
        span(3, 50, 100, reached=20),
    ]
    use = time_use_of(CREATED, at(100), [status(60, S.RUNNING, 3)], attempts, [reading(3, 20, 100, forward=40.0)])
    assert (use.lost_s, use.lost_steps, use.starting_s, use.forward_s) == (50, 8, 10, 40)


def test_a_resume_from_an_older_checkpoint_discards_what_two_attempts_did_after_it():
    attempts = [
        span(1, 0, 50, reached=40),
        span(2, 50, 80, resumed_from=40, reached=60),
        span(3, 80, 120, resumed_from=10, reached=30),
    ]
    readings = [reading(1, 10, 20, forward=8.0), reading(1, 40, 48, forward=30.0), reading(3, 30, 120, forward=20.0)]
    running = [status(5, S.RUNNING, 1), status(55, S.RUNNING, 2), status(85, S.RUNNING, 3)]
    use = time_use_of(CREATED, at(120), running, attempts, readings)
    assert (use.lost_s, use.lost_steps, use.forward_s) == (30 + 30, 30 + 20, 28)
    assert use.total_s == pytest.approx(120)


def test_a_hang_after_a_checkpoint_is_lost_and_a_checkpoint_of_another_attempt_has_no_times():
    attempts = [
        span(1, 0, 100, reached=20, reason=ReasonCode.WORKER_HUNG),
        span(2, 100, None, resumed_from=20, reached=20, reason=None),
    ]
    readings = [reading(1, 20, 40, forward=30.0), reading(2, 20, 105)]
    use = time_use_of(CREATED, at(110), [status(5, S.RUNNING, 1), status(104, S.RUNNING, 2)], attempts, readings)
    assert (use.lost_s, use.lost_steps, use.finishing_s, use.starting_s) == (60, 0, 0, 9)
    assert (use.forward_s, use.missing) == (30, None)


def test_a_pause_loses_nothing():
    use = time_use_of(
        CREATED,
        at(200),
        [status(5, S.RUNNING, 1), status(50, S.PAUSED, 1), status(110, S.QUEUED, 1), status(125, S.RUNNING, 2)],
        [span(1, 0, 50, reached=20), span(2, 120, 200, resumed_from=20, reached=40)],
        [reading(1, 20, 48, forward=40.0), reading(2, 40, 199, forward=70.0)],
    )
    assert (use.lost_s, use.lost_steps, use.paused_s, use.queued_s) == (0, 0, 60, 10)
    assert use.finishing_s == 3


def test_the_time_in_which_a_reopened_job_was_completed_does_not_count():
    changes = [
        status(0, S.RUNNING, 1),
        status(50, S.COMPLETED, 1),
        status(1050, S.QUEUED, 1),
        status(1060, S.RUNNING, 2),
    ]
    attempts = [span(1, 0, 50, reached=20), span(2, 1060, 1100, resumed_from=20, reached=40)]
    use = time_use_of(CREATED, at(1100), changes, attempts, [])
    assert use.total_s == pytest.approx(100)
    assert use.queued_s == 10


def test_a_running_job_is_counted_until_now():
    attempts = [span(1, 10, None, reached=20, reason=None)]
    use = time_use_of(CREATED, at(60), [status(20, S.RUNNING)], attempts, [reading(1, 18, 50, forward=25.0)])
    assert (use.total_s, use.forward_s, use.finishing_s) == (60, 25, 0)
    assert use.other_s == pytest.approx(5 + 10)


def test_events_of_an_older_version_have_no_parts():
    use = time_use_of(CREATED, at(60), [status(10, S.RUNNING)], [span(1, 0, 60, reached=9)], [reading(1, 9, 55)])
    assert (use.forward_s, use.data_s, use.missing) == (None, None, NOT_RECORDED)
    assert (use.starting_s, use.other_s, use.finishing_s, use.total_s) == (10, 45, 5, 60)


def test_a_job_in_the_queue_has_only_waited():
    use = time_use_of(CREATED, at(60), [status(0, S.QUEUED, 0)], [], [])
    assert (use.queued_s, use.total_s, use.forward_s, use.missing) == (60, 60, None, None)


def test_unordered_clocks_never_make_a_part_negative():
    changes = [status(30, S.RUNNING), status(20, S.COMPLETED)]
    use = time_use_of(CREATED, at(-5), changes, [span(1, 40, 10, reached=5)], [reading(1, 5, 90, forward=500.0)])
    assert min(value for value in use.model_dump().values() if isinstance(value, float | int)) >= 0
