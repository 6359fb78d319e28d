"""What runs a job, by its kind."""

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

from ftlab.status import JobKind
from train.plan import Outcome, RunLink, RunPlan

RUNS: Mapping[JobKind, tuple[str, str]] = {
    JobKind.TRAINING: ("train.run", "run"),
    JobKind.EVALUATION: ("train.evaluation.run", "run"),
    JobKind.EXPORT: ("train.export.run", "run"),
    JobKind.ENGINE: ("train.inference.run_engine", "run_engine"),
}
"""Module and name of the run of each kind. It gets the plan of its kind, reports progress by heartbeats, and returns
how it ended. Names, because the modules take seconds to import, and a process needs one of them.
"""

LEAN_LIBRARIES = "train.lean_libraries"
"""Before every other module that imports transformers or PEFT."""
USUAL_MODULES = (LEAN_LIBRARIES, "train.run", "train.methods.sft")
"""What a process imports that does not know its job yet."""


def find_run(kind: JobKind) -> Callable[[Any, RunLink], Outcome]:
    import_module(LEAN_LIBRARIES)
    module, name = RUNS[kind]
    found: Callable[[Any, RunLink], Outcome] = getattr(import_module(module), name)
    return found


def run_job(plan: RunPlan, link: RunLink) -> Outcome:
    """Run one attempt of a job. Every rank calls it."""
    return find_run(plan.kind)(plan, link)
