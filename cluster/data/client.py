"""Client of the data worker for any process of the Ray cluster."""

import logging
from itertools import islice
from typing import TYPE_CHECKING, Any

import ray

from cluster.data.requests import CheckRequest, DataRequest, LengthsRequest, TokensRequest, WorkState
from cluster.data.worker import start_data_worker
from cluster.named_actor import ActorUnreachableError, NamedActor
from cluster.names import DATA_WORKER
from ftlab.errors import ServiceUnavailableError

if TYPE_CHECKING:
    from train.data.tokens.row_lengths import RowLengths

CALL_TIMEOUT_S = 5.0
TOKENS_TIMEOUT_S = 60.0
"""The first call may have to import the tokenizer."""
MAX_PENDING = 100
"""Calls that are remembered: the answer about a job that was cancelled is never fetched."""
ANSWER_WAIT_S = 0.05
"""Seconds that the coordinator's tick waits for an answer, which is immediate unless the worker is starting."""

logger = logging.getLogger(__name__)


class PrepareCalls:
    """The coordinator's calls. None waits for the worker; the next call about the same data returns a late answer."""

    def __init__(self) -> None:
        self._pending: dict[str, ray.ObjectRef] = {}

    def ask(self, request: DataRequest) -> WorkState | None:
        """Progress of the work; `None` while the worker does not answer because it has died or is starting."""
        call = self._pending.pop(request.key, None) or start_data_worker().prepare.remote(request)
        try:
            answered, _ = ray.wait([call], timeout=ANSWER_WAIT_S)
            state: WorkState | None = ray.get(call) if answered else None
        except ray.exceptions.RayError as error:
            logger.info("%s", error)
            return None
        if not answered:
            self._pending = {request.key: call, **dict(islice(self._pending.items(), MAX_PENDING))}
        return state


class RayDataClient:
    """A `DataClient` over the named actor."""

    def __init__(self) -> None:
        self._actor = NamedActor(DATA_WORKER)

    async def check(self, request: CheckRequest) -> WorkState:
        state: WorkState = await self._call("check", request, CALL_TIMEOUT_S)
        return state

    async def tokens(self, request: TokensRequest) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = await self._call("tokens", request, TOKENS_TIMEOUT_S)
        return rows

    async def template_problems(self, request: TokensRequest) -> dict[int, str]:
        problems: dict[int, str] = await self._call("template_problems", request, TOKENS_TIMEOUT_S)
        return problems

    async def row_lengths(self, request: LengthsRequest) -> "list[RowLengths]":
        lengths: list[RowLengths] = await self._call("row_lengths", request, TOKENS_TIMEOUT_S)
        return lengths

    async def _call(self, method: str, request: CheckRequest | LengthsRequest | TokensRequest, timeout_s: float) -> Any:
        try:
            return await self._actor.call_async(method, request, timeout_s=timeout_s)
        except ActorUnreachableError as error:
            message = "The data worker does not respond; it restarts automatically. Try again in a moment."
            raise ServiceUnavailableError(message, "data_worker_unavailable") from error
