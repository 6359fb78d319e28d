"""Row 1: tokens per second of a job in the service / of a plain TRL script with the same config, seed and threads.

The plain script runs while the service is stopped, so that what an idle service costs is counted against us.
"""

import statistics
from collections.abc import Sequence
from itertools import pairwise

from tests.bench.bench import Bench
from tests.bench.harness import BenchError, Goal, Measurement, interleave, say
from tests.bench.runs import Step, run_job, run_plain, steps_of
from tests.bench.workload import MID, Workload, prepare, prepare_real

ROW = 1
TITLE = "training efficiency"
DROPPED_STEPS = 3
LOSS_TOLERANCE = 1e-4


def run(bench: Bench) -> list[Measurement]:
    work = prepare(bench.service, bench.folder, MID)
    measured = _measure(bench, work, "random Llama 23M", max_steps=24 if bench.quick else 60)
    if bench.real is not None:
        work = prepare_real(bench.service, bench.folder, bench.real)
        measured += _measure(bench, work, bench.real.name, max_steps=12 if bench.quick else 30)
    return measured


def _measure(bench: Bench, work: Workload, model: str, max_steps: int) -> list[Measurement]:
    config = work.job(f"efficiency {model}", max_steps=max_steps)
    run_plain(
        work, config.model_copy(update={"training": config.training.model_copy(update={"max_steps": 2})}), bench.folder
    )

    def in_service() -> list[Step]:
        bench.service.wait_for_standby()
        bench.service.settle()
        return steps_of(run_job(bench.service, config))

    def plain() -> list[Step]:
        with bench.service.away():
            return run_plain(work, config, bench.folder).steps

    ours, baseline = interleave(bench.pairs, in_service, plain)
    for job_steps, plain_steps in zip(ours, baseline, strict=True):
        require_equal_losses(job_steps, plain_steps)
    say(f"row 1, {model}: losses of {max_steps} steps are equal within {LOSS_TOLERANCE}")
    steps = f"{model}, {max_steps} steps, {_step_s(baseline):.2f} s a step"
    return [
        Measurement(
            ROW,
            f"{TITLE}, {model}: median step",
            "tok/s",
            [median_tokens_per_s(run) for run in ours],
            [median_tokens_per_s(run) for run in baseline],
            is_higher_better=True,
            floor=[Goal(0.97)],
            target=[Goal(1.05)],
            note=f"{steps}; losses equal within {LOSS_TOLERANCE}",
        ),
        Measurement(
            ROW,
            f"{TITLE}, {model}: all steps after {DROPPED_STEPS}",
            "tok/s",
            [tokens_per_s(run) for run in ours],
            [tokens_per_s(run) for run in baseline],
            is_higher_better=True,
            note="the next standby run starts beside the first steps and takes cores from them",
        ),
    ]


def tokens_per_s(steps: Sequence[Step]) -> float:
    """Over all steps but the first three."""
    first, last = steps[DROPPED_STEPS - 1], steps[-1]
    return (last.tokens - first.tokens) / (last.at - first.at)


def median_tokens_per_s(steps: Sequence[Step]) -> float:
    """Of the median step, the first three left out: what a long run comes to."""
    kept = steps[DROPPED_STEPS - 1 :]
    return statistics.median(
        (after.tokens - before.tokens) / (after.at - before.at) for before, after in pairwise(kept)
    )


def require_equal_losses(ours: Sequence[Step], baseline: Sequence[Step]) -> None:
    """Two runs that learn differently are not comparable."""
    if [step.number for step in ours] != [step.number for step in baseline]:
        raise BenchError(f"The job logged {len(ours)} steps, the plain script {len(baseline)}.")
    for job_step, plain_step in zip(ours, baseline, strict=True):
        if abs(job_step.loss - plain_step.loss) > LOSS_TOLERANCE:
            raise BenchError(
                f"The losses of step {job_step.number} differ: {job_step.loss:.6f} in the service, "
                f"{plain_step.loss:.6f} in the plain script."
            )


def _step_s(runs: Sequence[Sequence[Step]]) -> float:
    return statistics.median((run[-1].at - run[DROPPED_STEPS - 1].at) / (len(run) - DROPPED_STEPS) for run in runs)
