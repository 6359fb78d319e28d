"""Sweeps: submit, list, show, pause, resume, cancel and delete."""

from collections.abc import AsyncIterator, Mapping
from typing import Any

from ftlab.client._async.transport import AsyncTransport
from ftlab.client.retry import Retries
from ftlab.client.waiting import JOB_PAUSES_S, Polling
from ftlab.client.wire import FILES_TIMEOUT_S, SWEEPS_PATH, Request, key_for_retries, sweep_path
from ftlab.schemas import Page
from ftlab.schemas.sweep_rules import check_sweep, parse_sweep
from ftlab.schemas.sweeps import Sweep, SweepConfig, SweepPreview, SweepSummary


class AsyncSweeps:
    """Searches for settings, whose trials are jobs. `sweep` is an id, a unique name or a unique id prefix."""

    def __init__(self, transport: AsyncTransport) -> None:
        self._transport = transport

    async def create(self, sweep: SweepConfig | Mapping[str, Any], idempotency_key: str | None = None) -> Sweep:
        """Submit a sweep. Every submission carries an idempotency key, given or generated, so that a retry is safe.

        A key that was used before returns the first sweep, with `is_replay` set. Raises `InvalidRequestError` for a
        sweep that the service would refuse, mostly before anything is sent.
        """
        key = key_for_retries(idempotency_key)
        request = Request("POST", SWEEPS_PATH, document=_document(sweep), idempotency_key=key)
        retries = Retries(self._transport.endpoint, request)
        response = await self._transport.exchange(retries)
        return retries.read(Sweep, response).model_copy(update={"is_replay": retries.is_replay(response)})

    async def preview(self, sweep: SweepConfig | Mapping[str, Any]) -> SweepPreview:
        """What a sweep would do: the number of trials, the rungs, and the values of the first trials.

        Nothing is stored. Raises what `create` raises.
        """
        path, document = f"{SWEEPS_PATH}/preview", _document(sweep)
        request = Request("POST", path, document=document, timeout_s=FILES_TIMEOUT_S, may_repeat=True)
        return await self._transport.read(SweepPreview, request)

    async def get(self, sweep: str) -> Sweep:
        """A sweep with its trials. Raises `NotFoundError`, and `ConflictError` when several sweeps fit."""
        return await self._transport.read(Sweep, Request("GET", sweep_path(sweep)))

    def list(self, limit: int | None = None) -> AsyncIterator[SweepSummary]:
        """Sweeps, newest first, fetched page by page."""
        return self._transport.pages(Page[SweepSummary], Request("GET", SWEEPS_PATH), limit)

    async def wait(self, sweep: str, timeout_s: float | None = None) -> Sweep:
        """Wait until the sweep has ended, through restarts of the service. Raises `WaitTimeoutError`."""
        polling = Polling(self._transport.endpoint, timeout_s, JOB_PAUSES_S)
        while True:
            found = await self._transport.read(Sweep, Request("GET", sweep_path(sweep)), polling.deadline)
            sweep = found.id  # another sweep may get the same name
            if found.status.has_ended:
                return found
            await self._transport.sleep(polling.next_pause_s(f"Sweep {found.id}", found.status))

    async def pause(self, sweep: str) -> Sweep:
        """Start no new trial; running ones save a checkpoint and release their devices."""
        return await self._change(sweep, "pause")

    async def resume(self, sweep: str) -> Sweep:
        """Continue a paused sweep, and the trials that were paused with it."""
        return await self._change(sweep, "resume")

    async def cancel(self, sweep: str) -> Sweep:
        """Cancel a sweep and its trials; results and checkpoints are kept."""
        return await self._change(sweep, "cancel")

    async def delete(self, sweep: str) -> None:
        """Delete a sweep that has ended, by its id or unique name; its jobs stay.

        Raises `NotFoundError`, and `ConflictError` while it, or one of its jobs, has not ended.
        """
        await self._transport.exchange_unrepeatable(Request("DELETE", sweep_path(sweep)))

    async def _change(self, sweep: str, verb: str) -> Sweep:
        request = Request("POST", f"{sweep_path(sweep)}/{verb}", may_repeat=True)
        return await self._transport.read(Sweep, request)


def _document(sweep: SweepConfig | Mapping[str, Any]) -> dict[str, Any]:
    """The document of a sweep that the rules of the service accept."""
    config = sweep if isinstance(sweep, SweepConfig) else parse_sweep(sweep)
    check_sweep(config)
    return config.model_dump(mode="json", exclude_unset=True)
