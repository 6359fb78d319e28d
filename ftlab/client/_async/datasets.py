"""Datasets: upload, inspect, check and download."""

from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path

from ftlab.client._async.transfers import download, upload
from ftlab.client._async.transport import AsyncTransport
from ftlab.client.retry import Retries
from ftlab.client.waiting import CHECK_PAUSES_S, Polling
from ftlab.client.wire import (
    FILES_TIMEOUT_S,
    Listing,
    OnProgress,
    ReadOptions,
    Request,
    UploadOptions,
    dataset_path,
    key_for_retries,
)
from ftlab.schemas import Dataset, DatasetPreview, Page, SignedUrl
from ftlab.schemas.checks import CheckReport, CheckState, TokenRow


class AsyncDatasets:
    """Uploaded datasets. `dataset_id` is an id or a unique name."""

    def __init__(self, transport: AsyncTransport) -> None:
        self._transport = transport

    async def upload(
        self,
        path: str | Path,
        name: str | None = None,
        bucket: str | None = None,
        on_progress: OnProgress | None = None,
        *,
        shape: str | None = None,
        columns: Mapping[str, str] | None = None,
        accept_partial: bool = False,
    ) -> Dataset:
        """Upload a file of rows, streamed from the disk; `name` defaults to the file's name.

        `shape` and `columns`, from a field of the shape to a column of the file, override what the service would
        detect; `accept_partial` skips rows that cannot be read. A large file goes in pieces and resumes after a cut
        connection, also when it is uploaded again within a day. Raises `InvalidRequestError` with code
        `dataset_invalid` that names the lines at fault.
        """
        options = UploadOptions(name, bucket, shape, columns, accept_partial)
        return await upload(self._transport, Path(path), options, on_progress)

    def list(self, limit: int | None = None) -> AsyncIterator[Dataset]:
        """Datasets, newest first, fetched page by page."""
        return self._transport.pages(Page[Dataset], Request("GET", "/api/datasets"), limit)

    async def get(self, dataset_id: str) -> Dataset:
        return await self._transport.read(Dataset, Request("GET", dataset_path(dataset_id)))

    async def move(self, dataset_id: str, bucket: str) -> Dataset:
        """Move a dataset into another bucket; its id stays. Raises `ConflictError` while a job that has not ended
        uses it."""
        path, document = f"{dataset_path(dataset_id)}/move", {"bucket": bucket}
        request = Request("POST", path, document=document, timeout_s=FILES_TIMEOUT_S, may_repeat=True)
        return await self._transport.read(Dataset, request)

    async def url(self, dataset_id: str, expires_s: int | None = None) -> SignedUrl:
        """Create a URL at which anyone can download the uploaded file, for 24 hours or `expires_s` seconds."""
        document = None if expires_s is None else {"expires_s": expires_s}
        request = Request("POST", f"{dataset_path(dataset_id)}/url", document=document, may_repeat=True)
        return await self._transport.read(SignedUrl, request)

    async def delete(self, dataset_id: str) -> None:
        """Raises `ConflictError` while a job that has not ended uses it."""
        await self._transport.exchange_unrepeatable(Request("DELETE", dataset_path(dataset_id)))

    async def download(self, dataset_id: str, path: str | Path, on_progress: OnProgress | None = None) -> Path:
        """Save the file as it was uploaded."""
        request = Request("GET", f"{dataset_path(dataset_id)}/content")
        return await download(self._transport, request, Path(path), on_progress)

    async def preview(self, dataset_id: str, rows: int = 5, model: str | None = None) -> DatasetPreview:
        """The first rows, at most 50, as they are in the file and as they are trained; long texts are cut.

        With `model`, each row also has what the chat template of the model leaves out of it.
        """
        params = {"rows": rows, "model": model}
        request = Request("GET", f"{dataset_path(dataset_id)}/preview", params, timeout_s=FILES_TIMEOUT_S)
        return await self._transport.read(DatasetPreview, request)

    async def check(
        self,
        dataset_id: str,
        model: str,
        *,
        max_length: int | None = None,
        assistant_only_loss: bool | None = None,
        packing: bool | None = None,
        eval_dataset: str | None = None,
        rewards: Sequence[str] = (),
        max_findings: int | None = None,
        timeout_s: float | None = None,
        on_progress: OnProgress | None = None,
    ) -> CheckReport:
        """Check a dataset with the doctor for a model, and wait for the report.

        `max_length`, `assistant_only_loss` and `packing` are as in a job's config; `eval_dataset` is one that must
        share no row with it. Where one of `rewards`, types as in `method.rewards`, compares with the reference answers
        of the rows, these are checked. `on_progress` is called with the rows done and, when it is known, with their
        total. Raises `WaitTimeoutError`, and `NotFoundError` for a dataset or model that is not there.
        """
        options = ReadOptions(model, max_length, assistant_only_loss, packing)
        params = {
            **vars(options),
            "eval_dataset": eval_dataset,
            "rewards": ",".join(rewards) or None,
            "max_findings": max_findings,
        }
        # The first request starts the check, the next ones report how far it is.
        request = Request("POST", f"{dataset_path(dataset_id)}/check", params, idempotency_key=key_for_retries())
        polling = Polling(self._transport.endpoint, timeout_s, CHECK_PAUSES_S)
        while True:
            retries = Retries(self._transport.endpoint, request, polling.deadline)
            response = await self._transport.exchange(retries)
            if response.status_code != 202:
                return retries.read(CheckReport, response)
            state = retries.read(CheckState, response)
            if on_progress is not None:
                on_progress(state.done_rows, state.total_rows or None)
            pause_s = polling.next_pause_s(f"The check of dataset {dataset_id}", "still running")
            await self._transport.sleep(pause_s)

    async def tokens(
        self,
        dataset_id: str,
        model: str,
        row: int,
        *,
        max_length: int | None = None,
        assistant_only_loss: bool | None = None,
        packing: bool | None = None,
    ) -> Sequence[TokenRow]:
        """A row, counted from 1, as the model reads it; two of them for a pair.

        Raises `NotFoundError` when there is no such row.
        """
        params = {**vars(ReadOptions(model, max_length, assistant_only_loss, packing)), "row": row}
        request = Request("GET", f"{dataset_path(dataset_id)}/tokens", params, timeout_s=FILES_TIMEOUT_S)
        return await self._transport.items(Listing[TokenRow], request)
