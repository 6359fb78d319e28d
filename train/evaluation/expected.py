"""What an evaluation is expected to need, from a sample of its rows, before the first of them is measured."""

from collections.abc import Sequence
from dataclasses import dataclass

from transformers import PreTrainedTokenizerBase

from ftlab.schemas import EvaluationConfig
from ftlab.schemas.evaluation import Perplexity
from train.data.tokens.prompts import Prompt
from train.data.tokens.render import Renderer
from train.evaluation.cases import Case, Skip, labelled_texts, prompt_of

SAMPLED_ROWS = 1000


@dataclass(frozen=True)
class Expected:
    """The work with one model."""

    read_tokens: int
    """Tokens that all perplexities read."""
    answer_tokens: int
    """Tokens of all answers, where each has `generation.max_new_tokens`."""
    longest_read: tuple[int, ...] = ()
    """Tokens of the longest row of each perplexity."""
    longest_prompt: int | None = None
    """`None` where no metric needs answers."""


def expected_work(config: EvaluationConfig, cases: Sequence[Case], tokenizer: PreTrainedTokenizerBase) -> Expected:
    """Count the tokens of a sample, and scale them up."""
    sample = cases[:: max(1, len(cases) // SAMPLED_ROWS)]
    scale = len(cases) / max(1, len(sample))
    read = [_lengths(sample, tokenizer, metric) for metric in config.metrics if isinstance(metric, Perplexity)]
    read_tokens = round(scale * sum(map(sum, read)))
    longest_read = tuple(max(lengths, default=0) for lengths in read)
    if len(read) == len(config.metrics):
        return Expected(read_tokens, 0, longest_read)
    renderer = Renderer(tokenizer, assistant_only_loss=True)
    found = (prompt_of(case, renderer, None) for case in sample)
    prompts = [len(prompt.ids) for prompt in found if isinstance(prompt, Prompt)]
    answer_tokens = round(scale * len(prompts)) * config.generation.max_new_tokens
    return Expected(read_tokens, answer_tokens, longest_read, max(prompts, default=0))


def _lengths(cases: Sequence[Case], tokenizer: PreTrainedTokenizerBase, metric: Perplexity) -> list[int]:
    texts = labelled_texts(cases, tokenizer, metric.max_length, assistant_only_loss=metric.assistant_only_loss)
    return [len(text[0]) for text in texts.values() if not isinstance(text, Skip)]
