"""Which tokens end an answer, and random numbers for each row alone."""

import json
from pathlib import Path

import pytest
import torch
from transformers import GenerationConfig

from tests.support.tiny_models import make_tiny_model, make_tiny_tokenizer
from train.model.base_model import BaseModel
from train.model.generation import RowDraws, end_ids_of, end_of_turn_id, row_seed, write_settings

SYSTEM_ONLY = "{{ raise_exception('no') }}"
ENDLESS = "{% for m in messages %}[{{ m.role }}] {{ m.content }}\n{% endfor %}"


@pytest.mark.parametrize(("template", "ends"), [(None, True), ("", False), (ENDLESS, False), (SYSTEM_ONLY, False)])
def test_an_answer_ends_where_the_chat_template_ends_a_turn(template: str | None, ends: bool) -> None:
    """The base models of Qwen have a template that ends turns with `<|im_end|>`, and name `<|endoftext|>` only."""
    tokenizer = make_tiny_tokenizer()
    tokenizer.eos_token = "<|endoftext|>"
    if template is not None:
        tokenizer.chat_template = template or None
    turn_end = tokenizer.convert_tokens_to_ids("<|im_end|>")
    assert end_of_turn_id(tokenizer) == (turn_end if ends else None)
    settings = GenerationConfig(eos_token_id=tokenizer.eos_token_id)
    assert end_ids_of(settings, tokenizer) == sorted({tokenizer.eos_token_id, *([turn_end] if ends else [])})


@pytest.mark.parametrize("is_stored", [True, False])
def test_tuned_weights_come_with_all_of_them(tmp_path: Path, is_stored: bool) -> None:
    base = make_tiny_model(tmp_path / "base")
    tokenizer = make_tiny_tokenizer()
    tokenizer.eos_token = "<|endoftext|>"
    tokenizer.save_pretrained(base)
    file = base / "generation_config.json"
    stored = {"eos_token_id": tokenizer.eos_token_id, "temperature": 0.6, "do_sample": True}
    file.write_text(json.dumps(stored))
    if not is_stored:
        file.unlink()
    (tmp_path / "merged").mkdir()
    write_settings(BaseModel("tiny", base, ""), tmp_path / "merged")
    found = GenerationConfig.from_pretrained(tmp_path / "merged")
    assert {tokenizer.eos_token_id, tokenizer.convert_tokens_to_ids("<|im_end|>")} <= set(found.eos_token_id)
    assert found.temperature == (0.6 if is_stored else None)


def test_a_row_draws_the_same_tokens_in_any_batch() -> None:
    probabilities = torch.rand(3, 50, generator=torch.Generator().manual_seed(0))
    seeds = [row_seed(7, [number]) for number in range(3)]
    before = torch.get_rng_state()

    def drawn(rows: list[int]) -> list[list[int]]:
        with RowDraws([seeds[row] for row in rows]):
            steps = [torch.multinomial(probabilities[rows], num_samples=1).squeeze(1) for _ in range(20)]
        return torch.stack(steps, dim=1).tolist()

    whole = drawn([0, 1, 2])
    assert drawn([2, 0]) == [whole[2], whole[0]]
    assert [drawn([row]) for row in range(3)] == [[tokens] for tokens in whole]
    assert len({*map(tuple, whole)}) == 3
    assert torch.equal(torch.get_rng_state(), before)


def test_tokens_that_are_drawn_in_another_way_are_an_error() -> None:
    with pytest.raises(AssertionError, match=r"torch\.multinomial"), RowDraws([1]):
        torch.ones(3).argmax()
    with pytest.raises(ZeroDivisionError), RowDraws([1]):
        raise ZeroDivisionError
