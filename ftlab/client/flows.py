"""What the resources do: calls, pages and waiting, as steps for both clients."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from ftlab.client import calls
from ftlab.client.calls import Call, Kinds, Statuses
from ftlab.client.endpoint import Endpoint
from ftlab.client.retry import Retries, exchange, not_ours
from ftlab.client.steps import Emit, Sleep, Steps, Stream
from ftlab.errors import (
    ConflictError,
    FineTuneLabError,
    InvalidRequestError,
    JobCancelledError,
    JobFailedError,
    NotFoundError,
    WaitTimeoutError,
)
from ftlab.schemas import Job, Page
from ftlab.schemas.common import did_you_mean
from ftlab.status import JobStatus

T = TypeVar("T")
OnStatus = Callable[[Job], None]
"""Called with the job when a wait begins, and whenever its status has changed since."""

FIRST_POLL_S = 0.5
MAX_POLL_S = 5.0
RESUMED = frozenset({JobStatus.QUEUED, JobStatus.PENDING, JobStatus.INITIALIZING, JobStatus.RUNNING})
"""Where a job is that has just been resumed."""
LOG_TAIL = 20
"""Log lines that a `JobFailedError` carries."""


def call(endpoint: Endpoint, what: Call[T], deadline: float | None = None) -> Steps[T]:
    """One call, its answer read."""
    return (yield from _call(what, Retries(endpoint, what.request, deadline)))


def pages(endpoint: Endpoint, page_of: Callable[[str | None, int], Call[Page[T]]], limit: int | None) -> Stream[None]:
    """Emit the items of all pages, at most `limit`."""
    cursor: str | None = None
    left = limit
    while left is None or left > 0:
        size = calls.MAX_PAGE if left is None else min(left, calls.MAX_PAGE)
        page = yield from call(endpoint, page_of(cursor, size))
        for item in page.data[:left]:
            yield Emit(item)
        left = None if left is None else left - len(page.data)
        cursor = page.next_cursor
        if not page.has_more or cursor is None:
            return


def events(endpoint: Endpoint, job: str, after: int, kinds: Kinds = None) -> Stream[None]:
    """Emit the events that are recorded so far, of these kinds only."""
    while True:
        page = yield from call(endpoint, calls.events_page(job, after, kinds))
        for event in page.data:
            yield Emit(event)
            after = event.seq
        if not page.data or after >= page.last_seq:
            return


def cancel(endpoint: Endpoint, job: str) -> Steps[Job]:
    """Cancel; a repeated request that finds its own work done is a success."""
    return _order(endpoint, job, calls.cancel_job(job), frozenset({JobStatus.CANCELLED}))


def pause(endpoint: Endpoint, job: str) -> Steps[Job]:
    """Pause; a repeated request that finds its own work done is a success."""
    return _order(endpoint, job, calls.pause_job(job), frozenset({JobStatus.PAUSED}))


def resume(endpoint: Endpoint, job: str, checkpoint: str | None) -> Steps[Job]:
    """Resume; a repeated request that finds its own work done is a success."""
    return _order(endpoint, job, calls.resume_job(job, checkpoint), RESUMED)


def append(endpoint: Endpoint, job: str, datasets: Sequence[str]) -> Steps[Job]:
    """Append files, once: a repeated request that finds its own work done is a success."""
    found = yield from call(endpoint, calls.get_job(job))
    what = calls.append_files(found.id, datasets, found.num_files)
    retries = Retries(endpoint, what.request)
    try:
        return (yield from _call(what, retries))
    except ConflictError:
        if not retries.was_repeated:
            raise
        longer = yield from call(endpoint, calls.get_job(found.id))
        if list(longer.datasets[found.num_files :][: len(datasets)]) == list(datasets):
            return longer
        raise


def delete_dataset(endpoint: Endpoint, dataset: str) -> Steps[None]:
    """Delete; a repeated request that finds its own work done is a success."""
    retries = Retries(endpoint, calls.delete_dataset(dataset))
    try:
        yield from exchange(retries)
    except NotFoundError:
        if not retries.was_repeated:
            raise


@dataclass(frozen=True)
class Waiting:
    """How long to wait for a job, for what, and whether a bad end is an error."""

    timeout_s: float | None = None
    raise_on_failure: bool = True
    until: Statuses = None
    """Statuses that end the wait as well; a terminal one always does."""
    on_status: OnStatus | None = None

    def last_statuses(self) -> set[JobStatus]:
        """Every status that ends the wait. Raises `InvalidRequestError` for one that does not exist."""
        given = [self.until] if isinstance(self.until, str) else list(self.until or ())
        known = [str(status) for status in JobStatus]
        for status in given:
            if status not in known:
                raise InvalidRequestError(f"{status!r} is not a status.{did_you_mean(status, known)}", param="until")
        return {status for status in JobStatus if status.is_terminal or status in given}


def wait(endpoint: Endpoint, job: str, waiting: Waiting) -> Steps[Job]:
    """Ask for the job until it is terminal, or in one of the statuses asked for.

    Raises `JobFailedError` and `JobCancelledError` if asked to, and `WaitTimeoutError`.
    """
    ends = waiting.last_statuses()
    seen: JobStatus | None = None
    deadline = None if waiting.timeout_s is None else endpoint.clock() + waiting.timeout_s
    pause_s = FIRST_POLL_S
    while True:
        found = yield from call(endpoint, calls.get_job(job), deadline)
        if waiting.on_status and found.status is not seen:
            waiting.on_status(found)
        seen = found.status
        if found.status in ends:
            break
        if deadline is not None and endpoint.clock() >= deadline:
            raise WaitTimeoutError(f"Job {found.id} did not end within {waiting.timeout_s:g} s; it is {found.status}.")
        left_s = pause_s if deadline is None else max(0.0, deadline - endpoint.clock())
        yield Sleep(min(pause_s, left_s))
        pause_s = min(MAX_POLL_S, pause_s * 1.5)
    if waiting.raise_on_failure and found.status in (JobStatus.FAILED, JobStatus.CANCELLED):
        raise (yield from ended_badly(endpoint, found))
    return found


def ended_badly(endpoint: Endpoint, job: Job) -> Steps[JobFailedError | JobCancelledError]:
    """The error for a terminal job that has no model; a failed one's carries the end of its log."""
    if job.status is JobStatus.CANCELLED:
        return JobCancelledError(f"Job {job.id} was cancelled: {job.message}", job.id, job.reason)
    try:
        lines = yield from call(endpoint, calls.logs(job.id, LOG_TAIL))
    except FineTuneLabError:
        # Why the job failed matters more than that its log cannot be had.
        lines = []
    tail = tuple(line.text for line in lines)
    return JobFailedError(f"Job {job.id} failed: {job.message}", job.id, job.reason, tail)


def _order(endpoint: Endpoint, job: str, what: Call[Job], done: frozenset[JobStatus]) -> Steps[Job]:
    """Order a change of status; the first try may have done what a later one is refused for."""
    retries = Retries(endpoint, what.request)
    try:
        return (yield from _call(what, retries))
    except ConflictError:
        if not retries.was_repeated:
            raise
        found = yield from call(endpoint, calls.get_job(job))
        if found.status in done:
            return found
        raise


def _call(what: Call[T], retries: Retries) -> Steps[T]:
    reply = yield from exchange(retries)
    try:
        return what.parse(reply)
    except ValueError:
        where = f"its reply to {what.request.method} {what.request.path} cannot be read"
        raise not_ours(retries.endpoint, where) from None
