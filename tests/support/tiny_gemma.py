"""Tiny Gemma models with a tokenizer like theirs: pieces of SentencePiece with a token for every byte."""

from pathlib import Path
from typing import Any, Literal

import torch
from tokenizers import Tokenizer, models, normalizers, trainers
from transformers import (
    AddedToken,
    Gemma2Config,
    Gemma2ForCausalLM,
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    GemmaTokenizer,
)
from transformers.tokenization_utils_base import generate_merges

from tests.support.tiny_models import TEXT

SPECIAL = ("<pad>", "<eos>", "<bos>", "<unk>", "<mask>", "<start_of_turn>", "<end_of_turn>")
TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}"
    "{{ '<start_of_turn>' + message['role'] + '\n' + message['content'] + '<end_of_turn>\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}"
)


def make_gemma_tokenizer(vocab_size: int = 600) -> GemmaTokenizer:
    """Each pair of pieces that makes a piece is a merge, and pieces are in the order of their merges, as in Gemma."""
    learned = Tokenizer(models.BPE())
    learned.normalizer = normalizers.Replace(" ", "▁")
    first = [*SPECIAL, *(f"<0x{byte:02X}>" for byte in range(256)), "▁▁", "▁▁▁", "\n\n"]
    trainer = trainers.BpeTrainer(vocab_size=vocab_size, special_tokens=first, show_progress=False)
    learned.train_from_iterator([TEXT], trainer)
    vocab = dict(sorted(learned.get_vocab().items(), key=lambda item: item[1]))
    vocab |= {token: len(vocab) + place for place, token in enumerate(["\t"]) if token not in vocab}
    plain = {token: -number for token, number in vocab.items() if token not in SPECIAL}
    merges = [
        pair for pair in generate_merges(vocab, plain, skip_tokens=SPECIAL) if not any("<0x" in part for part in pair)
    ]
    tokenizer = GemmaTokenizer(vocab=vocab, merges=merges, model_max_length=2048)
    tokenizer.add_special_tokens({"additional_special_tokens": ["<start_of_turn>", "<end_of_turn>"]})
    tokenizer.add_tokens([AddedToken("\n\n", normalized=False, special=False)])
    tokenizer.chat_template = TEMPLATE
    return tokenizer


def make_gemma(folder: Path, architecture: Literal["gemma2", "gemma3"], **changes: Any) -> Path:
    """Write tokenizer and model with random weights, also in the norms; `changes` are those of its config."""
    tokenizer = make_gemma_tokenizer()
    shape = {
        "vocab_size": len(tokenizer) + 8,
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2 if architecture == "gemma2" else 6,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 16,
        "query_pre_attn_scalar": 16,
        "sliding_window": 8,
        "max_position_embeddings": 256,
    }
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        if architecture == "gemma2":
            model: Any = Gemma2ForCausalLM(Gemma2Config(**(shape | changes)))
        else:
            model = Gemma3ForCausalLM(Gemma3TextConfig(**(shape | changes)))
        with torch.no_grad():
            for name, weight in model.named_parameters():
                weight.copy_(torch.randn_like(weight) * (0.3 if name.endswith("norm.weight") else 0.05))
    folder.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
