"""What an evaluation is expected to need, from a sample of its rows, before the first of them is measured."""

from collections.abc import Sequence
from dataclasses import dataclass

from ftlab.schemas import EvaluationConfig
from ftlab.schemas.evaluation import Perplexity
from train.evaluation.cases import Case, ReadRows

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


def expected_work(config: EvaluationConfig, cases: Sequence[Case], rows: ReadRows) -> Expected:
    """Count the tokens of a sample, and scale them up."""
    sample = cases[:: max(1, len(cases) // SAMPLED_ROWS)]
    scale = len(cases) / max(1, len(sample))
    metrics = [metric for metric in config.metrics if isinstance(metric, Perplexity)]
    read = [[len(ids) for ids, _ in rows.look_at_texts(sample, metric)] for metric in metrics]
    read_tokens = round(scale * sum(map(sum, read)))
    longest_read = tuple(max(lengths, default=0) for lengths in read)
    if len(read) == len(config.metrics):
        return Expected(read_tokens, 0, longest_read)
    prompts = [len(prompt.ids) for prompt in rows.look_at_prompts(sample)]
    answer_tokens = round(scale * len(prompts)) * config.generation.max_new_tokens
    return Expected(read_tokens, answer_tokens, longest_read, max(prompts, default=0))
