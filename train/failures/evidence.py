"""The lines from which the cause of a failure was concluded, and the measurements that belong to it."""

from collections import Counter
from statistics import median

from ftlab.status import FailureCause, Phase
from train.failures.facts import FailureFacts
from train.failures.traceback_text import error_line, innermost_frame

C = FailureCause
MAX_LOG_LINES = 3
MAX_POINTS = 5
_MEMORY = frozenset({C.GPU_MEMORY, C.GPU_MEMORY_TRAINING, C.GPU_MEMORY_EVALUATION, C.HOST_MEMORY})
_SILENT = frozenset({C.KILLED, C.STUCK, C.MACHINE_LOST})
"""Causes without an error of the run: its last log lines say the most."""


def evidence_of(cause: FailureCause, facts: FailureFacts, phase: Phase | None) -> list[str]:
    """Evidence for the cause, the most telling line first."""
    failure = facts.failure
    lines = [line for line in (error_line(failure.traceback), _frame(failure.traceback)) if line]
    if failure.field:
        lines.append(f"The setting at fault is {failure.field}.")
    lines += failure.notes
    if cause in _MEMORY:
        lines += _memory(cause, facts, phase)
    if cause in (C.DIVERGED, C.LEARNED_NOTHING):
        lines += _series(facts)
    if cause in _SILENT:
        lines += [f"Last log line: {line}" for line in facts.log_tail[-MAX_LOG_LINES:]]
    if facts.earlier:
        counted = ", ".join(f"{reason} {number} x" for reason, number in Counter(facts.earlier).items())
        lines.append(f"Earlier attempts of the job failed too: {counted}.")
    return lines


def _frame(traceback: str) -> str | None:
    frame = innermost_frame(traceback)
    return f"Raised at {frame}" if frame else None


def _memory(cause: FailureCause, facts: FailureFacts, phase: Phase | None) -> list[str]:
    memory, config = facts.memory, facts.config
    if memory is None or config is None:
        return []
    if cause is C.HOST_MEMORY and memory.place.use_cuda:
        return []  # the estimate is that of the GPU
    length = memory.length(config)
    is_eval = phase is Phase.EVALUATING
    peak = memory.evaluation_bytes(config, length) if is_eval else memory.training_bytes(config, length)
    what = "an evaluation" if is_eval else f"a training step with rows of {length:,} tokens"
    return [f"Computed peak of {what}: {gb(peak)} of {gb(memory.memory_bytes)}."]


def _series(facts: FailureFacts) -> list[str]:
    lines = []
    if losses := facts.metrics.get("loss"):
        shown = ", ".join(f"{value:.4g} (step {step})" for step, value in losses[-MAX_POINTS:])
        lines.append(f"Newest losses: {shown}.")
    if norms := facts.metrics.get("grad_norm"):
        step, newest = norms[-1]
        usual = median(value for _, value in norms)
        lines.append(f"Gradient norm: {newest:.4g} at step {step}; the median of the newest points is {usual:.4g}.")
    if facts.config is not None:
        lines.append(f"Peak learning rate: {facts.config.learning_rate:g}.")
    return lines


def gb(num_bytes: int) -> str:
    """`12.3 GB`, in powers of 1,000 as everywhere in this service."""
    return f"{num_bytes / 1e9:.1f} GB" if num_bytes >= 1e9 else f"{num_bytes / 1e6:.0f} MB"
