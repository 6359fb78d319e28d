"""What runs a job, by its kind."""

from collections.abc import Callable, Mapping
from typing import Any

from ftlab.status import JobKind
from train import run
from train.evaluation import run as evaluation_run
from train.export import run as export_run
from train.inference import run_engine
from train.plan import Outcome, RunLink, RunPlan

RUNS: Mapping[JobKind, Callable[[Any, RunLink], Outcome]] = {
    JobKind.TRAINING: run.run,
    JobKind.EVALUATION: evaluation_run.run,
    JobKind.EXPORT: export_run.run,
    JobKind.ENGINE: run_engine.run_engine,
}
"""The run of each kind. It gets the plan of its kind, reports progress by heartbeats, and returns how it ended."""


def run_job(plan: RunPlan, link: RunLink) -> Outcome:
    """Run one attempt of a job. Every rank calls it."""
    return RUNS[plan.kind](plan, link)
