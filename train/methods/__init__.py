"""Training methods: one file each, which makes its trainer from what the run has loaded.

Its name is the type of the method in the job's config. A file is imported when a job needs it: TRL takes a while for
each.
"""

from collections.abc import Callable
from importlib import import_module
from types import ModuleType

import torch

from train.loop.exact_resume import ExactResume
from train.loop.fused_head import check_fused_head
from train.methods.trainer_inputs import TrainerInputs

Evaluate = Callable[..., dict[str, float]]


def method_module(method_type: str) -> ModuleType:
    return import_module(f"{__name__}.{method_type}")


def make_trainer(inputs: TrainerInputs) -> ExactResume:
    """Make the trainer of the job's method. Raise `InvalidRequestError` for a model that the method cannot train."""
    method = inputs.plan.config.method
    if not method.uses_dropout:
        _switch_off_dropout(inputs.model)
    trainer: ExactResume = method_module(method.type).make_trainer(inputs)
    if not method.scores_texts:
        check_fused_head(trainer.model, getattr(trainer.args, "temperature", 1.0))
    return trainer


def _switch_off_dropout(model: torch.nn.Module) -> None:
    """Switch off the dropout that modules apply with a number of theirs; TRL switches off layers of dropout only."""
    for module in model.modules():
        for name, value in vars(module).items():
            if "drop" in name and isinstance(value, float):
                setattr(module, name, 0.0)


def find_evaluate(method_type: str) -> Evaluate | None:
    """The evaluation of a loaded model without a trainer; `None` for a method that generates answers."""
    found: Evaluate | None = getattr(method_module(method_type), "evaluate", None)
    return found
