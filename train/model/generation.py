"""Generation of answers: how they end, the mode of the model meanwhile, and random numbers for each row alone."""

import json
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jinja2 import TemplateError
from peft import PeftModel
from torch.overrides import TorchFunctionMode
from transformers import AutoConfig, GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase

from train.model.base_model import BaseModel
from train.model.tokenizer import load_tokenizer, special_tokens

GENERATION_CONFIG = "generation_config.json"
READS_PADDING = frozenset({"rwkv"})
"""Types of models that ignore the attention mask, and read the padding before a shorter prompt as text."""
_PROBE = [{"role": "user", "content": "Ready?"}, {"role": "assistant", "content": "Certainly."}]


def end_token_ids(model: PreTrainedModel | PeftModel, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """The tokens that end an answer: those of the model, the tokenizer's end of text, the template's end of turn."""
    return end_ids_of(model.generation_config, tokenizer)


def end_ids_of(settings: GenerationConfig, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """The tokens that end an answer of a model with these settings, for a model that another process loads."""
    of_model = settings.eos_token_id
    known = of_model if isinstance(of_model, list) else [of_model]
    others = (tokenizer.eos_token_id, end_of_turn_id(tokenizer))
    return sorted({token for token in (*known, *others) if token is not None})


def end_of_turn_id(tokenizer: PreTrainedTokenizerBase) -> int | None:
    """The special token that the chat template writes right after an answer; `None` where it writes none there.

    Answers are trained with it, and many base models do not name it as an end: Qwen's template ends a turn with
    `<|im_end|>`, and the files of the base models name `<|endoftext|>` only.
    """
    return _end_of_turn_id(tokenizer, str(tokenizer.chat_template)) if tokenizer.chat_template else None


@lru_cache(maxsize=64)
def _end_of_turn_id(tokenizer: PreTrainedTokenizerBase, _template: str) -> int | None:
    try:
        text = str(tokenizer.apply_chat_template(_PROBE, tokenize=False))
    except (TemplateError, ValueError, TypeError, LookupError):
        return None  # a template that refuses a plain chat is used for none
    _, answer, after = text.rpartition(_PROBE[-1]["content"])
    ids: list[int] = tokenizer(after.lstrip(), add_special_tokens=False)["input_ids"] if answer else []
    return ids[0] if ids and ids[0] in special_tokens(tokenizer) else None


def name_ends(model: PreTrainedModel | PeftModel, tokenizer: PreTrainedTokenizerBase) -> None:
    """Write the tokens that end an answer into the settings that are saved with the model."""
    whole = model.get_base_model() if isinstance(model, PeftModel) else model
    whole.generation_config.eos_token_id = end_token_ids(whole, tokenizer)


def stored_settings(folder: Path) -> GenerationConfig:
    """The settings of the model in a folder, as transformers gives them to the model that it loads."""
    try:
        return GenerationConfig.from_pretrained(folder)
    except OSError:  # it has no file of them
        return GenerationConfig.from_model_config(AutoConfig.from_pretrained(folder, trust_remote_code=False))


def write_settings(base: BaseModel, folder: Path) -> None:
    """Write the settings of the base model beside its tuned weights, with all tokens that end an answer."""
    stored = base.folder / GENERATION_CONFIG
    settings = stored_settings(base.folder)
    ends = end_ids_of(settings, load_tokenizer(base))
    document = json.loads(stored.read_text("utf-8")) if stored.is_file() else settings.to_diff_dict()
    (folder / GENERATION_CONFIG).write_text(json.dumps(document | {"eos_token_id": ends}, indent=2), "utf-8")


def write_settings_of_adapter(model: PeftModel, folder: Path) -> None:
    """Write the settings of a model beside its adapter, which PEFT saves alone. A reward model has none."""
    settings: GenerationConfig | None = getattr(model.get_base_model(), "generation_config", None)
    if settings is not None:
        (folder / GENERATION_CONFIG).write_text(json.dumps(settings.to_diff_dict(), indent=2, sort_keys=True), "utf-8")


def generation_config(
    model: PreTrainedModel | PeftModel, tokenizer: PreTrainedTokenizerBase, max_new_tokens: int, **sampling: Any
) -> GenerationConfig:
    """Settings of a generation: greedy, unless `sampling` says otherwise; never those that come with the model."""
    return GenerationConfig(
        **{"do_sample": False} | sampling,
        num_beams=1,
        max_new_tokens=max_new_tokens,
        use_cache=True,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=end_token_ids(model, tokenizer),
        disable_compile=True,
    )


@contextmanager
def generating(model: PreTrainedModel | PeftModel) -> Iterator[None]:
    """Put the model into evaluation mode without gradients, and each of its modules back into its own mode."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for module, mode in modes.items():
            module.training = mode


class RowDraws(TorchFunctionMode):
    """Sampled answers that do not depend on the batch: in this context, each row draws from random numbers of its own.

    transformers draws the next tokens of a whole batch from one generator. So an answer would depend on the rows beside
    it: on the batch size, on the number of workers, and on what was answered before an interruption.
    """

    def __init__(self, seeds: Sequence[int]) -> None:
        """`seeds` has one for each row of the batch that is generated in this context."""
        super().__init__()
        self._seeds = seeds
        self._generators: list[torch.Generator] = []

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        draw = self._draw if func is torch.multinomial else func
        return draw(*args, **(kwargs or {}))

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: Any) -> None:
        super().__exit__(kind, error, trace)
        assert self._generators or error is not None, "transformers no longer draws tokens with torch.multinomial"

    def _draw(self, probabilities: torch.Tensor, num_samples: int) -> torch.Tensor:
        if not self._generators:
            device = probabilities.device
            self._generators = [torch.Generator(device).manual_seed(seed) for seed in self._seeds]
        rows = zip(probabilities, self._generators, strict=True)
        return torch.stack([torch.multinomial(row, num_samples, generator=generator) for row, generator in rows])


def row_seed(seed: int, numbers: Sequence[int]) -> int:
    """The seed of a row for `RowDraws`, from the seed of the job and what identifies the row, such as its prompt."""
    return seed + zlib.crc32(np.asarray(numbers, dtype=np.int64).tobytes())
