"""Each training method has a file of its own."""

import pytest

from ftlab.schemas.methods import METHODS
from train.loop.exact_resume import ExactResume
from train.methods import find_evaluate, method_module
from train.methods.sft import SftRunTrainer


@pytest.mark.parametrize("method_type", [method.model_fields["type"].default for method in METHODS])
def test_every_method_of_the_schema_has_a_trainer_and_unless_it_generates_an_evaluation(method_type: str) -> None:
    assert callable(method_module(method_type).make_trainer)
    assert (find_evaluate(method_type) is None) == (method_type == "grpo")
    assert issubclass(SftRunTrainer, ExactResume)
