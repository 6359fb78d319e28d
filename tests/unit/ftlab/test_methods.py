"""The table of training methods and the rows they learn from."""

import pytest
from pydantic import ValidationError

from ftlab.schemas import JobConfig
from ftlab.schemas.methods import METHODS, KtoMethod, RowKind, SftMethod


def test_every_method_has_a_type_of_its_own_and_learns_from_some_kind_of_row():
    types = [method.model_fields["type"].default for method in METHODS]
    assert len(set(types)) == len(types)
    assert all(method.row_kinds for method in METHODS)


def test_sft_learns_from_conversations_and_texts():
    assert SftMethod.row_kinds == (RowKind.MESSAGES, RowKind.TEXT)


def test_the_row_kinds_of_a_method_are_not_part_of_its_config():
    assert "row_kinds" not in SftMethod().model_dump()


def test_some_method_learns_from_every_kind_of_row():
    assert {kind for method in METHODS for kind in method.row_kinds} == set(RowKind)


def test_kto_needs_two_rows_in_a_pass_for_its_kl_term():
    def config(batch_size: int, **method: str) -> JobConfig:
        training = {"per_device_train_batch_size": batch_size}
        values = {"model": "org/tiny", "dataset": "ds-1", "training": training, "method": {"type": "kto"} | method}
        return JobConfig.model_validate(values)

    with pytest.raises(ValidationError, match="per_device_train_batch_size must be at least 2 with method 'kto'"):
        config(1)
    assert isinstance(config(2).method, KtoMethod)
    assert config(1, loss_type="apo_zero_unpaired").training.per_device_train_batch_size == 1
