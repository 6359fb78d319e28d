"""Which failed attempts are tried again with other settings."""

from collections.abc import Sequence
from datetime import UTC, datetime

import pytest

from cluster.policy.recovery import Recover, recover
from ftlab.schemas.adjustments import AdjustedBy, Adjustment, Change
from ftlab.schemas.failures import FailureAnalysis, ResumeFrom, Suggestion
from ftlab.status import ReasonCode

R = ReasonCode
BATCH = Change(field="training.per_device_train_batch_size", from_=4, to=2)
LENGTH = Change(field="method.max_length", from_=1024, to=512)
RATE = Change(field="training.learning_rate", from_=2e-4, to=1e-4)
BEST = ResumeFrom(name="step-00000010", step=10, eval_loss=1.5, reason="It has the lowest eval loss.")


def analysis(*changes: Change, resume_from: ResumeFrom | None = None) -> FailureAnalysis:
    suggestions = [Suggestion(changes=[change], reason="It helps.", effect="4 GB less.") for change in changes]
    return FailureAnalysis(
        cause="gpu_memory",
        reason=R.DEVICE_OOM,
        attempt=1,
        confidence="certain",
        sentence="No memory.",
        suggestions=suggestions,
        resume_from=resume_from,
    )


def adjustments(*made: tuple[AdjustedBy, Change]) -> list[Adjustment]:
    now = datetime(2030, 1, 1, tzinfo=UTC)
    return [Adjustment(at=now, by=by, attempt=1, changes=[change]) for by, change in made]


def decide(
    reason: ReasonCode, found: FailureAnalysis, *made: tuple[AdjustedBy, Change], refused: str = ""
) -> Recover | None:
    def can_take(changes: Sequence[Change]) -> bool:
        return all(change.field != refused for change in changes)

    return recover(reason, found, adjustments(*made), learning_rate=2e-4, can_take=can_take)


AUTO, USER = AdjustedBy.AUTOMATIC, AdjustedBy.USER


@pytest.mark.parametrize("reason", [R.DEVICE_OOM, R.HOST_OOM])
@pytest.mark.parametrize(
    ("made", "number"),
    [
        ((), 1),
        (((AUTO, BATCH),), 2),
        (((AUTO, BATCH), (USER, BATCH), (AUTO, RATE), (AUTO, LENGTH)), 3),
        (((AUTO, BATCH),) * 3, None),
    ],
)
def test_a_lack_of_memory_takes_the_next_suggestion_three_times(reason, made, number):
    decision = decide(reason, analysis(BATCH, LENGTH, resume_from=BEST), *made)
    if number is None:
        assert decision is None
    else:
        why = f"Attempt {number} of 3 to recover from {reason.value}. 4 GB less."
        assert decision == Recover((BATCH,), why)


def test_a_suggestion_that_the_checkpoint_cannot_take_is_passed_over():
    decision = decide(R.DEVICE_OOM, analysis(BATCH, LENGTH), refused=BATCH.field)
    assert decision is not None
    assert decision.changes == (LENGTH,)
    assert decide(R.DEVICE_OOM, analysis(BATCH), refused=BATCH.field) is None
    assert decide(R.DEVICE_OOM, analysis()) is None


def test_a_divergence_halves_the_learning_rate_once_from_the_best_checkpoint():
    decision = decide(R.LOSS_DIVERGED, analysis(RATE, LENGTH, resume_from=BEST), (AUTO, BATCH), (USER, RATE))
    why = "The only attempt to recover from loss_diverged. The job continues from step-00000010."
    assert decision == Recover((RATE,), why, "step-00000010")
    assert decide(R.LOSS_DIVERGED, analysis(RATE, resume_from=BEST), (AUTO, RATE)) is None
    assert decide(R.LOSS_DIVERGED, analysis(RATE), refused=RATE.field) is None


def test_without_a_checkpoint_a_diverged_job_starts_over():
    decision = decide(R.LOSS_DIVERGED, analysis(RATE))
    assert decision is not None
    assert (decision.changes, decision.resume_from) == ((RATE,), None)
    assert decision.reason.endswith("The job has no checkpoint and starts over.")


def test_a_divergence_that_no_learning_rate_cures_is_final():
    assert decide(R.LOSS_DIVERGED, analysis(LENGTH, resume_from=BEST)) is None


@pytest.mark.parametrize("reason", sorted(set(R) - {R.DEVICE_OOM, R.HOST_OOM, R.LOSS_DIVERGED}))
def test_no_other_failure_changes_the_config(reason):
    assert decide(reason, analysis(BATCH, resume_from=BEST)) is None
