"""The analysis of a job, from what is recorded about it."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from ftlab.schemas import EarlierRun, JobAnalytics, JobConfig, TimeUse
from ftlab.status import JobStatus
from train.analytics.learning import GOALS, Goal, best_evaluation, best_values, convergence_of, gap_of, shares_of
from train.analytics.measurements import gradient_norm_of, spikes_of, throughput_of
from train.analytics.sentences import sentences_of
from train.analytics.series import Measurement, Point, clean_series, kept_steps


@dataclass(frozen=True)
class JobFacts:
    """What the record of a job says besides its metrics."""

    job_id: str
    status: JobStatus
    config: JobConfig | None
    """`None` where this version cannot read it."""
    step: int
    total_steps: int | None


def analyze(
    job: JobFacts,
    measured: Mapping[str, Collection[Measurement]],
    resumed_from: Mapping[int, int | None],
    time: TimeUse,
    earlier_runs: Sequence[EarlierRun] = (),
    *,
    is_thinned: bool = False,
) -> JobAnalytics:
    """Analyse the series `measured`, by name. `resumed_from` is the step that each attempt resumed from."""
    series = series_of(measured, resumed_from)
    goal = goal_of(job.config)
    train, evaluations = series.get(goal.train, []), series.get(goal.evaluation, [])
    last_step = max([job.step, *(points[-1].step for points in (train, evaluations) if points)])
    found = JobAnalytics(
        job_id=job.job_id,
        status=job.status,
        method=job.config.method.type if job.config else None,
        step=last_step,
        total_steps=job.total_steps,
        num_attempts=len(resumed_from),
        summary=[],
        best=best_evaluation(series, goal, last_step),
        best_values=best_values(series, goal),
        shares=shares_of(train, evaluations),
        convergence=convergence_of(goal.train, train),
        gap=gap_of(train, evaluations, goal),
        spikes=spikes_of(series.get("loss", [])) if goal.train == "loss" else None,
        gradient_norm=gradient_norm_of(
            series.get("grad_norm", []), job.config.training.max_grad_norm if job.config else None
        ),
        throughput=throughput_of(series),
        time=time,
        earlier_runs=list(earlier_runs),
        is_thinned=is_thinned,
    )
    return found.model_copy(update={"summary": sentences_of(found, goal)})


def goal_of(config: JobConfig | None) -> Goal:
    """The metrics by which a job is judged."""
    return GOALS.get(config.method.type, Goal()) if config else Goal()


def series_of(
    measured: Mapping[str, Collection[Measurement]], resumed_from: Mapping[int, int | None]
) -> dict[str, list[Point]]:
    """The series by name, each step once.

    A later attempt replaces what an earlier one measured after the step that it resumed from, once it has measured
    something itself.
    """
    present = {each.attempt for points in measured.values() for each in points}
    kept = kept_steps({number: step for number, step in resumed_from.items() if number in present})
    cleaned = {name: clean_series(points, kept) for name, points in measured.items()}
    return {name: points for name, points in cleaned.items() if points}
