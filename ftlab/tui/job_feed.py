"""Snapshots of all jobs: lists that are fetched when the stream of all jobs says that something has changed.

Where the service has no stream, or it is not connected, the lists are polled.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Protocol

from ftlab.client import AsyncClient
from ftlab.errors import (
    AuthenticationError,
    FineTuneLabError,
    NotFoundError,
    PermissionDeniedError,
    ServiceUnavailableError,
)
from ftlab.schemas import Job, NodeStatus
from ftlab.schemas.streams import DeletedMessage, OpenMessage, StreamMessage
from ftlab.status import LIVE_STATUSES, JobStatus
from ftlab.tui.snapshot import Link, LinkState, Snapshot, Trend, in_table_order

MAX_JOBS = 500
"""Newest jobs that are listed, besides those that have not ended."""
FULL_EVERY_S = 60.0
"""How often the whole list is fetched again, in case that something was missed."""
BUSY_S, WAITING_S, IDLE_S = 1.0, 2.0, 5.0
"""Pauses between two polls without a stream: while jobs run, while jobs wait, and while all have ended. With one, lists
are not fetched more often than every `BUSY_S`, and only after news."""
NODES_EVERY_S = 2.0
STREAM_RATE = 2.0
"""Messages with events a second: they only say that there is something to fetch."""
NEWEST = 20
TREND_METRICS = ("loss", "reward", "learning_rate", "tokens_per_s")
TREND_POINTS = 32
MAX_TRENDS = 40
"""Jobs at the top of the table that get a trend; those of ended jobs are fetched once."""

_ACTIVE = [status for status in JobStatus if not status.is_terminal]


class JobFeed(Protocol):
    """A source of snapshots."""

    def snapshots(self) -> AsyncIterator[Snapshot]:
        """A snapshot now, and one after every change or poll, without end."""

    def hurry(self) -> None:
        """Fetch the next snapshot at once: something was changed."""


class ServiceFeed:
    """Fetches the list of jobs: all of it at first, then only what can change."""

    def __init__(
        self,
        client: AsyncClient,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        pinned_id: str | None = None,
    ) -> None:
        """`pinned_id` is a job that is listed however old it is."""
        self._client = client
        self._pinned_id = pinned_id
        self._clock = clock
        self._jobs: dict[str, Job] = {}
        self._trends: dict[str, Trend] = {}
        self._trend_steps: dict[str, int] = {}
        """The step at which the trend of a job was fetched."""
        self._nodes: tuple[NodeStatus, ...] = ()
        self._nodes_at: datetime | None = None
        self._link = Link(client.base_url)
        self._listed_at: datetime | None = None
        self._wake = asyncio.Event()
        self._is_streaming = False
        """Whether the stream says when something changes."""
        self._has_news = True
        """Whether the lists may have changed since they were fetched."""
        self._polled_at = 0.0

    async def snapshots(self) -> AsyncIterator[Snapshot]:
        """A snapshot after every poll, also one that failed: then with the last data and the problem."""
        stream = asyncio.create_task(self._follow())
        try:
            while True:
                # Before the poll: a change that is requested during it needs another one.
                self._wake.clear()
                yield await self.poll()
                try:
                    async with asyncio.timeout(self.pause_s):
                        await self._wake.wait()
                except TimeoutError:
                    pass
        finally:
            stream.cancel()

    def hurry(self) -> None:
        """End the pause before the next poll, which fetches the lists."""
        self._has_news = True
        self._wake.set()

    @property
    def pause_s(self) -> float:
        """Seconds until the next poll."""
        if self._link.state is LinkState.REFUSED:
            return IDLE_S
        if self._link.state is LinkState.LOST:
            return WAITING_S
        if self._is_streaming:
            return BUSY_S if self._has_news else NODES_EVERY_S
        statuses = {job.status for job in self._jobs.values()}
        if statuses & LIVE_STATUSES:
            return BUSY_S
        return WAITING_S if JobStatus.QUEUED in statuses else IDLE_S

    async def poll(self) -> Snapshot:
        """Fetch what can have changed."""
        self._polled_at = asyncio.get_running_loop().time()
        has_news, self._has_news = self._has_news or not self._is_streaming, False
        try:
            await self._fetch(has_news=has_news)
        except (AuthenticationError, PermissionDeniedError) as error:
            self._link = replace(self._link, state=LinkState.REFUSED, problem=error.message)
        except FineTuneLabError as error:
            self._link = replace(self._link, state=LinkState.LOST, problem=error.message)
            self._has_news = True
        else:
            self._link = replace(self._link, state=LinkState.LIVE, fetched_at=self._clock(), problem="")
        jobs = in_table_order(list(self._jobs.values()))
        trends = {job.id: self._trends[job.id] for job in jobs if job.id in self._trends}
        return Snapshot(self._link, jobs, trends, self._nodes)

    async def _follow(self) -> None:
        """Note what the stream says, until it is refused: the key may have too many streams open."""
        try:
            async for message in self._client.jobs.follow_all(rate=STREAM_RATE).messages():
                self._is_streaming = True
                self._take(message)
        except FineTuneLabError:
            pass  # the lists are polled from now on
        finally:
            self._is_streaming = False

    def _take(self, message: StreamMessage) -> None:
        if isinstance(message, DeletedMessage):
            self._jobs.pop(message.job_id, None)
        if isinstance(message, DeletedMessage | OpenMessage):
            # The whole list: a poll under way may have the deleted job, and those before the connection were missed.
            self._listed_at = None
        if not self._has_news:
            self._has_news = True
            loop = asyncio.get_running_loop()
            loop.call_at(max(loop.time(), self._polled_at + BUSY_S), self._wake.set)

    async def _fetch(self, *, has_news: bool) -> None:
        now = self._clock()
        is_due = self._listed_at is None or (now - self._listed_at).total_seconds() >= FULL_EVERY_S
        if has_news or is_due:
            await self._fetch_jobs(now, is_whole=is_due)
            await self._fetch_trends()
        await self._fetch_nodes(now)

    async def _fetch_jobs(self, now: datetime, *, is_whole: bool) -> None:
        active = [job async for job in self._client.jobs.list(_ACTIVE)]
        if is_whole:
            newest = [job async for job in self._client.jobs.list(limit=MAX_JOBS)]
            self._jobs = {}
            self._listed_at = now
        else:
            newest = [job async for job in self._client.jobs.list(limit=NEWEST)]
        found = {job.id: job for job in [*newest, *active]}
        if self._pinned_id is not None and self._pinned_id not in self._jobs | found:
            await self._fetch_one(self._pinned_id)
        for job in list(self._jobs.values()):
            if not job.status.is_terminal and job.id not in found:
                await self._fetch_one(job.id)
        self._jobs |= found

    async def _fetch_nodes(self, now: datetime) -> None:
        """The machines, which a service that starts does not know."""
        if self._nodes_at is not None and (now - self._nodes_at).total_seconds() < NODES_EVERY_S:
            return
        self._nodes_at = now
        try:
            self._nodes = tuple(await self._client.nodes())
        except ServiceUnavailableError:
            self._nodes = ()

    async def _fetch_one(self, job_id: str) -> None:
        """The record of a job that is not in the lists: it was active at the last poll, or is pinned."""
        try:
            job = await self._client.jobs.get(job_id)
        except NotFoundError:
            self._jobs.pop(job_id, None)
        else:
            self._jobs[job.id] = job
            if job_id == self._pinned_id:
                self._pinned_id = job.id

    async def _fetch_trends(self) -> None:
        """Measurements of running jobs that made a step, and once those of ended jobs, in one request."""
        ordered = in_table_order(list(self._jobs.values()))
        wanted = [job for job in ordered[:MAX_TRENDS] if job.step and self._trend_steps.get(job.id) != job.step]
        if not wanted:
            return
        series: dict[str, dict[str, list[float]]] = {job.id: {} for job in wanted}
        for found in await self._client.series([job.id for job in wanted], TREND_METRICS, TREND_POINTS):
            series[found.job_id][found.name] = found.values
        for job in wanted:
            self._trends[job.id] = trend_of(series[job.id])
            self._trend_steps[job.id] = job.step


def trend_of(values: Mapping[str, Sequence[float]]) -> Trend:
    """The trend in metric values by name; `grpo` jobs without a loss show their reward."""

    def newest(name: str) -> float | None:
        return values[name][-1] if name in values else None

    curve = values.get("reward") or values.get("loss") or ()
    return Trend(tuple(curve), newest("learning_rate"), newest("tokens_per_s"))
