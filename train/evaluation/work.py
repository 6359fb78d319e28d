"""The work of one model of an evaluation: answers to the rows, and losses of their reference answers."""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeVar

import torch
from accelerate.utils import send_to_device
from peft import PeftModel
from transformers import PreTrainedModel, PreTrainedTokenizerBase, StoppingCriteria

from ftlab.schemas import EvaluationConfig
from ftlab.schemas.evaluation import Perplexity
from train.data.tokens.prompts import Prompt
from train.device_defaults import FIRST_BATCH_ON_CPU, FIRST_BATCH_ON_GPU
from train.evaluation.cases import Case, ReadRows, Skip
from train.evaluation.measures import Answer
from train.loop.fused_head import add_fused_head
from train.methods.collator import RowCollator
from train.methods.sft import measure_rows
from train.model.generation import READS_PADDING, RowDraws, end_token_ids, generating, generation_config, row_seed

Item = TypeVar("Item")


@dataclass(frozen=True)
class LoadedModel:
    """A model in memory."""

    model: PreTrainedModel | PeftModel
    tokenizer: PreTrainedTokenizerBase
    max_positions: int | None

    @cached_property
    def rows(self) -> ReadRows:
        """What the model reads of the rows."""
        return ReadRows(self.tokenizer)


@dataclass
class Pace:
    """How many tokens were processed in how much time."""

    num_tokens: int = 0
    seconds: float = 0.0

    @property
    def tokens_per_s(self) -> float | None:
        return self.num_tokens / self.seconds if self.num_tokens and self.seconds else None


@dataclass(frozen=True)
class Work:
    """How rows are worked on, batch by batch."""

    config: EvaluationConfig
    check_in: Callable[[], None]
    """Called for every token and every batch; raises `EarlyStop` where a stop is requested."""
    on_done: Callable[[Mapping[int, Any]], None]
    """Called with the rows of a batch that is done."""
    pace: Pace = field(default_factory=Pace)
    """Counts the tokens of the rows that are read, or those of the answers."""

    def answer(self, loaded: LoadedModel, cases: Sequence[Case]) -> None:
        """Answer the rows."""
        longest = loaded.max_positions and loaded.max_positions - self.config.generation.max_new_tokens
        found = loaded.rows.take_prompts(cases, longest)
        self.on_done({row: skip for row, skip in found.items() if isinstance(skip, Skip)})
        prompts = [prompt for prompt in found.values() if isinstance(prompt, Prompt)]
        # Rows of similar lengths pad little, and where the longest ones fit the memory, all do.
        prompts.sort(key=lambda prompt: -len(prompt.ids))
        with generating(loaded.model):
            self.in_batches(prompts, loaded, lambda batch: self._answer_batch(loaded, batch))

    def measure_losses(self, loaded: LoadedModel, cases: Sequence[Case], metric: Perplexity) -> None:
        """Measure the loss of each row over the tokens that count."""
        texts = loaded.rows.take_texts(cases, metric)
        self.on_done({row: skip for row, skip in texts.items() if isinstance(skip, Skip)})
        rows = [(row, *text) for row, text in texts.items() if not isinstance(text, Skip)]
        rows.sort(key=lambda row: -len(row[1]))
        model = loaded.model
        collate = RowCollator.for_model(model, loaded.tokenizer.pad_token_id)
        add_fused_head(model)

        def measure(batch: list[tuple[int, Any, Any]]) -> int:
            given = [{"input_ids": ids.tolist(), "labels": labels.tolist()} for _, ids, labels in batch]
            losses = measure_rows(model, send_to_device(collate(given), model.device))
            self.check_in()
            self.on_done({row: (loss, float(num)) for (row, *_), (loss, num) in zip(batch, losses, strict=True)})
            return sum(len(ids) for _, ids, _ in batch)

        with generating(model):
            self.in_batches(rows, loaded, measure)

    def _answer_batch(self, loaded: LoadedModel, batch: list[Prompt]) -> int:
        settings = self.config.generation
        sampling: dict[str, Any] = {}
        draws: AbstractContextManager[Any] = nullcontext()
        if settings.temperature:
            sampling = {
                "do_sample": True,
                "temperature": settings.temperature,
                "top_p": settings.top_p,
                "top_k": settings.top_k,
            }
            draws = RowDraws([row_seed(self.config.seed, [prompt.number]) for prompt in batch])
        with draws:
            answers = generate(
                loaded, [prompt.ids for prompt in batch], settings.max_new_tokens, self.check_in, **sampling
            )
        self.on_done({prompt.number: answer for prompt, answer in zip(batch, answers, strict=True)})
        return sum(len(answer.ids) for answer in answers)

    def in_batches(self, items: list[Item], loaded: LoadedModel, work: Callable[[list[Item]], int]) -> None:
        """Work on all items batch by batch; `work` returns the number of tokens of a batch.

        Without a `batch_size`, batches are halved once one does not fit the GPU.
        """
        is_on_gpu = loaded.model.device.type == "cuda"
        size = self.config.batch_size or (FIRST_BATCH_ON_GPU if is_on_gpu else FIRST_BATCH_ON_CPU)
        if loaded.model.config.model_type in READS_PADDING:
            size = 1
        done = 0
        while done < len(items):
            begun_at = time.monotonic()
            try:
                self.pace.num_tokens += work(items[done : done + size])
            except torch.cuda.OutOfMemoryError:
                if self.config.batch_size is not None or size == 1:
                    raise
                size //= 2
            else:
                self.pace.seconds += time.monotonic() - begun_at
                done += size
                continue
            torch.cuda.empty_cache()  # here, where the error no longer holds the tensors of the batch


def generate(
    loaded: LoadedModel,
    prompts: Sequence[Any],
    max_new_tokens: int,
    check_in: Callable[[], None] = lambda: None,
    **sampling: Any,
) -> list[Answer]:
    """Answer prompts together, padded on the left, so that each answer follows its prompt at once."""
    model, tokenizer = loaded.model, loaded.tokenizer
    width = max(len(ids) for ids in prompts)
    ids = torch.full((len(prompts), width), int(tokenizer.pad_token_id))
    mask = torch.zeros_like(ids)
    for number, prompt in enumerate(prompts):
        ids[number, width - len(prompt) :] = torch.tensor([int(token) for token in prompt])
        mask[number, width - len(prompt) :] = 1
    config = generation_config(model, tokenizer, max_new_tokens, **sampling)
    options: dict[str, Any] = {"attention_mask": mask.to(model.device), "stopping_criteria": [_CheckIn(check_in)]}
    generated = model.generate(input_ids=ids.to(model.device), generation_config=config, **options)
    ends = set(end_token_ids(model, tokenizer))
    return [_answer(row, ends, tokenizer) for row in generated[:, width:].tolist()]


def _answer(ids: list[int], ends: set[int], tokenizer: PreTrainedTokenizerBase) -> Answer:
    end = next((place for place, token in enumerate(ids) if token in ends), None)
    kept = ids if end is None else ids[: end + 1]
    return Answer(tokenizer.decode(kept, skip_special_tokens=True), kept, is_cut=end is None)


class _CheckIn(StoppingCriteria):
    """Checks in after every token; an exception ends the generation."""

    def __init__(self, check_in: Callable[[], None]) -> None:
        self._check_in = check_in

    def __call__(self, input_ids: torch.LongTensor, scores: torch.FloatTensor, **_: Any) -> torch.BoolTensor:
        self._check_in()
        return torch.zeros(len(input_ids), dtype=torch.bool, device=input_ids.device)
