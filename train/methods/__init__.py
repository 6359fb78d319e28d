"""Training methods: one file each, which makes its trainer from what the run has loaded.

Its name is the type of the method in the job's config. A file is imported when a job needs it: TRL takes a while for
each.
"""

from collections.abc import Callable
from importlib import import_module
from types import ModuleType

from train.loop.exact_resume import ExactResume
from train.methods.trainer_inputs import TrainerInputs

Evaluate = Callable[..., dict[str, float]]


def method_module(method_type: str) -> ModuleType:
    return import_module(f"{__name__}.{method_type}")


def make_trainer(inputs: TrainerInputs) -> ExactResume:
    trainer: ExactResume = method_module(inputs.plan.config.method.type).make_trainer(inputs)
    return trainer


def find_evaluate(method_type: str) -> Evaluate | None:
    """The evaluation of a loaded model without a trainer; `None` for a method that generates answers."""
    found: Evaluate | None = getattr(method_module(method_type), "evaluate", None)
    return found
