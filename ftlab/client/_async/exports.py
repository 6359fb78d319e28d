"""Exports: the artifacts of tuned models, and their downloads."""

from collections.abc import Sequence
from pathlib import Path

from ftlab.client._async.transfers import download
from ftlab.client._async.transport import AsyncTransport
from ftlab.client.wire import Listing, OnProgress, Request, job_path, segment
from ftlab.schemas.export_results import Export


class AsyncExports:
    """What exports wrote. Exports are jobs: `client.jobs` submits them with an `ExportConfig`."""

    def __init__(self, transport: AsyncTransport) -> None:
        self._transport = transport

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
