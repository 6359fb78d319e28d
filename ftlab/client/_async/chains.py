"""Chains: jobs that are submitted together, each with the ones before it."""

from collections.abc import Mapping, Sequence
from typing import Any

from ftlab.client._async.transport import AsyncTransport
from ftlab.client.retry import Retries
from ftlab.client.wire import CHAINS_PATH, Request, job_path, key_for_retries
from ftlab.schemas import AnyJobConfig, Job
from ftlab.schemas.job_file import parse_any_config
from ftlab.schemas.replies import ChainCheck, CheckedJob, JobList

CHECK_TIMEOUT_S = 120.0
"""Models are looked up one after another, and rows may have to be counted."""


class AsyncChains:
    """Several jobs of which each may wait for those before it, named in `after` and as `job:NAME` in `model`."""

    def __init__(self, transport: AsyncTransport) -> None:
        self._transport = transport

    async def create(
        self, configs: Sequence[AnyJobConfig | Mapping[str, Any]], idempotency_key: str | None = None
    ) -> list[Job]:
        """Submit all of these jobs, or none; the jobs come back in the same order.

        A key that was used before returns the first jobs, with `is_replay` set. Raises `InvalidRequestError` for a
        config that the service would refuse, before anything is sent.
        """
        key = key_for_retries(idempotency_key)
        request = Request(
            "POST", CHAINS_PATH, document=_document(configs), idempotency_key=key, timeout_s=CHECK_TIMEOUT_S
        )
        retries = Retries(self._transport.endpoint, request)
        response = await self._transport.exchange(retries)
        found = retries.read(JobList, response)
        return [job.model_copy(update={"is_replay": retries.is_replay(response)}) for job in found.data]

    async def check(self, configs: Sequence[AnyJobConfig | Mapping[str, Any]]) -> list[CheckedJob]:
        """What a submission would check for each of these jobs, and what can only be checked later. Nothing is stored.

        Raises what `create` raises, except for quotas.
        """
        path = f"{CHAINS_PATH}/check"
        request = Request("POST", path, document=_document(configs), timeout_s=CHECK_TIMEOUT_S, may_repeat=True)
        return (await self._transport.read(ChainCheck, request)).data

    async def release(self, job: str) -> Job:
        """Let a queued or paused job start without the jobs that it waits for.

        Raises `ConflictError` (code `job_awaits_model`) for one that starts from the model of such a job.
        """
        request = Request("PATCH", job_path(job), document={"after": []}, may_repeat=True)
        return await self._transport.read(Job, request)


def _document(configs: Sequence[AnyJobConfig | Mapping[str, Any]]) -> dict[str, Any]:
    """The body; what was not set is left to the service."""
    parsed = [parse_any_config(config, f"Job {place}") for place, config in enumerate(configs, start=1)]
    return {"jobs": [config.model_dump(mode="json", exclude_unset=True) for config in parsed]}
