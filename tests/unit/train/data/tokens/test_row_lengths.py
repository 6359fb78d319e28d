"""Lengths of rows: all of prepared rows, a sample of others."""

from collections.abc import Callable
from pathlib import Path

import pytest
from transformers import PreTrainedTokenizerFast

from ftlab.schemas.methods import SftMethod
from tests.support.tiny_models import make_tiny_tokenizer
from tests.unit.train.runs import write_messages
from train.data.rows.errors import DatasetInvalidError
from train.data.tokens import row_lengths as module
from train.data.tokens.prepare import PrepareSpec, prepare_rows
from train.data.tokens.row_lengths import RowLengths, row_lengths, sampled_places

Spec = Callable[..., PrepareSpec]


@pytest.fixture
def spec(tmp_path: Path) -> Spec:
    make_tiny_tokenizer().save_pretrained(tmp_path / "tokenizer")
    turns = [
        [{"role": "user", "content": "What is a queue?"}, {"role": "assistant", "content": "queue " * (number % 60)}]
        for number in range(200)
    ]
    rows = write_messages(tmp_path / "rows.arrow", turns)
    return lambda **method: PrepareSpec.of(rows, tmp_path / "tokenizer", SftMethod(max_length=64, **method))


def no_tokenizer() -> PreTrainedTokenizerFast:
    raise AssertionError("prepared rows need no tokenizer")


def both(spec: PrepareSpec, cache: Path) -> tuple[RowLengths, RowLengths]:
    """Before and after the rows are prepared."""
    before = row_lengths(spec, cache, make_tiny_tokenizer)
    prepare_rows(spec, cache, make_tiny_tokenizer).close()
    return before, row_lengths(spec, cache, no_tokenizer)


def test_a_sample_of_all_rows_is_exact(spec: Spec, tmp_path: Path):
    before, after = both(spec(), tmp_path / "cache")
    assert before == after
    assert after.is_exact
    assert (after.num_rows, sum(after.counts.values()), after.longest) == (200, after.num_sequences, 64)
    assert sum(tokens * number for tokens, number in after.counts.items()) == after.num_tokens


def test_a_sample_is_scaled_up(spec: Spec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "SAMPLE_ROWS", 50)
    before, after = both(spec(), tmp_path / "cache")
    assert not before.is_exact
    assert sum(before.counts.values()) <= 50
    assert before.num_tokens == pytest.approx(after.num_tokens, rel=0.15)
    assert before.num_sequences == pytest.approx(after.num_sequences, rel=0.1)


def test_packed_rows(spec: Spec, tmp_path: Path):
    before, after = both(spec(packing=True), tmp_path / "cache")
    assert after.is_exact
    assert not before.is_exact
    assert (before.num_tokens, before.num_trained_tokens) == (after.num_tokens, after.num_trained_tokens)
    assert before.num_sequences == pytest.approx(after.num_sequences, rel=0.2)


def test_a_sample_is_spread_over_the_file(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "SAMPLE_ROWS", 4)
    assert sampled_places(100) == [0, 25, 50, 75]
    assert sampled_places(3) == [0, 1, 2]
    assert sampled_places(0) == []


def test_missing_rows_are_refused(spec: Spec, tmp_path: Path):
    (tmp_path / "rows.arrow").unlink()
    with pytest.raises(DatasetInvalidError):
        row_lengths(spec(), tmp_path / "cache", make_tiny_tokenizer)
