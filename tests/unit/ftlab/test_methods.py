"""The table of training methods and the rows they learn from."""

from ftlab.schemas.check_rules import CheckRule
from ftlab.schemas.methods import LEARNABLE_KINDS, METHODS, RowKind, SftMethod


def test_every_method_has_a_type_of_its_own_and_learns_from_some_kind_of_row():
    types = [method.model_fields["type"].default for method in METHODS]
    assert len(set(types)) == len(types)
    assert all(method.row_kinds for method in METHODS)


def test_sft_learns_from_conversations_and_texts():
    assert SftMethod.row_kinds == (RowKind.MESSAGES, RowKind.TEXT)
    assert {RowKind.MESSAGES, RowKind.TEXT} <= LEARNABLE_KINDS


def test_the_row_kinds_of_a_method_are_not_part_of_its_config():
    assert "row_kinds" not in SftMethod().model_dump()


def test_the_doctor_names_the_kinds_that_no_method_learns_from():
    expected = "are rated answers, which no training method supports yet."
    assert CheckRule.NO_METHOD.meaning == f"The rows {expected}"
    assert "rows of both the training and the evaluation dataset" in CheckRule.EVAL_NO_METHOD.meaning
