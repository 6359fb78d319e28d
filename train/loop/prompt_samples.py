"""Answers of the model in training to fixed prompts (`training.sample_prompts`).

Rank 0 generates, greedily, one prompt after another. The other ranks meet it every `TOKENS_PER_TURN` tokens, so that no
collective waits for long, and all ranks see a stop request at the same place. Nothing that training depends on changes:
the random state is preserved by the caller, and the model returns to the mode that it was in.
"""

import logging
from typing import Any

import torch
from peft import PeftModel
from transformers import PreTrainedModel, PreTrainedTokenizerBase, StoppingCriteria

from ftlab.schemas import NoticePayload, SamplePayload
from ftlab.schemas.sample_prompts import shown_prompt
from train.all_ranks import is_main_rank
from train.data.tokens.sample_prompts import SampleSettings, encode_prompts
from train.loop.run_context import RunContext
from train.model.generation import end_token_ids, generating, generation_config
from train.plan import StopKind

TOKENS_PER_TURN = 16
SHOWN_CHARS = 200
"""Characters of a prompt in an event; the job's config has the rest."""

logger = logging.getLogger(__name__)


class PromptSampler:
    """Answers the prompts of one job, and emits each answer as an event."""

    def __init__(
        self, run: RunContext, tokenizer: PreTrainedTokenizerBase, max_positions: int | None, last_step: int
    ) -> None:
        training = run.plan.config.training
        settings = SampleSettings.of(training)
        assert settings is not None
        assert training.sample_prompts is not None
        self._run = run
        self._tokenizer = tokenizer
        self._tokens = encode_prompts(settings, tokenizer, max_positions)
        self._shown = [_shortened(shown_prompt(prompt)) for prompt in training.sample_prompts]
        self._max_new_tokens = settings.max_new_tokens
        self._has_failed = False
        self._eval_steps, self._last_step = training.eval_steps, last_step
        self._sampled_step: int | None = None

    def is_due(self, step: int) -> bool:
        """Whether to answer at this step: at those of an evaluation, whether or not there is an eval dataset."""
        is_evaluated = step in (0, self._last_step) or (self._eval_steps is not None and step % self._eval_steps == 0)
        return is_evaluated and step != self._sampled_step

    def sample(self, model: PreTrainedModel | PeftModel, step: int) -> StopKind | None:
        """Answer all prompts, or return the stop that was requested meanwhile. Every rank calls it."""
        self._sampled_step = step
        turns = _Turns(self._run, check_time_limit=step < self._last_step)
        if not is_main_rank():
            while not turns.are_over:
                turns.take(is_done=False)
            return turns.stop
        if not self._has_failed:
            try:
                with generating(model):
                    self._answer_all(model, step, turns)
            except Exception as error:
                # The samples are for reading only: training continues without them.
                logger.exception("The prompts of training.sample_prompts could not be answered.")
                self._has_failed = True
                self._run.link.emit(_failure(step, error))
        if not turns.are_over:
            turns.take(is_done=True)
        return turns.stop

    def _answer_all(self, model: PreTrainedModel | PeftModel, step: int, turns: "_Turns") -> None:
        config = generation_config(model, self._tokenizer, self._max_new_tokens)
        for number, (tokens, shown) in enumerate(zip(self._tokens, self._shown, strict=True), 1):
            ids = torch.tensor([tokens], device=model.device)
            options: dict[str, Any] = {"attention_mask": torch.ones_like(ids), "stopping_criteria": [turns]}
            answer = model.generate(input_ids=ids, generation_config=config, **options)[0, len(tokens) :].tolist()
            if turns.stop is not None:
                return
            self._run.link.emit(
                SamplePayload(
                    step=step,
                    number=number,
                    prompt=shown,
                    text=self._tokenizer.decode(answer, skip_special_tokens=True),
                    num_tokens=len(answer),
                    is_cut=answer[-1] not in end_token_ids(model, self._tokenizer),
                )
            )


class _Turns(StoppingCriteria):
    """Points of a generation at which all ranks meet. Stops the generation when a stop is requested."""

    def __init__(self, run: RunContext, *, check_time_limit: bool) -> None:
        self._run = run
        self._check_time_limit = check_time_limit
        self._num_tokens = 0
        self._is_done = False
        self.stop: StopKind | None = None

    @property
    def are_over(self) -> bool:
        return self._is_done or self.stop is not None

    def take(self, *, is_done: bool) -> None:
        """Meet the other ranks. Every rank calls it, until `are_over`."""
        poll = self._run.stop_poll
        self.stop, self._is_done = poll.agreed_turn(is_done=is_done, check_time_limit=self._check_time_limit)

    def __call__(self, input_ids: torch.LongTensor, scores: torch.FloatTensor, **_: Any) -> torch.BoolTensor:
        self._run.heartbeat.beat()
        self._num_tokens += 1
        if self._num_tokens % TOKENS_PER_TURN == 0 and not self.are_over:
            self.take(is_done=False)
        return torch.full((len(input_ids),), self.stop is not None, device=input_ids.device)


def _failure(step: int, error: Exception) -> NoticePayload:
    message = (
        f"The prompts of training.sample_prompts could not be answered at step {step} ({type(error).__name__}: "
        f"{' '.join(str(error).split())[:300].rstrip('.')}). Training continues without samples; the job's log has "
        "the traceback."
    )
    return NoticePayload(code="samples_failed", message=message)


def _shortened(text: str) -> str:
    return text if len(text) <= SHOWN_CHARS else text[: SHOWN_CHARS - 1] + "…"
