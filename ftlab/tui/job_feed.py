"""Snapshots of all jobs, fetched by polling. A stream of all jobs can take its place: the app only reads snapshots."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
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
from ftlab.schemas import Job, MetricPoint, NodeStatus
from ftlab.status import LIVE_STATUSES, JobStatus
from ftlab.tui.snapshot import Link, LinkState, Snapshot, Trend, in_table_order

MAX_JOBS = 500
"""Newest jobs that are listed, besides those that have not ended."""
FULL_EVERY_S = 60.0
"""How often the whole list is fetched again: jobs that were deleted leave it then."""
BUSY_S, WAITING_S, IDLE_S = 1.0, 2.0, 5.0
"""Pauses between two polls while jobs run, while jobs wait, and while all have ended."""
NODES_EVERY_S = 2.0
NEWEST = 20
TREND_METRICS = ("loss", "reward", "learning_rate", "tokens_per_s")
TREND_POINTS = 32
MAX_TRENDS = 8
"""Jobs whose measurements are fetched in one poll."""
TRENDS_OF_ENDED = 40
"""Jobs at the top of the table that get a trend although they have ended: fetched once."""

_ACTIVE = [status for status in JobStatus if not status.is_terminal]


class JobFeed(Protocol):
    """A source of snapshots."""

    def snapshots(self) -> AsyncIterator[Snapshot]:
        """A snapshot now, and one after every change or poll, without end."""

    def hurry(self) -> None:
        """Fetch the next snapshot at once: something was changed."""


class PollingFeed:
    """Polls the list of jobs: all of it at first, then only what can change."""

    def __init__(
        self,
        client: AsyncClient,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        pinned_id: str | None = None,
        max_trends: int = MAX_TRENDS,
    ) -> None:
        """`pinned_id` is a job that is listed however old it is; `max_trends` are fetched in one poll."""
        self._client = client
        self._pinned_id = pinned_id
        self._max_trends = max_trends
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

    async def snapshots(self) -> AsyncIterator[Snapshot]:
        """A snapshot after every poll, also one that failed: then with the last data and the problem."""
        while True:
            yield await self.poll()
            self._wake.clear()
            try:
                async with asyncio.timeout(self.pause_s):
                    await self._wake.wait()
            except TimeoutError:
                pass

    def hurry(self) -> None:
        """End the pause before the next poll."""
        self._wake.set()

    @property
    def pause_s(self) -> float:
        """Seconds until the next poll."""
        if self._link.state is LinkState.REFUSED:
            return IDLE_S
        if self._link.state is LinkState.LOST:
            return WAITING_S
        statuses = {job.status for job in self._jobs.values()}
        if statuses & LIVE_STATUSES:
            return BUSY_S
        return WAITING_S if JobStatus.QUEUED in statuses else IDLE_S

    async def poll(self) -> Snapshot:
        """Fetch what can have changed."""
        try:
            await self._fetch()
        except (AuthenticationError, PermissionDeniedError) as error:
            self._link = replace(self._link, state=LinkState.REFUSED, problem=error.message)
        except FineTuneLabError as error:
            self._link = replace(self._link, state=LinkState.LOST, problem=error.message)
        else:
            self._link = replace(self._link, state=LinkState.LIVE, fetched_at=self._clock(), problem="")
        jobs = in_table_order(list(self._jobs.values()))
        trends = {job.id: self._trends[job.id] for job in jobs if job.id in self._trends}
        return Snapshot(self._link, jobs, trends, self._nodes)

    async def _fetch(self) -> None:
        now = self._clock()
        active = [job async for job in self._client.jobs.list(_ACTIVE)]
        if self._listed_at is None or (now - self._listed_at).total_seconds() >= FULL_EVERY_S:
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
        await self._fetch_trends()
        await self._fetch_nodes(now)

    async def _fetch_nodes(self, now: datetime) -> None:
        """The machines, which a service that starts does not know, and one of an earlier version does not list."""
        if self._nodes_at is not None and (now - self._nodes_at).total_seconds() < NODES_EVERY_S:
            return
        self._nodes_at = now
        try:
            self._nodes = tuple(await self._client.nodes())
        except (NotFoundError, ServiceUnavailableError):
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
        """Measurements of running jobs that made a step, and once those of ended jobs."""
        ordered = in_table_order(list(self._jobs.values()))
        wanted = [job for job in ordered[:TRENDS_OF_ENDED] if job.step and self._trend_steps.get(job.id) != job.step]
        for job in wanted[: self._max_trends]:
            try:
                points = await self._client.jobs.metrics(job.id, TREND_METRICS, TREND_POINTS)
            except NotFoundError:
                continue
            self._trends[job.id] = trend_of(points)
            self._trend_steps[job.id] = job.step


def trend_of(points: Iterable[MetricPoint]) -> Trend:
    """The trend in metric points; `grpo` jobs without a loss show their reward."""
    values: dict[str, list[float]] = {}
    for point in points:
        values.setdefault(point.name, []).append(point.value)

    def newest(name: str) -> float | None:
        return values[name][-1] if name in values else None

    curve = values.get("reward") or values.get("loss") or ()
    return Trend(tuple(curve), newest("learning_rate"), newest("tokens_per_s"))
