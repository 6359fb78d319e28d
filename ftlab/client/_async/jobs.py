"""Jobs: submit, watch, control and download."""

import re
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ftlab import schemas
from ftlab.client._async.transport import AsyncTransport
from ftlab.client.retry import Retries
from ftlab.client.waiting import JOB_PAUSES_S, OnStatus, Polling, final_statuses
from ftlab.client.wire import (
    COMPARE_PATH,
    JOBS_PATH,
    Kinds,
    Listing,
    OnProgress,
    Request,
    Statuses,
    checkpoint_path,
    dataset_path,
    job_path,
    key_for_retries,
)
from ftlab.errors import ConflictError, FineTuneLabError, JobCancelledError, JobFailedError
from ftlab.schemas import Attempt, Checkpoint, Job, MetricPoint, Page
from ftlab.status import JobStatus

if TYPE_CHECKING:
    from ftlab.client._async.all_jobs import AsyncEventStream
    from ftlab.schemas.comparisons import Comparison
    from ftlab.schemas.replies import CheckpointPrune

RESUMED = frozenset({JobStatus.QUEUED, JobStatus.PENDING, JobStatus.INITIALIZING, JobStatus.RUNNING})
"""Statuses of a job that has just been resumed."""
DATASET_ID = re.compile(r"ds-[0-9a-z]+")
ESTIMATE_TIMEOUT_S = 120.0
"""Rows that are not prepared yet are tokenised for a sample, after the tokenizer has been loaded."""
LOG_TAIL = 20
"""Log lines that a `JobFailedError` carries."""


class AsyncJobs:
    """Jobs of all kinds. `job` is an id, a unique name or a unique id prefix."""

    def __init__(self, transport: AsyncTransport) -> None:
        self._transport = transport

    async def create(
        self,
        config: "schemas.AnyJobConfig | Mapping[str, Any]",
        idempotency_key: str | None = None,
        *,
        template: str | None = None,
    ) -> Job:
        """Submit a job. Every submission carries an idempotency key, given or generated, so that a retry is safe.

        A key that was used before returns the first job, with `is_replay` set; an evaluation that was made before is
        returned with `is_cached` set. With a `template`, the config needs only what that leaves out or what differs.

        Raises `InvalidRequestError` for a config that the service would refuse, before anything is sent, and
        `NotFoundError` for a template that does not exist.
        """
        from ftlab.client._async.templates import filled
        from ftlab.schemas.job_file import parse_any_config

        if template is not None:
            config = await filled(self._transport, template, config)
        # What was not set is left to the service: the adapter that a job continues may decide it.
        document = parse_any_config(config).model_dump(mode="json", exclude_unset=True)
        key = key_for_retries(idempotency_key)
        retries = Retries(self._transport.endpoint, Request("POST", JOBS_PATH, document=document, idempotency_key=key))
        response = await self._transport.exchange(retries)
        job = retries.read(Job, response)
        is_cached = response.headers.get("evaluation-cached") == "true"
        return job.model_copy(update={"is_replay": retries.is_replay(response), "is_cached": is_cached})

    async def estimate(self, config: "schemas.AnyJobConfig | Mapping[str, Any]") -> "schemas.JobEstimate":
        """What a job would need: memory, steps, tokens, time and disk. Nothing is stored.

        Raises what `create` raises for the config, the model and the datasets.
        """
        from ftlab.schemas.job_file import parse_any_config

        document = parse_any_config(config).model_dump(mode="json", exclude_unset=True)
        path = f"{JOBS_PATH}/estimate"
        request = Request("POST", path, document=document, timeout_s=ESTIMATE_TIMEOUT_S, may_repeat=True)
        return await self._transport.read(schemas.JobEstimate, request)

    async def get(self, job: str) -> Job:
        """Raises `NotFoundError`, and `ConflictError` when several jobs fit."""
        return await self._transport.read(Job, Request("GET", job_path(job)))

    def list(
        self, status: Statuses = None, limit: int | None = None, *, kind: str | None = None, sweep: str | None = None
    ) -> AsyncIterator[Job]:
        """Jobs of every kind or of one, or the trials of a sweep, newest first; `limit` is the most jobs to yield."""
        params = {"status": status, "kind": kind, "sweep": sweep}
        return self._transport.pages(Page[Job], Request("GET", JOBS_PATH, params), limit)

    async def wait(
        self,
        job: str,
        timeout_s: float | None = None,
        raise_on_failure: bool = True,
        until: Statuses = None,
        on_status: OnStatus | None = None,
    ) -> Job:
        """Wait until the job has ended, or is in one of the statuses `until`, through restarts of the service.

        A paused job has not ended: `until="paused"` returns it. `on_status` is called with the job at first and at
        every change of its status. Raises `WaitTimeoutError`, and unless `raise_on_failure` is false also
        `JobFailedError` and `JobCancelledError`.
        """
        ends = final_statuses(until)
        polling = Polling(self._transport.endpoint, timeout_s, JOB_PAUSES_S)
        seen: JobStatus | None = None
        while True:
            found = await self._transport.read(Job, Request("GET", job_path(job)), polling.deadline)
            job = found.id  # another job may get the same name
            if on_status and found.status is not seen:
                on_status(found)
            seen = found.status
            if found.status in ends:
                break
            await self._transport.sleep(polling.next_pause_s(f"Job {found.id}", found.status))
        if raise_on_failure and found.status is JobStatus.CANCELLED:
            raise JobCancelledError(f"Job {found.id} was cancelled: {found.message}", found.id, found.reason)
        if raise_on_failure and found.status is JobStatus.FAILED:
            tail = await self._log_tail(found)
            raise JobFailedError(f"Job {found.id} failed: {found.message}", found.id, found.reason, tail)
        return found

    def follow(self, job: str, after: int = 0) -> "AsyncIterator[schemas.Event]":
        """The job's events after `after`: the recorded ones, then live ones until the job has ended.

        Each comes once and in order, whatever happens to the connection.
        """
        from ftlab.client._async.follow import AsyncFollower

        return AsyncFollower(self._transport, job, after).events()

    def follow_all(
        self, after: int | None = None, kinds: Kinds = None, rate: float | None = None
    ) -> "AsyncEventStream":
        """The events of all your jobs, of these kinds only: those after the position `after`, then live ones.

        By default, only those from now on. Each comes once, and those of one job in order, whatever happens to the
        connection; the `position` of the stream is the `after` of one that continues there. `rate` limits the messages
        per second: the events in between come together.
        """
        from ftlab.client._async.all_jobs import AsyncEventStream

        return AsyncEventStream(self._transport, after, kinds, rate)

    def events(self, job: str, after: int = 0, kinds: Kinds = None) -> "AsyncIterator[schemas.Event]":
        """The events recorded so far, of these kinds only."""
        from ftlab.client._async.follow import recorded

        return recorded(self._transport, job, after, kinds)

    async def metrics(
        self, job: str, names: str | Sequence[str] | None = None, max_points: int | None = None
    ) -> Sequence[MetricPoint]:
        """Metric points by name and step, at most `max_points` a name; `names` is one name or several."""
        wanted = [names] if isinstance(names, str) else names
        params = {"names": ",".join(wanted) if wanted else None, "max_points": max_points}
        request = Request("GET", f"{job_path(job)}/metrics", params)
        return await self._transport.items(Listing[MetricPoint], request)

    async def gpu(
        self,
        job: str,
        names: str | Sequence[str] | None = None,
        *,
        after: datetime | None = None,
        until: datetime | None = None,
        max_points: int | None = None,
    ) -> "schemas.JobTelemetry":
        """What the job's GPUs and processes did over time, at most `max_points` points for each of them.

        `names` is one name or several, such as `utilization_percent`; the times need a time zone.
        """
        wanted = [names] if isinstance(names, str) else names
        params = {"name": wanted, "after": after, "until": until, "max_points": max_points}
        return await self._transport.read(schemas.JobTelemetry, Request("GET", f"{job_path(job)}/gpu", params))

    async def logs(self, job: str, tail: int = 200) -> "Sequence[schemas.LogLine]":
        """The newest lines of the job's log, oldest first."""
        request = Request("GET", f"{job_path(job)}/logs", {"tail": tail})
        return await self._transport.items(Listing[schemas.LogLine], request)

    async def checkpoints(self, job: str) -> Sequence[Checkpoint]:
        """Committed checkpoints, newest first."""
        return await self._transport.items(Listing[Checkpoint], Request("GET", f"{job_path(job)}/checkpoints"))

    async def pin_checkpoint(self, job: str, name: str, *, is_pinned: bool = True) -> Checkpoint:
        """Keep a checkpoint until it is unpinned: neither a limit nor a rule removes it.

        Raises `NotFoundError`, and `ConflictError` (code `checkpoint_in_use`) while a resume is about to remove it.
        """
        request = Request("PATCH", checkpoint_path(job, name), document={"is_pinned": is_pinned}, may_repeat=True)
        return await self._transport.read(Checkpoint, request)

    async def delete_checkpoint(self, job: str, name: str) -> None:
        """Delete a checkpoint with its files.

        Raises `NotFoundError`, and `ConflictError` (code `checkpoint_pinned` or `checkpoint_in_use`) when it stays.
        """
        await self._transport.exchange_unrepeatable(Request("DELETE", checkpoint_path(job, name)))

    async def prune_checkpoints(
        self,
        jobs: Collection[str] = (),
        *,
        older_than_days: float = 0.0,
        keep_best: bool = True,
        dry_run: bool = False,
    ) -> "CheckpointPrune":
        """Delete checkpoints of these jobs, by default of all yours; with `dry_run`, only list them.

        Pinned ones, the newest of each job, and those that are still needed stay. Raises `NotFoundError` for a job.
        """
        from ftlab.schemas.replies import CheckpointPrune

        document = {
            "jobs": list(jobs),
            "older_than_days": older_than_days,
            "keep_best": keep_best,
            "dry_run": dry_run,
        }
        request = Request("POST", "/api/training/checkpoints/prune", document=document, may_repeat=dry_run)
        return await self._transport.read(CheckpointPrune, request)

    async def attempts(self, job: str) -> Sequence[Attempt]:
        """Every try at the job, oldest first."""
        return await self._transport.items(Listing[Attempt], Request("GET", f"{job_path(job)}/attempts"))

    async def failure(self, job: str) -> "schemas.FailureAnalysis":
        """Why the newest failed attempt of the job failed, what to change, and where to continue.

        Raises `NotFoundError` (code `job_not_failed`) for a job that never failed.
        """
        return await self._transport.read(schemas.FailureAnalysis, Request("GET", f"{job_path(job)}/failure"))

    async def analytics(self, job: str) -> "schemas.JobAnalytics":
        """What the job's record says: best evaluation, course of the loss, speed, where the time went, earlier jobs."""
        return await self._transport.read(schemas.JobAnalytics, Request("GET", f"{job_path(job)}/analytics"))

    async def compare(self, jobs: Sequence[str]) -> "Comparison":
        """Results, settings that differ, data, samples and curves of 2 to 10 jobs, in this order."""
        from ftlab.schemas.comparisons import Comparison

        return await self._transport.read(Comparison, Request("GET", COMPARE_PATH, {"job": list(jobs)}))

    async def cancel(self, job: str) -> Job:
        """Ask for a graceful stop; checkpoints are kept. Raises `ConflictError` when the job has ended."""
        return await self._change(job, "cancel", None, lambda found: found.status is JobStatus.CANCELLED)

    async def delete(self, job: str) -> None:
        """Delete a job that has ended, with its events, metrics, checkpoints, logs and models.

        Its MLflow run and registered models stay. Raises `ConflictError` when it has not ended (code `job_not_ended`),
        when an unfinished job starts from its model (`model_in_use`), and while the service still needs its record
        (`job_ending`, `job_not_recorded`).
        """
        # By its id, because a repeated request must not meet another job with the same name.
        found = await self.get(job)
        await self._transport.exchange_unrepeatable(Request("DELETE", job_path(found.id)))

    async def pause(self, job: str) -> Job:
        """Ask the job to save a checkpoint, release its devices and pause; a queued job is paused at once.

        Raises `ConflictError` when it is paused already, is being cancelled, or has ended.
        """
        return await self._change(job, "pause", None, lambda found: found.status is JobStatus.PAUSED)

    async def resume(
        self,
        job: str,
        checkpoint: str | None = None,
        *,
        config_adjustments: Mapping[str, Any] | None = None,
        suggested: bool = False,
        original: bool = False,
    ) -> Job:
        """Put a paused, failed or cancelled job back into the queue, also with other settings.

        `checkpoint` is `latest` (the default), `best`, or a checkpoint's name. `config_adjustments` are settings with
        new values, by path (`training.learning_rate`) or in groups as in a config. `suggested` makes the changes that
        the analysis of the failure suggests first, and `original` undoes all earlier changes.

        Raises what `create` raises for the changed config, `ConflictError` when the job has another status, when the
        checkpoint is damaged (code `checkpoint_corrupt`) or cannot take a change (`needs_new_job`), and `NotFoundError`
        when the job has no such checkpoint.
        """
        changes = {"config_adjustments": config_adjustments and dict(config_adjustments)}
        given = {"checkpoint": checkpoint, "suggested": suggested or None, "original": original or None} | changes
        document = {name: value for name, value in given.items() if value is not None} or None
        return await self._change(job, "resume", document, lambda found: found.status in RESUMED)

    async def append(self, job: str, datasets: str | Sequence[str]) -> Job:
        """Add datasets, by id or unique name, after those that the job has; a completed job is reopened.

        Raises `ConflictError` when the job accepts no more files, and `NotFoundError` for an unknown dataset.
        """
        names = [datasets] if isinstance(datasets, str) else list(datasets)
        # By id, so that a repeated request can be compared with what the job has.
        ids = [name if DATASET_ID.fullmatch(name) else await self._dataset_id(name) for name in names]
        before = await self.get(job)
        return await self._change(
            before.id,
            "batches",
            {"datasets": ids, "after": before.num_files},
            lambda found: list(found.datasets[before.num_files :][: len(ids)]) == ids,
        )

    async def set_priority(self, job: str, priority: int) -> Job:
        """Give a waiting job another priority, 0 to 100. Raises `ConflictError` when it is not queued or paused."""
        return await self._transport.read(Job, Request("PATCH", job_path(job), document={"priority": priority}))

    async def move_to_front(self, job: str) -> Job:
        """Move a queued job ahead of all jobs with its priority. Raises `ConflictError` when it is not queued."""
        path, document = f"{job_path(job)}/move", {"to": "front"}
        request = Request("POST", path, document=document, idempotency_key=key_for_retries())
        return await self._transport.read(Job, request)

    async def move_behind(self, job: str, other: str) -> Job:
        """Move a queued job right behind another one with the same priority.

        Raises `ConflictError` when one of them is not queued, or their priorities differ.
        """
        path, document = f"{job_path(job)}/move", {"to": "behind", "job": other}
        request = Request("POST", path, document=document, idempotency_key=key_for_retries())
        return await self._transport.read(Job, request)

    async def download_model(
        self,
        job: str,
        path: str | Path,
        checkpoint: str | None = None,
        on_progress: OnProgress | None = None,
    ) -> Path:
        """Save the tuned model, or a checkpoint by its name, as a ZIP file at `path`."""
        request = Request("GET", f"{job_path(job)}/download/model", {"checkpoint": checkpoint})
        return await self._download(request, Path(path), on_progress)

    async def download_logs(self, job: str, path: str | Path, on_progress: OnProgress | None = None) -> Path:
        """Save the job's log files as a ZIP file at `path`."""
        return await self._download(Request("GET", f"{job_path(job)}/download/logs"), Path(path), on_progress)

    async def _download(self, request: Request, path: Path, on_progress: OnProgress | None) -> Path:
        from ftlab.client._async.transfers import download

        return await download(self._transport, request, path, on_progress)

    async def _change(
        self, job: str, action: str, document: Mapping[str, object] | None, is_done: Callable[[Job], bool]
    ) -> Job:
        """Request a change of a job; the first try may have done what a later one is refused for."""
        path, key = f"{job_path(job)}/{action}", key_for_retries()
        request = Request("POST", path, document=document, idempotency_key=key)
        retries = Retries(self._transport.endpoint, request)
        try:
            return retries.read(Job, await self._transport.exchange(retries))
        except ConflictError:
            if not retries.was_repeated:
                raise
            found = await self.get(job)
            if not is_done(found):
                raise
            return found

    async def _dataset_id(self, name: str) -> str:
        return (await self._transport.read(schemas.Dataset, Request("GET", dataset_path(name)))).id

    async def _log_tail(self, job: Job) -> tuple[str, ...]:
        """The last lines of the log before the one that repeats the error."""
        try:
            lines = [line.text for line in await self.logs(job.id, LOG_TAIL + 1)]
            return tuple(line for line in lines if line != job.message)[-LOG_TAIL:]
        except FineTuneLabError:
            # Why the job failed matters more than that its log cannot be had.
            return ()
