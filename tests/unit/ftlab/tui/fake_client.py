"""A client for tests: it serves prepared details, records what it is asked to change, and never connects."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

from ftlab.errors import FineTuneLabError, NotFoundError
from ftlab.schemas import Event, Job, MetricPoint
from ftlab.tui.snapshot import JobDetail, Snapshot
from tests.unit.ftlab.tui.sample_jobs import SERVER, detail_of, snapshot_of


class FakeJobs:
    """`client.jobs`."""

    def __init__(self, details: dict[str, JobDetail]) -> None:
        self.details = details
        self.calls: list[tuple[Any, ...]] = []
        self.error: FineTuneLabError | None = None
        """Raised by the next change."""
        self.events_to_come: asyncio.Queue[Event] = asyncio.Queue()
        self.followed: list[str] = []

    async def get(self, job: str) -> Job:
        return self._detail(job).job

    async def list(self, status: Any = None, limit: int | None = None) -> AsyncIterator[Job]:
        for detail in self.details.values():
            if status is None or detail.job.status in status:
                yield detail.job

    async def metrics(self, job: str, names: Any = None, max_points: int | None = None) -> Sequence[MetricPoint]:
        return [
            MetricPoint(name=name, step=point.step, value=point.value, at=point.at, attempt=point.attempt)
            for name, points in self._detail(job).series.items()
            for point in points
        ]

    async def logs(self, job: str, tail: int = 200) -> Sequence[Any]:
        return self._detail(job).logs

    async def checkpoints(self, job: str) -> Sequence[Any]:
        return self._detail(job).checkpoints

    async def attempts(self, job: str) -> Sequence[Any]:
        return self._detail(job).attempts

    async def failure(self, job: str) -> Any:
        failure = self._detail(job).failure
        if failure is None:
            raise NotFoundError(f"Job {job} has not failed.", "job_not_failed")
        return failure

    async def events(self, job: str, after: int = 0, kinds: Any = None) -> AsyncIterator[Event]:
        for event in self._detail(job).events:
            yield event

    async def follow(self, job: str, after: int = 0) -> AsyncIterator[Event]:
        self.followed.append(job)
        while True:
            yield await self.events_to_come.get()

    async def pause(self, job: str) -> Job:
        return self._changed("pause", job)

    async def cancel(self, job: str) -> Job:
        return self._changed("cancel", job)

    async def set_priority(self, job: str, priority: int) -> Job:
        return self._changed("set_priority", job, priority)

    async def move_to_front(self, job: str) -> Job:
        return self._changed("move_to_front", job)

    async def resume(self, job: str, checkpoint: str | None = None, **options: Any) -> Job:
        return self._changed("resume", job, checkpoint, options)

    async def download_model(self, job: str, path: Path, checkpoint: str | None, on_progress: Any) -> Path:
        self._changed("download_model", job, checkpoint)
        path.write_bytes(b"PK")
        return path

    async def download_logs(self, job: str, path: Path, on_progress: Any) -> Path:
        self._changed("download_logs", job)
        path.write_bytes(b"PK")
        return path

    def _detail(self, job: str) -> JobDetail:
        if job not in self.details:
            raise NotFoundError(f"There is no job {job!r}.", "job_not_found")
        return self.details[job]

    def _changed(self, *call: Any) -> Job:
        self.calls.append(call)
        if self.error is not None:
            raise self.error
        return self.details[call[1]].job


class FakeClient:
    """`AsyncClient`, as far as the monitor uses it."""

    base_url = SERVER

    def __init__(self, jobs: Sequence[Job]) -> None:
        self.jobs = FakeJobs({job.id: detail_of(job) for job in jobs})


class FakeFeed:
    """A feed that a test gives snapshots."""

    def __init__(self, first: Snapshot | None = None) -> None:
        self._queue: asyncio.Queue[Snapshot] = asyncio.Queue()
        self.hurried = 0
        if first is not None:
            self.put(first)

    @classmethod
    def of(cls, jobs: Sequence[Job], **link: Any) -> "FakeFeed":
        return cls(snapshot_of(jobs, **link))

    @property
    def is_taken(self) -> bool:
        """Whether the monitor has all snapshots."""
        return self._queue.empty()

    def put(self, snapshot: Snapshot) -> None:
        self._queue.put_nowait(snapshot)

    async def snapshots(self) -> AsyncIterator[Snapshot]:
        while True:
            yield await self._queue.get()

    def hurry(self) -> None:
        self.hurried += 1
