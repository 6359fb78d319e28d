"""The table of training methods."""

from ftlab.schemas.methods import METHODS
from train.loop.exact_resume import ExactResume
from train.methods import MAKE_TRAINER
from train.methods.sft import SftRunTrainer


def test_every_method_of_the_schema_has_a_trainer() -> None:
    assert MAKE_TRAINER.keys() == {method.model_fields["type"].default for method in METHODS}
    assert issubclass(SftRunTrainer, ExactResume)
