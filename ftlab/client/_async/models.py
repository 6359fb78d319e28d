"""Tuned models, and the quota of the caller."""

from collections.abc import AsyncIterator, Collection

from ftlab.client._async.transport import AsyncTransport
from ftlab.client.wire import Request, key_for_retries, segment
from ftlab.schemas import ModelCheck, Page, Quota, TunedModel
from ftlab.schemas.replies import ModelPrune


class AsyncModels:
    """Tuned models."""

    def __init__(self, transport: AsyncTransport) -> None:
        self._transport = transport

    def list(self, limit: int | None = None) -> AsyncIterator[TunedModel]:
        """Models, newest first, fetched page by page."""
        return self._transport.pages(Page[TunedModel], Request("GET", "/api/models"), limit)

    async def get(self, model_id: str) -> TunedModel:
        return await self._transport.read(TunedModel, Request("GET", f"/api/models/{segment(model_id)}"))

    async def pin(self, model_id: str, *, is_pinned: bool = True) -> TunedModel:
        """Keep a model until it is unpinned, or let it be deleted again with `is_pinned=False`.

        Raises `NotFoundError`.
        """
        request = Request("PATCH", f"/api/models/{segment(model_id)}", document={"is_pinned": is_pinned})
        return await self._transport.read(TunedModel, request)

    async def check(self, ref: str) -> ModelCheck:
        """What a job with this model would start from: `org/name`, a path, `job:ID` or `model:ID`, or names for ids.

        Raises what a submission raises: `NotFoundError`, `PermissionDeniedError` for a gated model, and
        `InvalidRequestError` for one that cannot be trained.
        """
        request = Request("POST", "/api/models/check", document={"model": ref}, idempotency_key=key_for_retries())
        return await self._transport.read(ModelCheck, request)

    async def prune(
        self,
        models: Collection[str] = (),
        *,
        older_than_days: float = 0.0,
        keep_newest: int = 1,
        keep_best: bool = True,
        dry_run: bool = False,
    ) -> ModelPrune:
        """Delete these models, by default all of yours that a rule names; with `dry_run`, only list them.

        The newest and the best of each base model stay, and those that are still needed. Raises `NotFoundError`.
        """
        document = {
            "models": list(models),
            "older_than_days": older_than_days,
            "keep_newest": keep_newest,
            "keep_best": keep_best,
            "dry_run": dry_run,
        }
        request = Request("POST", "/api/models/prune", document=document, may_repeat=dry_run)
        return await self._transport.read(ModelPrune, request)


class AsyncQuotas:
    """Your quota: limits and usage."""

    def __init__(self, transport: AsyncTransport) -> None:
        self._transport = transport

    async def get(self) -> Quota:
        """Your limits and your current usage."""
        return await self._transport.read(Quota, Request("GET", "/api/quota"))

    async def set(self, **limits: float | None) -> Quota:
        """Change your limits, such as `max_queued_jobs=20`; `None` restores the service's setting.

        Raises `InvalidRequestError` for a limit that does not exist.
        """
        return await self._transport.read(Quota, Request("PUT", "/api/quota", document=limits))
