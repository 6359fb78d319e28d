"""Which tokens end an answer."""

import json
from pathlib import Path

import pytest
from transformers import GenerationConfig

from tests.support.tiny_models import make_tiny_model, make_tiny_tokenizer
from train.model.base_model import BaseModel
from train.model.generation import end_ids_of, end_of_turn_id, write_settings

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
