"""An engine whose answers are computed by vLLM.

Prompts are rendered, and tokens are turned into text and calls of tools, by the same code as for the service's own
engine: vLLM gets token ids and returns token ids. So both have the same chat template, the same checks and the same
replies.
"""

import asyncio
import json
import logging
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import httpx2
from transformers import AutoConfig

from ftlab.errors import FineTuneLabError, InternalServerError, InvalidRequestError
from ftlab.lines import LineReader
from train.failures.errors import EngineCrashedError
from train.inference.answers import Answer, Piece, Prompt, failure_of
from train.inference.backend import adapter_obstacle
from train.inference.closable_engine import ClosableEngine, closing_error
from train.inference.prompts import Limits
from train.inference.sampling import SEEDS, SampledToken
from train.inference.vllm_adapters import VllmAdapters, error_of
from train.inference.vllm_process import HEALTH_TIMEOUT_S, VllmProcess
from train.model.base_model import BaseModel
from train.model.generation import end_ids_of, stored_settings

CHECK_S = 1.0
EVENT, DONE = "data: ", "[DONE]"
TOKEN = "token_id:"
"""Beginning of a token in the log probabilities of a request with `return_tokens_as_token_ids`."""

logger = logging.getLogger(__name__)


class VllmEngine(ClosableEngine):
    """Sends prompts to a vLLM server. `run` does it, on a thread of its own; all else may be called from any."""

    def __init__(self, process: VllmProcess, base: BaseModel, context: int) -> None:
        """`context` is how many tokens the server takes for a prompt and its answer."""
        super().__init__(base)
        self._process = process
        config = AutoConfig.from_pretrained(base.folder, trust_remote_code=False)
        self.limits = Limits(context, config.get_text_config().vocab_size)
        self._settings = stored_settings(base.folder)
        self._tasks: dict[Answer, asyncio.Task[None] | None] = {}
        """The answers in the making; their tasks, once the loop has begun them."""
        self._closed = asyncio.Event()
        self._loop = asyncio.new_event_loop()
        self._http: httpx2.AsyncClient
        self._adapters: VllmAdapters
        self.num_turns = 0
        """Grows while the server is healthy, also without requests."""

    def submit(self, prompt: Prompt, send: Callable[[Piece], None]) -> Answer:
        """Begin an answer, whose pieces go to `send` on the engine's thread.

        Raise `ServiceUnavailableError` when the engine is closing, and `InvalidRequestError` (`unsupported_model`) for
        an adapter that vLLM cannot compute.
        """
        if prompt.adapter is not None and (obstacle := adapter_obstacle(prompt.adapter)) is not None:
            raise InvalidRequestError(
                f"vLLM cannot compute an adapter with {obstacle}; set inference_backend to auto or own.",
                "unsupported_model",
                "model",
            )
        tokenizer = self.tokenizer_of(prompt.adapter)
        answer = Answer(prompt, tokenizer, frozenset(end_ids_of(self._settings, tokenizer)), send)
        with self._changed:
            self._require_open()
            self._tasks[answer] = None
            self._loop.call_soon_threadsafe(self._begin, answer)
        return answer

    def cancel(self, answers: Sequence[Answer]) -> None:
        """Stop computing answers that nobody waits for; vLLM stops when their connections are closed."""
        with suppress(RuntimeError):  # the loop is closed, so nothing is computed
            self._loop.call_soon_threadsafe(self._cancel, answers)

    @property
    def is_idle(self) -> bool:
        return not self._tasks

    def _wake(self) -> None:
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._closed.set)

    def run(self) -> None:
        """Compute until the engine is closed. Raise `EngineCrashedError` when the server ends by itself."""
        try:
            self._loop.run_until_complete(self._serve())
        finally:
            self._loop.close()

    async def _serve(self) -> None:
        async with self._process.client() as self._http:
            self._adapters = VllmAdapters(self._http, self._process.folder)
            try:
                while self._closing is None:
                    await self._check()
                    with suppress(TimeoutError):
                        await asyncio.wait_for(self._closed.wait(), CHECK_S)
            finally:
                self.close("vLLM ended by itself")
                tasks = [task for task in self._tasks.values() if task is not None]
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
                for answer in list(self._tasks):
                    self._end(answer, self._closing)

    async def _check(self) -> None:
        """Note that the server is healthy. Raise `EngineCrashedError` when it is not, or gone."""
        if not self._process.is_alive():
            raise await asyncio.to_thread(self._process.crash)
        with suppress(httpx2.TransportError):  # busy, or about to end, which the next check sees
            reply = await self._http.get("/health", timeout=HEALTH_TIMEOUT_S)
            if reply.status_code != httpx2.codes.OK:
                raise EngineCrashedError(f"vLLM reports with status {reply.status_code} that it cannot answer.")
            self.num_turns += 1

    def _begin(self, answer: Answer) -> None:
        if answer in self._tasks and self._closing is None:
            self._tasks[answer] = self._loop.create_task(self._compute(answer))

    def _cancel(self, answers: Sequence[Answer]) -> None:
        for answer in answers:
            if (task := self._tasks.get(answer)) is not None:
                task.cancel()

    def _end(self, answer: Answer, error: FineTuneLabError | None = None) -> None:
        with self._changed:
            self._tasks.pop(answer, None)
            self._used_at = time.monotonic()
        if error is not None:
            answer.fail(error)

    async def _compute(self, answer: Answer) -> None:
        error: FineTuneLabError | None = None
        try:
            await self._stream(answer)
        except httpx2.TransportError:
            error = self._closing or closing_error("vLLM ended while it answered")
        except asyncio.CancelledError:
            error = self._closing  # `None` where the caller has left
        except Exception as found:  # an edge: the other answers are not affected
            if not isinstance(found, FineTuneLabError):
                logger.exception("An answer failed")
            error = failure_of(found)
        finally:
            self._end(answer, error)

    async def _stream(self, answer: Answer) -> None:
        """Add the tokens of the server to the answer until one of both ends it."""
        async with self._adapters.using(answer.prompt.adapter) as adapter:
            document = request_of(answer, adapter or self._process.model)
            async with self._http.stream("POST", "/v1/completions", json=document) as reply:
                if reply.status_code != httpx2.codes.OK:
                    raise error_of(reply.status_code, await reply.aread(), "compute the answer")
                lines = LineReader()
                async for data in reply.aiter_bytes():
                    for line in lines.take(data):
                        if not line.startswith(EVENT) or line == f"{EVENT}{DONE}":
                            continue
                        finish = _add(answer, json.loads(line.removeprefix(EVENT)))
                        if finish is not None and not answer.is_over:
                            answer.end("length" if finish == "length" else "stop")
                        if answer.is_over:
                            return
        raise InternalServerError("vLLM ended the answer without a reason.")


def request_of(answer: Answer, model: str) -> dict[str, Any]:
    """The request for an answer, for `/v1/completions` of vLLM 0.33. Stop texts are found here, token by token."""
    prompt, sampling = answer.prompt, answer.prompt.sampling
    optional = {
        "top_k": sampling.top_k,
        "seed": None if sampling.seed is None else sampling.seed % SEEDS,
        "logprobs": sampling.top_logprobs,
        "cache_salt": prompt.cache_salt,
        "logit_bias": {str(token): bias for token, bias in sampling.logit_bias} or None,
    }
    return {name: value for name, value in optional.items() if value is not None} | {
        "model": model,
        "prompt": list(prompt.tokens),
        "max_tokens": prompt.max_new_tokens,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "presence_penalty": sampling.presence_penalty,
        "frequency_penalty": sampling.frequency_penalty,
        "stop_token_ids": sorted(answer.end_ids),
        "stream": True,
        "return_token_ids": True,
        "return_tokens_as_token_ids": True,
    }


def _add(answer: Answer, chunk: dict[str, Any]) -> str | None:
    """Add the tokens of a chunk; return why the server ends the answer, if it does."""
    if "error" in chunk:
        raise error_of(httpx2.codes.INTERNAL_SERVER_ERROR, json.dumps(chunk).encode(), "compute the answer")
    for choice in chunk["choices"]:
        for token in _tokens(choice, answer.prompt.sampling.top_logprobs):
            answer.add(token)
            if answer.is_over:
                return None
        finish: str | None = choice.get("finish_reason")
        if finish is not None:
            return finish
    return None


def _tokens(choice: dict[str, Any], top_logprobs: int | None) -> list[SampledToken]:
    tokens: list[int] = choice["token_ids"] or []
    if top_logprobs is None:
        return [SampledToken(token) for token in tokens]
    found = choice["logprobs"]
    return [
        SampledToken(token, logprob, _top(others, top_logprobs))
        for token, logprob, others in zip(tokens, found["token_logprobs"], found["top_logprobs"], strict=True)
    ]


def _top(others: dict[str, float], number: int) -> tuple[tuple[int, float], ...]:
    """The most likely tokens; the server adds the one that it sampled."""
    ranked = sorted(others.items(), key=lambda item: -item[1])[:number]
    return tuple((int(token.removeprefix(TOKEN)), logprob) for token, logprob in ranked)
