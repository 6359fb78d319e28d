"""The analysis of an attempt that failed: cause, evidence, suggested changes, and where to continue. Pure rules."""

from ftlab.schemas.events import LOSS_FLAT
from ftlab.schemas.failures import Confidence, FailureAnalysis, ResumeFrom, Suggestion
from ftlab.status import CAUSES, FailureCause, Phase, ReasonCode
from train.failures.divergence import RISEN, rise_after
from train.failures.evidence import evidence_of
from train.failures.facts import FailureFacts, SavedCheckpoint
from train.failures.memory_suggestions import for_main_memory, for_memory
from train.failures.sentences import sentence_of
from train.failures.suggestions import (
    for_config,
    for_cost,
    for_disk,
    for_divergence,
    for_no_learning,
    for_stall,
    for_time,
)
from train.failures.traceback_text import phase_of

C = FailureCause

GPU_MEMORY = frozenset({C.GPU_MEMORY, C.GPU_MEMORY_TRAINING, C.GPU_MEMORY_EVALUATION})
_GUESSED: dict[FailureCause, Confidence] = {
    C.KILLED: "likely",
    C.COLLECTIVE_LOST: "likely",
    C.CUDA_ERROR: "likely",
    C.LEARNED_NOTHING: "likely",
    C.INTERNAL_ERROR: "possible",
}
"""How sure the rule for a cause is; the others follow from an error that says so."""
_SUGGESTIONS = {
    C.DISK_FULL: for_disk,
    C.STUCK: for_stall,
    C.DIVERGED: for_divergence,
    C.LEARNED_NOTHING: for_no_learning,
    C.TIME_LIMIT: for_time,
    C.COST_LIMIT: for_cost,
    C.BAD_CONFIG: for_config,
}


def analyse(facts: FailureFacts) -> FailureAnalysis:
    """Find out why an attempt failed. The same facts give the same analysis; nothing is read or loaded."""
    phase = phase_of(facts.failure.traceback) or facts.phase
    cause = _cause_of(facts, phase)
    return FailureAnalysis(
        cause=cause,
        reason=facts.failure.reason,
        phase=phase,
        attempt=facts.attempt,
        confidence=_confidence_in(cause, facts),
        sentence=sentence_of(cause, facts, phase),
        evidence=evidence_of(cause, facts, phase),
        suggestions=_suggestions(cause, facts, phase) if facts.config else [],
        resume_from=_resume_from(cause, facts),
    )


def _cause_of(facts: FailureFacts, phase: Phase | None) -> FailureCause:
    failure = facts.failure
    cause = failure.cause or CAUSES.get(failure.reason, C.INTERNAL_ERROR)
    if cause is C.GPU_MEMORY and phase is Phase.TRAINING:
        return C.GPU_MEMORY_TRAINING
    if cause is C.GPU_MEMORY and phase is Phase.EVALUATING:
        return C.GPU_MEMORY_EVALUATION
    if cause in (C.TIME_LIMIT, C.COST_LIMIT) and LOSS_FLAT in facts.alarms:
        return C.LEARNED_NOTHING
    return cause


def _suggestions(cause: FailureCause, facts: FailureFacts, phase: Phase | None) -> list[Suggestion]:
    if cause in GPU_MEMORY:
        return for_memory(facts, phase)
    if cause is C.HOST_MEMORY:
        return for_main_memory(facts, phase)
    suggest = _SUGGESTIONS.get(cause)
    return suggest(facts) if suggest else []


def _confidence_in(cause: FailureCause, facts: FailureFacts) -> Confidence:
    if cause is C.HOST_MEMORY and facts.failure.reason is ReasonCode.WORKER_CRASHED:
        return "likely"  # the kernel killed a process of the machine, not necessarily one of this run
    is_told = phase_of(facts.failure.traceback) is not None
    if cause in (C.GPU_MEMORY_TRAINING, C.GPU_MEMORY_EVALUATION) and not is_told and facts.failure.cause is not cause:
        return "likely"  # the phase is that of the newest heartbeat
    return _GUESSED.get(cause, "certain")


def _resume_from(cause: FailureCause, facts: FailureFacts) -> ResumeFrom | None:
    """The newest checkpoint; after a divergence one from before its beginning."""
    if not facts.checkpoints:
        return None
    if cause is C.DIVERGED:
        saved, why = _before_divergence(facts)
    else:
        saved, why = facts.checkpoints[0], "It is the newest, so the fewest steps are trained again."
    return ResumeFrom(name=saved.name, step=saved.step, eval_loss=saved.eval_loss, reason=why)


def _before_divergence(facts: FailureFacts) -> tuple[SavedCheckpoint, str]:
    """The best checkpoint by eval loss; without one, the newest from before the training loss rose."""
    best = next((saved for saved in facts.checkpoints if saved.is_best and saved.eval_loss is not None), None)
    if best is not None:
        why = (
            f"It has the lowest eval loss ({best.eval_loss:.4g}); the loss may have been rising at later ones already."
        )
        return best, why
    rises = [(rise_after(facts, saved.step), saved) for saved in facts.checkpoints]
    before = [saved for rise, saved in rises if rise < RISEN]
    if before:
        return before[0], "It is the newest from before the training loss rose."
    _, least = min(rises, key=lambda pair: (pair[0], pair[1].step))
    return least, "The training loss had risen at every checkpoint, and the least at this one."
