"""Row 4: previous job's end -> next job's first step / plain script's start -> first step.

A round is a chain of three jobs on an idle service: the first trains long enough for the next standby run to become
ready, the second ends at once, the third starts while the standby run after that is still importing.
"""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from ftlab.schemas import Event
from ftlab.status import JobStatus
from tests.bench.bench import Bench
from tests.bench.harness import Goal, Measurement, interleave
from tests.bench.runs import events_of, median_step_s, run_plain, status_at, steps_of, wait_for_status
from tests.bench.service import Service
from tests.bench.workload import MID, Workload, prepare

ROW = 4
TITLE = "dispatch latency"
FIRST_JOB_S = 45.0
"""How long the first job of a round trains, as the step time of the plain script has it."""
STARTING = (JobStatus.QUEUED, JobStatus.PENDING, JobStatus.INITIALIZING, JobStatus.RUNNING)


@dataclass(frozen=True)
class Chain:
    """What one round showed, in seconds."""

    submit_to_step: float
    """First job: submitted to an idle service whose standby run is ready."""
    parts: dict[str, float]
    """The same, cut at the status events."""
    back_to_back: float
    """First job's end -> second job's first step."""
    was_ready: bool
    """Whether the standby run was ready when the first job ended."""
    early: float
    """Second job's end -> third job's first step, with the standby run still starting."""


def run(bench: Bench) -> list[Measurement]:
    work = prepare(bench.service, bench.folder, MID)
    warm_up = run_plain(work, work.job("step time", max_steps=8), bench.folder)
    num_steps = math.ceil(FIRST_JOB_S / median_step_s(warm_up.steps))
    short = work.job("plain", max_steps=2)

    def plain() -> float:
        bench.service.settle()
        script = run_plain(work, short, bench.folder)
        return script.steps[0].at - script.started_at

    chains, plains = interleave(bench.pairs, partial(_chain, bench.service, work, num_steps), plain)
    return _measurements(chains, plains)


def _measurements(chains: Sequence[Chain], plains: Sequence[float]) -> list[Measurement]:
    num_late = sum(not chain.was_ready for chain in chains)
    parts = {name: statistics.median(chain.parts[name] for chain in chains) for name in chains[0].parts}
    return [
        Measurement(
            ROW,
            "end of a job -> first step of the next, standby ready",
            "s",
            [chain.back_to_back for chain in chains],
            plains,
            floor=[Goal(1.0)],
            target=[Goal(0.05)],
            note=f"in {num_late} of {len(chains)} rounds the standby run was not ready in time" if num_late else "",
        ),
        Measurement(
            ROW,
            "the same after a job of two steps, standby still starting",
            "s",
            [chain.early for chain in chains],
            plains,
        ),
        Measurement(
            ROW,
            "submit to an idle service -> first step, standby ready",
            "s",
            [chain.submit_to_step for chain in chains],
            plains,
            note="medians of its parts: " + ", ".join(f"{name} {value:.2f} s" for name, value in parts.items()),
        ),
    ]


def _chain(service: Service, work: Workload, num_steps: int) -> Chain:
    service.wait_for_standby()
    service.settle()
    ids = [
        service.client.jobs.create(work.job(f"dispatch {number}", max_steps=steps)).id
        for number, steps in enumerate((num_steps, 2, 2), start=1)
    ]
    wait_for_status(service, ids[0], JobStatus.RUNNING)  # it has taken the standby run of before
    ready_at = service.wait_for_standby()
    for job_id in ids:
        service.client.jobs.wait(job_id)
    first, second, third = (events_of(service, job_id) for job_id in ids)
    first_end = status_at(first, JobStatus.COMPLETED)
    parts = _parts(first)
    return Chain(
        submit_to_step=sum(parts.values()),
        parts=parts,
        back_to_back=steps_of(second)[0].at - first_end,
        was_ready=ready_at < first_end,
        early=steps_of(third)[0].at - status_at(second, JobStatus.COMPLETED),
    )


def _parts(events: Sequence[Event]) -> dict[str, float]:
    """From the submit to the first step, as far as the job's events tell."""
    marks = [status_at(events, status) for status in STARTING]
    marks.append(steps_of(events)[0].at)
    names = ("claim", "hand-over", "data, model and trainer", "first step")
    return {name: after - before for name, before, after in zip(names, marks, marks[1:], strict=False)}
