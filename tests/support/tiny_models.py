"""A tiny causal language model with tokenizer and chat template, built from nothing in about a second.

Tests train, resume and download it where a real model would only cost time.
"""

from functools import cache
from pathlib import Path
from typing import Literal

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

SPECIAL_TOKENS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")

CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
"""ChatML: each message between `<|im_start|>` and `<|im_end|>`."""

TEXT = """\
The queue keeps every job in order, and a job starts when its devices are free.
A checkpoint holds the weights, the optimizer, the schedule and the position in the data.
When a worker stops, the job goes on from its newest good checkpoint and repeats a few steps.
Pause saves first and gives the devices back; resume continues the same job later.
An adapter is small, because LoRA trains two thin matrices and leaves the base model alone.
How do I submit a job? Upload a dataset, name a base model, and send the config.
What does the loss tell me? It falls while the model learns, and the eval loss shows what holds.
Can I download the model? Yes, as soon as the job is completed, together with its logs.
user assistant system tool 0 1 2 3 4 5 6 7 8 9 + - = ? ! : ; ( ) [ ] { } " ' / # @
"""


def make_tiny_tokenizer(*, vocab_size: int = 512) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer (any text round-trips) with the ChatML template, eos `<|im_end|>`."""
    fast = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(_trained_tokenizer(vocab_size)),
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        clean_up_tokenization_spaces=False,
        model_max_length=2048,
    )
    fast.add_special_tokens({"additional_special_tokens": ["<|im_start|>"]})
    fast.chat_template = CHAT_TEMPLATE
    return fast


@cache
def _trained_tokenizer(vocab_size: int) -> str:
    """The tokenizer as JSON, which is read faster than a tokenizer is trained."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(TEXT.splitlines(), trainer)
    return str(tokenizer.to_str())


def make_tiny_model(
    folder: Path,
    *,
    vocab_size: int = 512,
    hidden: int = 64,
    layers: int = 2,
    architecture: Literal["llama", "qwen3"] = "llama",
    seed: int = 0,
    scale: float = 1.0,
    tied: bool = True,
    poison: str = "",
) -> Path:
    """Write tokenizer and randomly initialised model (safetensors) to `folder` and return it.

    The same arguments give the same weights, `scale` times as large as usual; the caller's random state stays as it
    was. `tied` shares the weights of the embedding with the output layer. The loss of a text with the character
    `poison` is NaN; it needs a model that is not `tied`.
    """
    tokenizer = make_tiny_tokenizer(vocab_size=vocab_size)
    shape = {
        "vocab_size": max(vocab_size, len(tokenizer)),
        "hidden_size": hidden,
        "intermediate_size": 2 * hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 2048,
        "tie_word_embeddings": tied,
        "bos_token_id": None,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if architecture == "llama":
            model = LlamaForCausalLM(LlamaConfig(**shape))
        else:
            model = Qwen3ForCausalLM(Qwen3Config(**shape, head_dim=hidden // 4))
    with torch.no_grad():
        for weights in model.parameters():
            weights.mul_(scale)
        for token, number in tokenizer.get_vocab().items():
            if poison and poison in token:
                model.get_input_embeddings().weight[number] = torch.inf
    folder.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
