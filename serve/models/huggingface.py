"""Hugging Face lookups of the API: off the event loop, one at a time per model, with answers cached for a while."""

import asyncio
import logging
import time
from collections.abc import Callable
from functools import partial
from typing import Protocol

import anyio
import anyio.to_thread

from ftlab.errors import FineTuneLabError, NotFoundError
from serve.models.huggingface_lookup import HubModel, ask_hub
from train.model.adapter_files import adapter_facts
from train.model.download import fetched
from train.model.folder import facts_of
from train.model.hub_errors import HubAwayError, HubOfflineError

KNOWN_S, REFUSED_S, AWAY_S = 300.0, 20.0, 20.0
"""Cache lifetimes of a model, of a refusal (somebody may be accepting a licence), and of no answer."""
WAIT_S = 12.0
"""A submission waits at most this long; the lookup continues, and the next one finds its answer."""
MAX_ASKED = 4
"""Concurrent lookups; the other threads of the process are for requests."""
MAX_KEPT = 1000
OFFLINE = (
    "The model is not on this machine, and the service must not use the hub (HF_HUB_OFFLINE). Put it below the folder "
    "home/models as <org>--<name>."
)

Key = tuple[str, str | None]
Answer = HubModel | FineTuneLabError | None
Ask = Callable[[str, str | None], HubModel]

logger = logging.getLogger(__name__)


class HuggingFace(Protocol):
    """Looks base models up."""

    async def find(self, repo: str, revision: str | None) -> HubModel | None:
        """The model, or `None` while Hugging Face is unreachable. Raises the `FineTuneLabError` that refuses it."""
        ...


class CachedHuggingFace:
    """`HuggingFace` over the public hub; while it is unreachable, earlier downloads on this machine are used."""

    def __init__(self, ask: Ask = ask_hub, clock: Callable[[], float] = time.monotonic) -> None:
        self._ask = ask
        self._clock = clock
        self._known: dict[Key, tuple[float, Answer]] = {}
        self._asking: dict[Key, asyncio.Task[Answer]] = {}
        self._limiter: anyio.CapacityLimiter | None = None

    async def find(self, repo: str, revision: str | None) -> HubModel | None:
        answer = await self._answer((repo, revision))
        if isinstance(answer, FineTuneLabError):
            # A copy, because the traceback of the cached error would grow with every request that raises it.
            raise type(answer)(answer.message, answer.code, answer.param)
        return answer

    async def _answer(self, key: Key) -> Answer:
        expires_at, known = self._known.get(key, (0.0, None))
        if self._clock() < expires_at:
            return known
        task = self._asking.get(key)
        if task is None:
            task = self._asking[key] = asyncio.create_task(self._ask_beside(key))
        try:
            return await asyncio.wait_for(asyncio.shield(task), WAIT_S)
        except TimeoutError:
            return None

    async def _ask_beside(self, key: Key) -> Answer:
        self._limiter = self._limiter or anyio.CapacityLimiter(MAX_ASKED)
        try:
            answer = await anyio.to_thread.run_sync(partial(self._ask_now, *key), limiter=self._limiter)
            holds_s = KNOWN_S if isinstance(answer, HubModel) else AWAY_S if answer is None else REFUSED_S
            while len(self._known) >= MAX_KEPT:
                self._known.pop(next(iter(self._known)))
            self._known[key] = (self._clock() + holds_s, answer)
            return answer
        finally:
            del self._asking[key]

    def _ask_now(self, repo: str, revision: str | None) -> Answer:
        try:
            return self._ask(repo, revision)
        except FineTuneLabError as error:
            return error
        except HubOfflineError:
            return fetched_before(repo, revision) or NotFoundError(OFFLINE, "model_not_found", "model")
        except HubAwayError as away:
            logger.warning("The model hub is unreachable: %s.", away)
            return fetched_before(repo, revision)


def fetched_before(repo: str, revision: str | None) -> HubModel | None:
    """The model from an earlier download on this machine; `None` where that is missing or incomplete."""
    folder = fetched(repo, revision)
    return HubModel(folder.name, adapter_facts(folder) or facts_of(folder)) if folder else None
