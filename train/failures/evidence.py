"""The lines from which the cause of a failure was concluded, and the measurements that belong to it."""

import re
from collections import Counter
from statistics import median

from ftlab.status import FailureCause, Phase
from train.estimate.devices import MARGIN
from train.failures.facts import FailureFacts
from train.failures.traceback_text import error_line, innermost_frame

C = FailureCause
TRAINING_STEP = "a training step"
WORK: dict[Phase | None, str] = {Phase.EVALUATING: "an evaluation", Phase.LOADING: "loading the model"}
"""The phases whose memory is computed, besides that of a training step."""
MAX_LOG_LINES = 3
MAX_POINTS = 5
_MEMORY = frozenset({C.GPU_MEMORY, C.GPU_MEMORY_TRAINING, C.GPU_MEMORY_EVALUATION, C.HOST_MEMORY})
_OURS = ("ftlab.", "train.")
_WARNING = re.compile(r"^\w*Warning: .* \(.+, line \d+\)$|\w+\.py:\d+: \w*Warning: |^\s+warnings\.warn\(")
"""Lines of Python's warnings, which say nothing about the end of a process: as the log of a run has them, and as
Python writes them."""
_SILENT = frozenset({C.KILLED, C.STUCK, C.MACHINE_LOST})
"""Causes without an error of the run: its last log lines say the most."""


def evidence_of(cause: FailureCause, facts: FailureFacts, phase: Phase | None) -> list[str]:
    """Evidence for the cause, the most specific line first."""
    failure = facts.failure
    lines = _error(failure.traceback)
    if failure.field:
        lines.append(f"The setting at fault is {failure.field}.")
    lines += failure.notes
    if cause in _MEMORY:
        lines += _memory(cause, facts, phase)
    if cause in (C.DIVERGED, C.LEARNED_NOTHING):
        lines += _series(facts)
    if cause in _SILENT:
        told = [line for line in facts.log_tail if not _WARNING.search(line)]
        lines += [f"Last log line: {line}" for line in told[-MAX_LOG_LINES:]]
    if facts.earlier:
        counted = ", ".join(f"{reason} ({number})" for reason, number in Counter(facts.earlier).items())
        lines.append(f"Earlier attempts of the job failed with {counted}.")
    return lines


def _error(traceback: str) -> list[str]:
    """The error and the frame that raised it; none for an error of ours, whose message is the sentence."""
    line, frame = error_line(traceback), innermost_frame(traceback)
    if line is None or line.startswith(_OURS):
        return []
    return [line, f"Raised at {frame}"] if frame else [line]


def _memory(cause: FailureCause, facts: FailureFacts, phase: Phase | None) -> list[str]:
    memory, config = facts.memory, facts.config
    if memory is None or config is None:
        return []
    if cause is C.HOST_MEMORY and memory.traits.use_cuda:
        return []  # the estimate is that of the GPU
    length = memory.length(config)
    peak = memory.peak(config, length, phase)
    rows = "" if phase in WORK else f" with rows of {length:,} tokens"
    line = f"Computed peak of {WORK.get(phase, TRAINING_STEP)}{rows}: {gb(peak)} of {gb(memory.memory_bytes)}."
    if peak * (1 + MARGIN) < memory.memory_bytes:
        line += " The estimate is too low for this job, or something else uses the same memory."
    return [line]


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
    if num_bytes >= 1e9:
        return f"{num_bytes / 1e9:.1f} GB"
    return f"{num_bytes / 1e6:.0f} MB" if num_bytes >= 1e6 else f"{num_bytes / 1e3:.0f} kB"
