"""Exports: the artifacts of tuned models, and their downloads."""

from collections.abc import Sequence
from pathlib import Path

from ftlab.client._async.transfers import download
from ftlab.client._async.transport import AsyncTransport
from ftlab.client.pushes import BROKEN, push_request, result_in
from ftlab.client.retry import Retries
from ftlab.client.wire import Fault, Listing, OnProgress, Request, job_path, segment
from ftlab.errors import UnreachableError
from ftlab.lines import LineReader
from ftlab.schemas.export_results import Export, ExportOptions
from ftlab.schemas.hub import HubCommit


class AsyncExports:
    """What exports wrote. Exports are jobs: `client.jobs` submits them with an `ExportConfig`."""

    def __init__(self, transport: AsyncTransport) -> None:
        self._transport = transport

    async def options(self) -> ExportOptions:
        """The types of weights that exports of the service can write."""
        return await self._transport.read(ExportOptions, Request("GET", "/api/exports/options"))

    async def list(self, job: str) -> Sequence[Export]:
        """The exports of a training job's models, newest first, each with its artifacts; of an export, itself."""
        return await self._transport.items(Listing[Export], Request("GET", f"{job_path(job)}/exports"))

    async def download(
        self, export: str, artifact: str, path: str | Path, on_progress: OnProgress | None = None
    ) -> Path:
        """Save an artifact of an export as a ZIP file at `path`.

        Raises `NotFoundError` for an artifact that the export did not write, or has not written yet.
        """
        request = Request("GET", f"{job_path(export)}/exports/{segment(artifact)}")
        return await download(self._transport, request, Path(path), on_progress)

    async def delete(self, export: str, artifact: str) -> None:
        """Delete an artifact of an export that has ended; the export and its other artifacts stay.

        Raises `NotFoundError`, and `ConflictError` for an export that has not ended.
        """
        request = Request("DELETE", f"{job_path(export)}/exports/{segment(artifact)}")
        await self._transport.exchange_unrepeatable(request)

    async def push(
        self,
        export: str,
        artifact: str,
        repo: str,
        *,
        token: str,
        private: bool = True,
        on_progress: OnProgress | None = None,
    ) -> HubCommit:
        """Upload an artifact to the repository `OWNER/NAME` of the hub, with your own `token`, and wait for it.

        The repository is created where it does not exist, as a private one unless `private` is false. Raises
        `PermissionDeniedError` where the token may not write there, `ConflictError` where the repository cannot take
        the artifact, and `UnreachableError` when the upload is cut. A second call sends only what is missing.
        """
        request = push_request(export, artifact, repo, token, private)
        retries = Retries(self._transport.endpoint, request)
        has_begun = False
        while True:
            try:
                async with self._transport.stream(request) as response:
                    if not response.is_success:
                        delay_s = retries.after(response)
                    else:
                        has_begun = True
                        lines = LineReader()
                        async for data in response.aiter_bytes():
                            for line in lines.take(data):
                                if (result := result_in(line, on_progress)) is not None:
                                    return result
                        raise UnreachableError(BROKEN)
            except Fault as fault:
                if has_begun:
                    raise UnreachableError(BROKEN) from fault
                delay_s = retries.after(fault)
            await self._transport.sleep(delay_s)
