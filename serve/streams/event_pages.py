"""Slices of a job's events, read once for all sockets that are at the same place of the log."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from cluster.events.documents import to_documents
from cluster.interfaces import EventDocument
from ftlab.errors import NotFoundError
from serve.http.responses import in_thread
from tracking.store import Store

PAGE_EVENTS = 500
MAX_FRAME_BYTES = 256 * 1024
"""A frame ends with the event that exceeds this size."""
CACHE_BYTES = 32 * 1024**2
CACHE_PAGES = 256
PARTIAL_PAGE_TTL_S = 0.5
"""Cache lifetime of a page that was not full; sockets continue from its end."""


@dataclass(frozen=True)
class Frame:
    """A WebSocket message with the events up to `last`."""

    text: str
    last: int


class EventSlice:
    """Events of one job without a gap: `first` to `last`."""

    def __init__(self, events: Sequence[EventDocument]) -> None:
        self.first, self.last = events[0].seq, events[-1].seq
        self.has_end = any(event.is_end for event in events)
        """Whether the job had a terminal status in between; a completed one may have been reopened since."""
        self.num_bytes = sum(len(event.text) for event in events)
        self._events = events
        self._newest: tuple[int, Frame] | None = None

    def __len__(self) -> int:
        return len(self._events)

    def frame(self, after: int, room: int) -> Frame:
        """The events after `after`, as many as `room` and the size of a frame allow, and at least one."""
        if self._newest and self._newest[0] == after and self._newest[1].last - after <= room:
            return self._newest[1]
        start = stop = after + 1 - self.first
        size = 0
        while stop < len(self._events) and stop - start < room and size < MAX_FRAME_BYTES:
            size += len(self._events[stop].text)
            stop += 1
        texts = ",".join(event.text for event in self._events[start:stop])
        frame = Frame(f'{{"type":"events","events":[{texts}]}}', self.first + stop - 1)
        self._newest = after, frame
        return frame


class EventPages:
    """Reads of the event log. Sockets that ask for the same page at the same time share one read."""

    def __init__(self) -> None:
        self._reads: dict[tuple[str, int], asyncio.Task[EventSlice | None]] = {}
        self._cache: OrderedDict[tuple[str, int], tuple[EventSlice, float]] = OrderedDict()
        self._cached_bytes = 0

    async def after(self, store: Store, job_id: str, seq: int) -> EventSlice | None:
        """Up to 500 events after `seq`; `None` when the log had no more at the time of the call.

        Raises `ServiceUnavailableError` when the database is unavailable, and `NotFoundError` when the job was deleted.
        """
        key = job_id, seq
        cached = self._cache.get(key)
        if cached and time.monotonic() < cached[1]:
            return cached[0]
        running = self._reads.get(key)
        if running:
            page = await asyncio.shield(running)
            if page:
                return page
            # That read may have begun before the event that woke the caller.
            running = self._reads.get(key)
        if not running:
            running = asyncio.create_task(self._read(store, key))
            self._reads[key] = running
            running.add_done_callback(lambda task: self._finish(key, task))
        return await asyncio.shield(running)

    async def _read(self, store: Store, key: tuple[str, int]) -> EventSlice | None:
        return await in_thread(_read_page, store, *key)

    def _finish(self, key: tuple[str, int], read: asyncio.Task[EventSlice | None]) -> None:
        del self._reads[key]
        if read.cancelled() or read.exception():
            return
        page = read.result()
        if page:
            self._keep(key, page)

    def _keep(self, key: tuple[str, int], page: EventSlice) -> None:
        is_full = len(page) == PAGE_EVENTS
        expires_at = float("inf") if is_full else time.monotonic() + PARTIAL_PAGE_TTL_S
        replaced = self._cache.pop(key, None)
        self._cached_bytes += page.num_bytes - (replaced[0].num_bytes if replaced else 0)
        self._cache[key] = page, expires_at
        while len(self._cache) > CACHE_PAGES or self._cached_bytes > CACHE_BYTES:
            self._cached_bytes -= self._cache.popitem(last=False)[1][0].num_bytes


def slices_of(events: Sequence[EventDocument]) -> list[EventSlice]:
    """Order one job's events by number and cut them where one is missing."""
    ordered = list({event.seq: event for event in sorted(events, key=lambda event: event.seq)}.values())
    cuts = [at for at in range(1, len(ordered)) if ordered[at].seq != ordered[at - 1].seq + 1]
    return [EventSlice(ordered[start:stop]) for start, stop in pairwise([0, *cuts, len(ordered)])]


def job_deleted(job_id: str) -> NotFoundError:
    """The error for a job that was deleted while it was followed."""
    return NotFoundError(f"Job {job_id!r} was deleted.", "job_deleted", "job_id")


def _read_page(store: Store, job_id: str, seq: int) -> EventSlice | None:
    with store.read() as tx:
        records = tx.events.after(job_id, seq, limit=PAGE_EVENTS)
        if not records and not tx.jobs.exists(job_id):
            raise job_deleted(job_id)
    return EventSlice(to_documents(records)) if records else None
