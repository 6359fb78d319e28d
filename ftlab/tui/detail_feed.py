"""One job in detail: loaded once, then followed through its event stream until it has ended."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

from ftlab.client import AsyncClient
from ftlab.errors import FineTuneLabError, NotFoundError
from ftlab.schemas import (
    CheckpointPayload,
    Event,
    EventKind,
    FailureAnalysis,
    Job,
    MetricsPayload,
    ProgressPayload,
    SamplePayload,
    StatusPayload,
)
from ftlab.schemas.log_lines import log_lines
from ftlab.schemas.sample_prompts import answers_by_prompt
from ftlab.status import JobStatus
from ftlab.tui.series import Point, extended, series_by_name
from ftlab.tui.snapshot import JobDetail

LOG_LINES = 1000
"""Log lines that are loaded at first; twice as many are kept."""
EVENTS = 500
METRIC_POINTS = 800
"""Points of each metric that are loaded: more than a wide screen has dots."""
RETRY_S = 2.0
SHOWN_KINDS = (EventKind.STATUS, EventKind.NOTICE, EventKind.CHECKPOINT, EventKind.SAMPLE)


async def load(client: AsyncClient, job_id: str) -> JobDetail:
    """Everything about a job, as it is recorded now. Raises what the client raises."""
    job = await client.jobs.get(job_id)
    points, logs, checkpoints, attempts, failure = await asyncio.gather(
        client.jobs.metrics(job.id, max_points=METRIC_POINTS),
        client.jobs.logs(job.id, LOG_LINES),
        client.jobs.checkpoints(job.id),
        client.jobs.attempts(job.id),
        _failure(client, job),
    )
    events = [event async for event in client.jobs.events(job.id, kinds=SHOWN_KINDS)]
    return JobDetail(
        job,
        series_by_name(points),
        tuple(logs),
        tuple(events[-EVENTS:]),
        tuple(checkpoints),
        answers_by_prompt(event.payload for event in events),
        tuple(attempts),
        failure,
        is_live=not job.status.is_terminal,
    )


async def _failure(client: AsyncClient, job: Job) -> FailureAnalysis | None:
    if job.status is not JobStatus.FAILED:
        return None
    try:
        return await client.jobs.failure(job.id)
    except NotFoundError:
        return None


class DetailFeed:
    """Follows one job. Without a connection it keeps what it has, says why, and tries again."""

    def __init__(self, client: AsyncClient, job: Job) -> None:
        self._client = client
        self._detail = JobDetail(job)
        self._is_loaded = False

    async def details(self) -> AsyncIterator[JobDetail]:
        """The job now and after each of its events; ends when the job has ended or does not exist any more."""
        while True:
            try:
                if not self._is_loaded:
                    yield await self._load()
                if self._detail.job.status.is_terminal:
                    return
                async for event in self._client.jobs.follow(self._detail.job.id, self._detail.job.last_seq):
                    yield await self._take(event)
                self._is_loaded = False  # of a job that has ended, the record has more than its events
            except NotFoundError as error:
                yield self._changed(problem=error.message, is_live=False)
                return
            except FineTuneLabError as error:
                yield self._changed(problem=error.message)
                await asyncio.sleep(RETRY_S)

    async def _load(self) -> JobDetail:
        self._detail = await load(self._client, self._detail.job.id)
        self._is_loaded = True
        return self._detail

    def _changed(self, **changes: object) -> JobDetail:
        self._detail = replace(self._detail, **changes)  # type: ignore[arg-type]
        return self._detail

    async def _take(self, event: Event) -> JobDetail:
        """The job after one more event."""
        detail = with_event(self._detail, event)
        if isinstance(event.payload, StatusPayload):
            job = await self._client.jobs.get(detail.job.id)
            attempts = await self._client.jobs.attempts(detail.job.id)
            detail = replace(detail, job=_not_older(job, detail.job), attempts=tuple(attempts))
        if isinstance(event.payload, CheckpointPayload):
            detail = replace(detail, checkpoints=tuple(await self._client.jobs.checkpoints(detail.job.id)))
        self._detail = detail
        return self._changed(problem="")


def _not_older(fetched: Job, followed: Job) -> Job:
    """The fetched record with the place in the event log that was followed so far: later events are still to come."""
    return fetched.model_copy(update={"last_seq": followed.last_seq})


def with_event(detail: JobDetail, event: Event) -> JobDetail:
    """The detail with what an event says, as far as the event itself has it."""
    payload = event.payload
    changes: dict[str, object] = {"last_seq": event.seq}
    series = dict(detail.series)
    if isinstance(payload, ProgressPayload):
        changes |= {"step": payload.step or detail.job.step, "eta_s": payload.eta_s}
        known = {"total_steps": payload.total_steps, "epoch": payload.epoch, "phase": payload.phase}
        known |= {"file": payload.file, "file_progress": payload.file_progress}
        changes |= {name: value for name, value in known.items() if value is not None}
    if isinstance(payload, MetricsPayload):
        for name, value in payload.values.items():
            if value is not None:
                point = Point(payload.step, value, event.at, event.attempt, payload.epoch)
                series[name] = extended(series.get(name, ()), point)
        for name in ("loss", "eval_loss"):
            if name in payload.values:
                changes[name] = payload.values[name]
    loaded = {(line.at, line.text) for line in detail.logs[-20:]}
    lines = log_lines(payload, at=event.at, attempt=event.attempt)
    fresh = [line for line in lines if (line.at, line.text) not in loaded]
    samples = detail.samples
    if isinstance(payload, SamplePayload):
        by_step = {**samples.get(payload.number, {}), payload.step: payload}
        samples = {**samples, payload.number: by_step}
    shown = event.kind in SHOWN_KINDS and all(event.seq != known.seq for known in detail.events[-20:])
    return replace(
        detail,
        job=detail.job.model_copy(update=changes),
        series=series,
        logs=(*detail.logs, *fresh)[-2 * LOG_LINES :] if fresh else detail.logs,
        events=(*detail.events, event)[-EVENTS:] if shown else detail.events,
        samples=samples,
    )
