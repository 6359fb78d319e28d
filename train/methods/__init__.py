"""Training methods: one file each, which makes its trainer from what the run has loaded."""

from collections.abc import Callable

from train.loop.exact_resume import ExactResume
from train.methods import dpo, grpo, kto, reward, sft
from train.methods.trainer_inputs import TrainerInputs

MAKE_TRAINER: dict[str, Callable[[TrainerInputs], ExactResume]] = {
    "sft": sft.make_trainer,
    "dpo": dpo.make_trainer,
    "kto": kto.make_trainer,
    "reward": reward.make_trainer,
    "grpo": grpo.make_trainer,
}
"""By the type of the method in the job's config."""
EVALUATE: dict[str, Callable[..., dict[str, float]]] = {
    "sft": sft.evaluate,
    "dpo": dpo.evaluate,
    "kto": kto.evaluate,
    "reward": reward.evaluate,
}
"""Evaluations of a loaded model without a trainer, by the same type. A method that generates answers has none."""


def make_trainer(inputs: TrainerInputs) -> ExactResume:
    return MAKE_TRAINER[inputs.plan.config.method.type](inputs)
