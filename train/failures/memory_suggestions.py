"""Changes of a config that need less memory, each with its effect as the estimate of the job computes it."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice

from ftlab.schemas import JobConfig
from ftlab.schemas.failures import Suggestion
from ftlab.status import Phase
from train.estimate.alternatives import (
    Change,
    quantised,
    recomputed,
    shorter,
    smaller_evaluations,
    smaller_optimizer,
    smaller_passes,
)
from train.estimate.devices import MARGIN
from train.failures.evidence import TRAINING_STEP, WORK, gb
from train.failures.facts import FailureFacts
from train.failures.suggestions import suggestion

Kind = Callable[[JobConfig, int, Mapping[int, int]], Iterator[Change]]
OF_TRAINING: tuple[Kind, ...] = (smaller_passes, recomputed, smaller_optimizer, quantised, shorter)
"""The ladder: what costs the least first."""
OF_EVALUATION: tuple[Kind, ...] = (smaller_evaluations, smaller_optimizer, quantised, shorter)
"""Recomputing activations is not a rung: an evaluation keeps none."""
OF_LOADING: tuple[Kind, ...] = (quantised,)
MAX_RUNGS = 8
MIN_SAVING = 0.02
"""Share of the peak below which a change is not worth its cost."""
NOT_COMPUTED = "How much memory it saves is not computed: no run wrote down the dimensions of the model."


@dataclass(frozen=True)
class _Peaks:
    """Peaks of configs, scaled up so that the config that ran out of memory needs all of it at least."""

    of: Callable[[JobConfig, int], int]
    now: int
    memory: int
    what: str

    @property
    def scale(self) -> float:
        return max(1.0, self.memory / self.now)

    def fits(self, peak: float) -> bool:
        return peak * self.scale * (1 + MARGIN) <= self.memory


def for_memory(facts: FailureFacts, phase: Phase | None) -> list[Suggestion]:
    """The ladder of the phase in which memory ran out: changes that fit first, each with the memory that it saves."""
    kinds = {Phase.EVALUATING: OF_EVALUATION, Phase.LOADING: OF_LOADING}
    return _suggestions(facts, kinds.get(phase, OF_TRAINING) if phase else OF_TRAINING, phase)


def for_main_memory(facts: FailureFacts, phase: Phase | None) -> list[Suggestion]:
    """The same ladders where the run trained on the CPU; on a GPU, batches that wait in main memory."""
    assert facts.config is not None
    if facts.memory is None or not facts.memory.traits.use_cuda:
        return for_memory(facts, phase)
    if not facts.config.training.dataloader_num_workers:
        return []
    changes = {"training.dataloader_num_workers": 0, "training.dataloader_prefetch_factor": None}
    reason = "Batches are put together in the training process, and none waits in memory."
    return suggestion(facts.config, changes, reason, "One process less in main memory for each worker of the loader.")


def _suggestions(facts: FailureFacts, kinds: Sequence[Kind], phase: Phase | None) -> list[Suggestion]:
    config = facts.config
    assert config is not None
    lengths = facts.memory.lengths if facts.memory else {}
    length = facts.memory.length(config) if facts.memory else config.method.max_length
    peaks = _peaks(facts, length, phase)
    fitting: list[Suggestion] = []
    others: list[Suggestion] = []
    for kind in kinds:
        changes = list(islice(kind(config, length, lengths), MAX_RUNGS))
        if peaks is None:
            others += [_described(config, change, None, lengths) for change in changes[:1]]
            continue
        most = (1 - MIN_SAVING) * peaks.now
        saving = [change for change in changes if peaks.of(change.config, change.length) <= most]
        fits = [change for change in saving if peaks.fits(peaks.of(change.config, change.length))]
        found = fitting if fits else others
        found += [_described(config, change, peaks, lengths) for change in (fits or saving)[:1]]
    return fitting + others


def _peaks(facts: FailureFacts, length: int, phase: Phase | None) -> _Peaks | None:
    if facts.memory is None or facts.config is None:
        return None
    of = partial(facts.memory.peak, phase=phase)
    return _Peaks(of, of(facts.config, length), facts.memory.memory_bytes, WORK.get(phase, TRAINING_STEP))


def _described(config: JobConfig, change: Change, peaks: _Peaks | None, lengths: Mapping[int, int]) -> Suggestion:
    reason = change.message
    if cut := sum(number for tokens, number in lengths.items() if tokens > change.length):
        reason = f"Cuts {cut:,} of {sum(lengths.values()):,} rows to {change.length:,} tokens."
    if peaks is None:
        return suggestion(config, change.changes, reason, NOT_COMPUTED)[0]
    peak = peaks.of(change.config, change.length)
    still = "" if peaks.fits(peak) else " That alone may not be enough."
    less = peaks.now - peak
    effect = f"By the estimate, {peaks.what} needs {gb(peak)} instead of {gb(peaks.now)} ({gb(less)} less).{still}"
    return suggestion(config, change.changes, reason, effect, bytes_saved=less)[0]
