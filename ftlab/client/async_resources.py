"""The resources of the async client: those of `ftlab.client.resources`, awaited."""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from ftlab.client import calls, flows
from ftlab.client.async_performer import AsyncPerformer, iterate, run
from ftlab.client.calls import Call, Kinds, ReadOptions, Statuses
from ftlab.client.checks import check
from ftlab.client.downloads import download
from ftlab.client.endpoint import Endpoint
from ftlab.client.flows import OnStatus, Waiting
from ftlab.client.follow import follow
from ftlab.client.steps import Steps, Stream
from ftlab.client.uploads import upload
from ftlab.client.wire import OnProgress, UploadOptions
from ftlab.schemas import (
    Attempt,
    Checkpoint,
    Dataset,
    DatasetPreview,
    Event,
    Job,
    JobConfig,
    LogLine,
    MetricPoint,
    ModelCheck,
    Quota,
    SignedUrl,
    TunedModel,
)
from ftlab.schemas.checks import CheckReport, TokenRow

T = TypeVar("T")


class AsyncResource:
    """A part of the API."""

    def __init__(self, endpoint: Endpoint, performer: Callable[[], AsyncPerformer]) -> None:
        self._endpoint = endpoint
        self._performer = performer

    async def _run(self, steps: Steps[T]) -> T:
        return await run(steps, self._performer())

    async def _call(self, call: Call[T]) -> T:
        return await self._run(flows.call(self._endpoint, call))

    def _iterate(self, stream: Stream[None]) -> AsyncIterator[Any]:
        return iterate(stream, self._performer())


class AsyncJobs(AsyncResource):
    """Fine-tuning jobs. `job` is an id, a unique name or a unique id prefix."""

    async def create(self, config: JobConfig | Mapping[str, Any], idempotency_key: str | None = None) -> Job:
        """Submit a job. Every submit carries an Idempotency-Key, given or made up, so that a retry is safe.

        Raises `InvalidRequestError` for a config that the service would refuse, before anything is sent.
        """
        return await self._call(calls.create_job(config, idempotency_key))

    async def get(self, job: str) -> Job:
        """Raises `NotFoundError`, and `ConflictError` when several jobs fit."""
        return await self._call(calls.get_job(job))

    def list(self, status: Statuses = None, limit: int | None = None) -> AsyncIterator[Job]:
        """Jobs, newest first, fetched page by page; `limit` is the most jobs to yield."""
        return self._iterate(
            flows.pages(self._endpoint, lambda after, size: calls.jobs_page(status, after, size), limit)
        )

    async def wait(
        self,
        job: str,
        timeout_s: float | None = None,
        raise_on_failure: bool = True,
        until: Statuses = None,
        on_status: OnStatus | None = None,
    ) -> Job:
        """Wait until the job has ended, or is in one of the statuses `until`, through restarts of the service.

        A paused job has not ended: `until="paused"` returns it, and `on_status`, which is called with the job at
        first and at every change of its status, tells of it. Raises `WaitTimeoutError`, and unless
        `raise_on_failure` is false also `JobFailedError` and `JobCancelledError`.
        """
        waiting = Waiting(timeout_s, raise_on_failure, until, on_status)
        return await self._run(flows.wait(self._endpoint, job, waiting))

    def follow(self, job: str, after: int = 0) -> AsyncIterator[Event]:
        """The job's events after `after`: the recorded ones, then live ones until the job has ended.

        Each comes once and in order, whatever happens to the connection.
        """
        return self._iterate(follow(self._endpoint, job, after))

    def events(self, job: str, after: int = 0, kinds: Kinds = None) -> AsyncIterator[Event]:
        """The events recorded so far, of these kinds only."""
        return self._iterate(flows.events(self._endpoint, job, after, kinds))

    async def metrics(
        self, job: str, names: Sequence[str] | None = None, max_points: int | None = None
    ) -> Sequence[MetricPoint]:
        """Metric points by name and step, at most `max_points` a name."""
        return await self._call(calls.metrics(job, names, max_points))

    async def logs(self, job: str, tail: int = 200) -> Sequence[LogLine]:
        """The newest lines of the job's log, oldest first."""
        return await self._call(calls.logs(job, tail))

    async def checkpoints(self, job: str) -> Sequence[Checkpoint]:
        """Committed checkpoints, newest first."""
        return await self._call(calls.checkpoints(job))

    async def attempts(self, job: str) -> Sequence[Attempt]:
        """Every try at the job, oldest first."""
        return await self._call(calls.attempts(job))

    async def cancel(self, job: str) -> Job:
        """Ask for a graceful stop; checkpoints are kept. Raises `ConflictError` when the job has ended."""
        return await self._run(flows.cancel(self._endpoint, job))

    async def pause(self, job: str) -> Job:
        """Ask the job to save a checkpoint, give its devices back and rest; a queued one rests at once.

        Raises `ConflictError` when it is paused already, is being cancelled, or has ended.
        """
        return await self._run(flows.pause(self._endpoint, job))

    async def resume(self, job: str, checkpoint: str | None = None) -> Job:
        """Put a paused job back into the queue, to go on from its newest good checkpoint or from the one named.

        Raises `ConflictError` when it is not paused, or when the checkpoint is damaged (code `checkpoint_corrupt`),
        and `NotFoundError` when the job has no such checkpoint.
        """
        return await self._run(flows.resume(self._endpoint, job, checkpoint))

    async def append(self, job: str, datasets: str | Sequence[str]) -> Job:
        """Have the job train on these datasets too, after those that it has; a completed one is re-opened.

        Raises `ConflictError` when the job takes no more files, and `NotFoundError` for an unknown dataset.
        """
        ids = [datasets] if isinstance(datasets, str) else datasets
        return await self._run(flows.append(self._endpoint, job, ids))

    async def set_priority(self, job: str, priority: int) -> Job:
        """Give a waiting job another priority, 0 to 100. Raises `ConflictError` when it is not queued or paused."""
        return await self._call(calls.set_priority(job, priority))

    async def move_to_front(self, job: str) -> Job:
        """Make a queued job the first of its priority. Raises `ConflictError` when it is not queued."""
        return await self._call(calls.move_to_front(job))

    async def download_model(
        self,
        job: str,
        path: str | Path,
        checkpoint: str | None = None,
        on_progress: OnProgress | None = None,
    ) -> Path:
        """Save the tuned model, or a checkpoint by its name, as a ZIP file at `path`."""
        request = calls.model_download(job, checkpoint)
        return await self._run(download(self._endpoint, request, Path(path), on_progress))

    async def download_logs(self, job: str, path: str | Path, on_progress: OnProgress | None = None) -> Path:
        """Save the job's log files as a ZIP file at `path`."""
        return await self._run(download(self._endpoint, calls.logs_download(job), Path(path), on_progress))


class AsyncDatasets(AsyncResource):
    """Uploaded datasets."""

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

        `shape` and `columns`, from a field of the shape to a column of the file, say what the service would else find
        out; `accept_partial` leaves rows out that cannot be read. A large file goes in pieces and goes on after a cut
        connection, also when it is uploaded again within a day. Raises `InvalidRequestError` with code
        `dataset_invalid` that names the lines at fault.
        """
        options = UploadOptions(name, bucket, shape, columns, accept_partial)
        return await self._run(upload(self._endpoint, Path(path), options, on_progress))

    def list(self, limit: int | None = None) -> AsyncIterator[Dataset]:
        """Datasets, newest first, fetched page by page."""
        return self._iterate(flows.pages(self._endpoint, calls.datasets_page, limit))

    async def get(self, dataset_id: str) -> Dataset:
        return await self._call(calls.get_dataset(dataset_id))

    async def move(self, dataset_id: str, bucket: str) -> Dataset:
        """Move a dataset into another bucket; its id stays. Raises `ConflictError` while a job that has not ended
        uses it."""
        return await self._call(calls.move_dataset(dataset_id, bucket))

    async def url(self, dataset_id: str, expires_s: int | None = None) -> SignedUrl:
        """Make a URL at which anybody can download the uploaded file, for 24 hours or so many seconds."""
        return await self._call(calls.dataset_url(dataset_id, expires_s))

    async def delete(self, dataset_id: str) -> None:
        """Raises `ConflictError` while a job that has not ended uses it."""
        await self._run(flows.delete_dataset(self._endpoint, dataset_id))

    async def download(self, dataset_id: str, path: str | Path, on_progress: OnProgress | None = None) -> Path:
        """Save the file as it was uploaded."""
        return await self._run(download(self._endpoint, calls.dataset_download(dataset_id), Path(path), on_progress))

    async def preview(self, dataset_id: str, rows: int = 5) -> DatasetPreview:
        """The first rows, at most 50, as they stand in the file and as they are trained on; long texts are cut."""
        return await self._call(calls.dataset_preview(dataset_id, rows))

    async def check(
        self,
        dataset_id: str,
        model: str,
        *,
        max_length: int | None = None,
        assistant_only_loss: bool | None = None,
        packing: bool | None = None,
        eval_dataset: str | None = None,
        max_findings: int | None = None,
        timeout_s: float | None = None,
        on_progress: OnProgress | None = None,
    ) -> CheckReport:
        """Have the doctor look at a dataset for a model, and wait for the report.

        `max_length`, `assistant_only_loss` and `packing` are as in a job's config; `eval_dataset` is one that must
        share no row with it. `on_progress` is called with the rows done and, when it is known, with their total.
        Raises `WaitTimeoutError`, and `NotFoundError` for a dataset or model that is not there.
        """
        options = ReadOptions(model, max_length, assistant_only_loss, packing)
        return await self._run(
            check(
                self._endpoint,
                dataset_id,
                options,
                eval_dataset=eval_dataset,
                max_findings=max_findings,
                timeout_s=timeout_s,
                on_progress=on_progress,
            )
        )

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
        options = ReadOptions(model, max_length, assistant_only_loss, packing)
        return await self._call(calls.dataset_tokens(dataset_id, options, row))


class AsyncModels(AsyncResource):
    """Tuned models."""

    def list(self, limit: int | None = None) -> AsyncIterator[TunedModel]:
        """Models, newest first, fetched page by page."""
        return self._iterate(flows.pages(self._endpoint, calls.models_page, limit))

    async def get(self, model_id: str) -> TunedModel:
        return await self._call(calls.get_model(model_id))

    async def check(self, ref: str) -> ModelCheck:
        """What a job with this model would start from: `org/name`, a path, `job:<id>` or `model:<id>`.

        Raises what a submit raises: `NotFoundError`, `PermissionDeniedError` for a gated model, and
        `InvalidRequestError` for one that cannot be trained.
        """
        return await self._call(calls.check_model(ref))


class AsyncQuotas(AsyncResource):
    """What one owner may use at once: your own limits."""

    async def get(self) -> Quota:
        """Your limits, and what you use of them now."""
        return await self._call(calls.get_quota())

    async def set(self, **limits: float | None) -> Quota:
        """Change your limits, as `max_queued_jobs=20`; `None` goes back to the service's setting.

        Raises `InvalidRequestError` for a limit that does not exist.
        """
        return await self._call(calls.set_quota(limits))
